"""The kernel of a stream: `step(record)` runs one step of all layers."""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.checked import ENDS
from gatewright.backends.llvm.index import POINTER, Index
from gatewright.backends.llvm.int8_products import Int8Plan
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.kernel import emit
from gatewright.backends.llvm.pairs import PairPlan
from gatewright.backends.llvm.threads import emit_parallel, openmp
from gatewright.schedule.slots import AFTER, BEFORE, Plan

#: Numbers of the record that a step is called with; the addresses of the tables follow.
LAYERS, ROWS, GRAIN, THREADS, TABLES = range(5)


def emit_step(
    module: ir.Module,
    plan: Plan,
    numbers: Numbers,
    registers: int,
    rounded: Int8Plan | PairPlan | None = None,
) -> None:
    """Emit the kernel of a layer, and `step(record)`, which calls it for each layer in turn.

    After a layer's step, the rows that it has read of its states and those that it has written
    change their roles.
    """
    emit(module, "layer", plan, numbers, registers, rounded)
    if openmp():
        emit_parallel(module, "layer", numbers)
    f = Function(module, "step", [POINTER], numbers)
    (record,) = f.arguments
    f.trusted(record)  # written by `KernelStream`
    rows = f.load_index(record, ROWS)
    with f.loop(0, f.load_index(record, LAYERS)) as layer:
        entry = f.address(record, layer + TABLES, POINTER)
        table = f.table(f.load_pointer(entry, 0))
        _call_layer(f, table, rows, f.load_index(record, GRAIN), f.load_index(record, THREADS))
        _swap(f, table, BEFORE, AFTER)
        if numbers.checked:
            _swap(f, table, ENDS - BEFORE, ENDS - AFTER)
    f.b.ret_void()


def _call_layer(f: Function, table: ir.Value, rows: Index, grain: Index, threads: Index) -> None:
    """Emit a layer's step of all rows, which threads share if there are several."""
    layer, parallel = (f.module.globals.get(name) for name in ("layer", "layer_parallel"))
    if parallel is None:
        f.b.call(layer, [table, f.index(0), rows])
        return
    with f.b.if_else(threads > 1) as (several, single):
        with several:
            f.b.call(parallel, [table, rows, grain, threads])
        with single:
            f.b.call(layer, [table, f.index(0), rows])


def _swap(f: Function, table: ir.Value, first: int, second: int) -> None:
    """Emit an exchange of two numbers of a table, or in front of it."""
    places = [f.trusted(f.address(table, slot, POINTER)) for slot in (first, second)]
    pointers = [f.load_pointer(address, 0) for address in places]
    for address, pointer in zip(places, reversed(pointers), strict=True):
        f.b.store(pointer, address)
