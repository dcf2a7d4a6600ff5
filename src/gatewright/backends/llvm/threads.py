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

from gatewright.backends.llvm.vector import INDEX, POINTER, Function, Numbers

NAMES = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


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
    """Emit `<kernel>_parallel(table, rows, threads)`, which shares the rows among threads."""
    work = Function(module, f"{kernel}_share", [POINTER], numbers)
    work.function.linkage = "internal"
    b = work.b
    (data,) = work.arguments
    table = work.load_pointer(data, 0)
    rows = work.load_index(data, 1)
    grain = work.load_index(data, 2)
    int32 = ir.IntType(32)
    me = b.sext(b.call(_declared(module, "omp_get_thread_num", int32, []), []), INDEX)
    team = b.sext(b.call(_declared(module, "omp_get_num_threads", int32, []), []), INDEX)
    # Shares are whole tiles, but for the last one's.
    tiles = b.sdiv(b.add(rows, b.sub(grain, work.index(1))), grain)
    first = b.mul(b.sdiv(b.mul(tiles, me), team), grain)
    end = b.mul(b.sdiv(b.mul(tiles, b.add(me, work.index(1))), team), grain)
    end = b.select(b.icmp_signed("<", end, rows), end, rows)
    b.call(module.globals[kernel], [table, first, end])
    b.ret_void()

    f = Function(module, f"{kernel}_parallel", [POINTER, INDEX, INDEX, INDEX], numbers)
    table, rows, grain, threads = f.arguments
    data = f.b.alloca(INDEX, f.index(3))
    for position, one in enumerate((f.b.ptrtoint(table, INDEX), rows, grain)):
        f.b.store(one, f.b.gep(data, [f.index(position)]))
    parallel = _declared(module, "GOMP_parallel", ir.VoidType(), [POINTER, POINTER, int32, int32])
    count = f.b.trunc(threads, int32)
    f.b.call(parallel, [work.function, data, count, ir.Constant(int32, 0)])
    f.b.ret_void()


def _declared(module: ir.Module, name: str, result: ir.Type, given: list[ir.Type]) -> ir.Function:
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, given), name)
