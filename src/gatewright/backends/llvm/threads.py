"""Threads: the pool that torch has already, so that no second pool competes with it.

A kernel is handed to the OpenMP library that torch brought into the process, which takes 1 to
2 microseconds; a Python thread pool takes 86. Each thread of the team takes its share of the
rows. The team may be smaller than the one asked for (within another parallel region it is one
thread), so the shares follow from the size that it really has.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import torch
from llvmlite import ir

from gatewright.backends.forked import forked
from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import INT32, VOID, Function, Numbers

#: Looks at a barrier's counter before the processor is offered to other threads. A barrier of two
#: running threads takes 0.08 microseconds, so a thread that has looked so often waits for one
#: that is not running.
PATIENCE = 2000
#: The functions of the OpenMP library that kernels call.
NAMES = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


def threads() -> int:
    """The threads that a run may use: as many as torch, but one in a forked process."""
    return 1 if forked() else torch.get_num_threads()


@cache
def openmp() -> bool:
    """Find torch's OpenMP library and make its functions known to LLVM; tell if it is there."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*")):
        library = ctypes.CDLL(str(path))
        for name in NAMES:
            address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            llvm.add_symbol(name, address)
        return True
    return False


def emit_parallel(module: ir.Module, kernel: str, numbers: Numbers) -> None:
    """Emit `<kernel>_parallel(table, rows, grain, threads)`, which shares rows among threads.

    Shares are whole grains of rows, so that few tiles are cut. If the grain is 0 and the kernel
    has a form for teams, all threads take all rows, and share the units instead.
    """
    share = Function(module, f"{kernel}_share", [POINTER], numbers)
    share.function.linkage = "internal"
    b = share.b
    (record,) = share.arguments
    share.trusted(record)  # made below, on the stack of the thread that calls
    table = share.load_pointer(record, 0)
    rows, grain = share.load_index(record, 1), share.load_index(record, 2)
    barrier = b.gep(record, [share.index(3)], source_etype=INDEX)
    rank = _extended(share, b.call(_declared(module, "omp_get_thread_num", INT32, []), []))
    team = _extended(share, b.call(_declared(module, "omp_get_num_threads", INT32, []), []))
    team_kernel = module.globals.get(f"{kernel}_team")
    if team_kernel is not None:
        with b.if_then(grain == 0):
            b.call(team_kernel, [table, share.index(0), rows, rank, team, barrier])
            b.ret_void()
    # Shares are of whole grains, except the last one, which ends with the rows.
    grains = (rows + (grain - 1)) // grain
    first = grains * rank // team * grain
    end = share.minimum(grains * (rank + 1) // team * grain, rows)
    b.call(module.globals[kernel], [table, first, end])
    b.ret_void()

    f = Function(module, f"{kernel}_parallel", [POINTER, INDEX, INDEX, INDEX], numbers)
    table, rows, grain, threads = f.arguments
    # The record that every thread gets: table, rows, grain, and the barrier's counter.
    record = f.b.alloca(INDEX, f.index(4))
    for position, value in enumerate((f.b.ptrtoint(table, INDEX), rows, grain, f.index(0))):
        f.b.store(value, f.b.gep(record, [f.index(position)]))
    parallel = _declared(module, "GOMP_parallel", VOID, [POINTER, POINTER, INT32, INT32])
    count = f.b.trunc(threads, INT32)
    f.b.call(parallel, [share.function, record, count, ir.Constant(INT32, 0)])
    f.b.ret_void()


def _extended(f: Function, number: ir.Value) -> Index:
    """A 32-bit integer as an Index."""
    return f.index(f.b.sext(number, INDEX))


def emit_barrier(module: ir.Module, numbers: Numbers) -> ir.Function:
    """Emit `barrier(counter, threads)` once a module: block until all threads have arrived.

    The counter belongs to one team and one call. It only grows: an arrival takes the next
    number, and waits until the counter reaches the next multiple of the team's size. So no
    thread has to reset it, and the next barrier can begin while others still leave this one.
    """
    if "barrier" in module.globals:
        return module.globals["barrier"]
    f = Function(module, "barrier", [POINTER, INDEX], numbers)
    f.function.linkage = "internal"
    b = f.b
    counter, team = f.arguments
    # Release: what this thread has stored is seen by those that leave the barrier; they acquire.
    ticket = b.atomic_rmw("add", counter, f.index(1), "acq_rel")
    goal = (f.index(b.udiv(ticket, team)) + 1) * team
    spin, again, tired, done = (
        f.function.append_basic_block(name) for name in ("spin", "again", "tired", "done")
    )
    b.branch(spin)
    before = f.entry
    b.position_at_end(spin)
    looks = b.phi(INDEX)
    looks.add_incoming(f.index(0), before)
    arrived = b.load_atomic(counter, "acquire", 8, typ=INDEX)
    b.cbranch(b.icmp_unsigned(">=", arrived, goal), done, again)
    b.position_at_end(again)
    more = f.index(looks) + 1
    b.cbranch(b.icmp_unsigned(">", more, f.index(PATIENCE)), tired, spin)
    looks.add_incoming(more, again)
    # After that long there may be more threads than processors: let the others run.
    b.position_at_end(tired)
    b.call(_declared(module, "sched_yield", INT32, []), [])
    b.branch(spin)
    looks.add_incoming(f.index(0), tired)
    b.position_at_end(done)
    b.ret_void()
    return f.function


def _declared(
    module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]
) -> ir.Function:
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    function.attributes.add("nonlazybind")  # see `OUTSIDE_BY_TABLE` in build.py
    return function
