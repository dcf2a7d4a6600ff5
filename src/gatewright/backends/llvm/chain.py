"""The kernel that makes a run's calls one after the other: `chain(calls, count, tables)`.

Python would take longer over each call than a small kernel runs.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER
from gatewright.backends.llvm.ir import VOID, Function, Numbers

#: The numbers of a call: the kernel for one thread, that for several (0 where there is none),
#: the offset of its table from the first one in bytes, rows, grain, threads.
SINGLE, PARALLEL, TABLE, ROWS, GRAIN, THREADS, NUMBERS = range(7)


def emit_chain(module: ir.Module, numbers: Numbers) -> None:
    """Emit `chain(calls, count, address of the tables)`."""
    f = Function(module, "chain", [POINTER, INDEX, INDEX], numbers)
    b = f.b
    calls, count, tables = f.arguments
    f.trusted(calls)  # written by `Program`, which verifies it
    with f.loop(0, count) as position:
        call = f.address(calls, position * NUMBERS, INDEX)
        fields = [f.load_index(call, slot) for slot in range(NUMBERS)]
        table = b.inttoptr(tables + fields[TABLE], POINTER)
        with b.if_else(fields[THREADS] > 1) as (several, single):
            with several:
                kind = ir.FunctionType(VOID, [POINTER, INDEX, INDEX, INDEX])
                kernel = b.inttoptr(fields[PARALLEL], kind.as_pointer())
                b.call(kernel, [table, fields[ROWS], fields[GRAIN], fields[THREADS]])
            with single:
                kind = ir.FunctionType(VOID, [POINTER, INDEX, INDEX])
                kernel = b.inttoptr(fields[SINGLE], kind.as_pointer())
                b.call(kernel, [table, f.index(0), fields[ROWS]])
    b.ret_void()
