"""A run's calls one after the other: `chain(calls, how many, tables)`.

Python would take longer over each call than a small kernel runs.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER
from gatewright.backends.llvm.ir import VOID, Function, Numbers

#: The numbers of a call: the kernel for one thread, that for several (0 where there is none),
#: its table behind the first one in bytes, rows, grain, threads.
ALONE, SHARED, TABLE, ROWS, GRAIN, THREADS, NUMBERS = range(7)


def emit_chain(module: ir.Module, numbers: Numbers) -> None:
    """Emit `chain(calls, count, address of the tables)`."""
    f = Function(module, "chain", [POINTER, INDEX, INDEX], numbers)
    b = f.b
    calls, count, tables = f.arguments
    f.trusted(calls)  # made by `Program`, which verifies it
    with f.loop(f.index(0), count) as position:
        one = f.address(calls, b.mul(position, f.index(NUMBERS)), INDEX)
        said = [f.load_index(one, slot) for slot in range(NUMBERS)]
        table = b.inttoptr(b.add(tables, said[TABLE]), POINTER)
        with b.if_else(b.icmp_signed(">", said[THREADS], f.index(1))) as (several, alone):
            with several:
                kind = ir.FunctionType(VOID, [POINTER, INDEX, INDEX, INDEX])
                kernel = b.inttoptr(said[SHARED], kind.as_pointer())
                b.call(kernel, [table, said[ROWS], said[GRAIN], said[THREADS]])
            with alone:
                kind = ir.FunctionType(VOID, [POINTER, INDEX, INDEX])
                kernel = b.inttoptr(said[ALONE], kind.as_pointer())
                b.call(kernel, [table, f.index(0), said[ROWS]])
    b.ret_void()
