"""Threads: the pool that torch has already, so that nothing runs beside it.

A kernel is handed to the OpenMP library which torch brought into the process. Each thread of
the team that is really there, which may be smaller than the one asked for (within another
parallel region it is one), takes its share of the rows.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import torch
from llvmlite import ir

from gatewright.backends.forked import forked
from gatewright.backends.llvm.ir import INDEX, POINTER, Function, Numbers

#: Looks at a barrier's counter before the processor is offered to others.
PATIENCE = 2000
NAMES = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


def threads() -> int:
    """How many threads a run may use: as many as torch, and one in a forked process."""
    return 1 if forked() else torch.get_num_threads()


@cache
def openmp() -> bool:
    """Whether torch's OpenMP library is found; its functions are made known to kernels."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*")):
        library = ctypes.CDLL(str(path))
        for name in NAMES:
            address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            llvm.add_symbol(name, address)
        return True
    return False


def emit_parallel(module: ir.Module, kernel: str, numbers: Numbers) -> None:
    """Emit `<kernel>_parallel(table, rows, grain, threads)`, which shares rows among threads.

    They are shared in whole grains; where the grain is 0 and the kernel has a form for a team,
    all threads take all rows, and share the units.
    """
    work = Function(module, f"{kernel}_share", [POINTER], numbers)
    work.function.linkage = "internal"
    b = work.b
    (data,) = work.arguments
    work.trusted(data)
    table = work.load_pointer(data, 0)
    rows = work.load_index(data, 1)
    grain = work.load_index(data, 2)
    barrier = b.gep(data, [work.index(3)], source_etype=INDEX)
    int32 = ir.IntType(32)
    me = b.sext(b.call(_declared(module, "omp_get_thread_num", int32, []), []), INDEX)
    team = b.sext(b.call(_declared(module, "omp_get_num_threads", int32, []), []), INDEX)
    together = module.globals.get(f"{kernel}_team")
    if together is not None:
        with b.if_then(b.icmp_signed("==", grain, work.index(0))):
            b.call(together, [table, work.index(0), rows, me, team, barrier])
            b.ret_void()
    # Shares are whole tiles, but for the last one's.
    tiles = b.sdiv(b.add(rows, b.sub(grain, work.index(1))), grain)
    first = b.mul(b.sdiv(b.mul(tiles, me), team), grain)
    end = b.mul(b.sdiv(b.mul(tiles, b.add(me, work.index(1))), team), grain)
    end = b.select(b.icmp_signed("<", end, rows), end, rows)
    b.call(module.globals[kernel], [table, first, end])
    b.ret_void()

    f = Function(module, f"{kernel}_parallel", [POINTER, INDEX, INDEX, INDEX], numbers)
    table, rows, grain, threads = f.arguments
    data = f.b.alloca(INDEX, f.index(4))
    start = (f.b.ptrtoint(table, INDEX), rows, grain, f.index(0))
    for position, one in enumerate(start):
        f.b.store(one, f.b.gep(data, [f.index(position)]))
    parallel = _declared(module, "GOMP_parallel", ir.VoidType(), [POINTER, POINTER, int32, int32])
    count = f.b.trunc(threads, int32)
    f.b.call(parallel, [work.function, data, count, ir.Constant(int32, 0)])
    f.b.ret_void()


def emit_barrier(module: ir.Module, numbers: Numbers) -> ir.Function:
    """`barrier(counter, threads)`: return when so many threads more have come, whose last did.

    The counter is of one team and one call; it only grows, so nobody has to set it back.
    """
    if "barrier" in module.globals:
        return module.globals["barrier"]
    f = Function(module, "barrier", [POINTER, INDEX], numbers)
    f.function.linkage = "internal"
    b = f.b
    counter, team = f.arguments
    ticket = b.atomic_rmw("add", counter, f.index(1), "acq_rel")
    goal = b.mul(b.add(b.udiv(ticket, team), f.index(1)), team)
    spin, again, tired, done = (
        f.function.append_basic_block(name) for name in ("spin", "again", "tired", "done")
    )
    b.branch(spin)
    before = f.entry
    b.position_at_end(spin)
    turns = b.phi(INDEX)
    turns.add_incoming(f.index(0), before)
    come = b.load_atomic(counter, "acquire", 8, typ=INDEX)
    b.cbranch(b.icmp_unsigned(">=", come, goal), done, again)
    b.position_at_end(again)
    more = b.add(turns, f.index(1))
    b.cbranch(b.icmp_unsigned(">", more, f.index(PATIENCE)), tired, spin)
    turns.add_incoming(more, again)
    # There are more threads than processors: let the others run.
    b.position_at_end(tired)
    b.call(_declared(module, "sched_yield", ir.IntType(32), []), [])
    b.branch(spin)
    turns.add_incoming(f.index(0), tired)
    b.position_at_end(done)
    b.ret_void()
    return f.function


def _declared(module: ir.Module, name: str, result: ir.Type, given: list[ir.Type]) -> ir.Function:
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, given), name)
