"""A stream on kernels: every buffer is made once, and a step is one call.

The table of each layer, its buffers and its packed matrices are made with the stream. A step
runs the kernel of one layer after the other: the output of a layer is the buffer that the next
one reads. Each state has its rows twice, those that a step reads and those that it leaves;
behind a step the two change places.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from llvmlite import ir
from torch import Tensor

from gatewright.backends.llvm import build, cache
from gatewright.backends.llvm.checked import ENDS, Record, header
from gatewright.backends.llvm.index import POINTER
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.kernel import emit
from gatewright.backends.llvm.library import BUILDING
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.reference import Section, at_hand
from gatewright.backends.stream import Array, step_task
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS
from gatewright.schedule.loop import Schedule
from gatewright.schedule.single_step import schedule_step
from gatewright.schedule.slots import AFTER, BEFORE, plan_forward, unsupported

#: Numbers of the record that a step is called with; the addresses of the tables follow.
LAYERS, ROWS, TABLES = range(3)
STEP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(maxsize=128)
def scheduled(graph: Graph) -> Schedule:
    """How a step is run: made once, since making it adds terms to the graph."""
    with BUILDING:
        return schedule_step(graph)


@lru_cache(maxsize=128)
def cannot(graph: Graph) -> str | None:
    """Why kernels cannot run a step of a graph, or None."""
    return unsupported(scheduled(graph).loop, POINTWISE)


class Built:
    """The kernel of one step of a graph, for one number type."""

    def __init__(self, graph: Graph, bits: int) -> None:
        self.schedule = scheduled(graph)
        self.plan = plan_forward(self.schedule, self.schedule.loop, saving=False)
        self.numbers = build.numbers(bits)
        entry = cache.key(graph, "step", self.numbers)
        code = cache.read(entry)
        if code is None:
            module = ir.Module("gatewright")
            emit(module, "layer", self.plan, self.numbers, build.registers())
            emit_step(module, self.numbers)
            code = build.object_code(module)
            cache.write(entry, code)
        self.library = build.Library(code)
        self.call = STEP(self.library.function("step"))


@lru_cache(maxsize=128)
def built(graph: Graph, bits: int) -> Built:
    """The kernel of one step of a graph, built at first use."""
    with BUILDING:
        return Built(graph, bits)


def emit_step(module: ir.Module, numbers: Numbers) -> None:
    """Emit `step(record)`: all layers, and then the states' rows change their places."""
    f = Function(module, "step", [POINTER], numbers)
    (record,) = f.arguments
    f.trusted(record)  # made by `KernelStream`
    rows = f.load_index(record, ROWS)
    with f.loop(f.index(0), f.load_index(record, LAYERS)) as layer:
        at = f.address(record, f.b.add(layer, f.index(TABLES)), POINTER)
        table = f.table(f.load_pointer(at, 0))
        f.b.call(module.globals["layer"], [table, f.index(0), rows])
        swap(f, table, BEFORE, AFTER)
        if numbers.checked:
            swap(f, table, ENDS - BEFORE, ENDS - AFTER)
    f.b.ret_void()


def swap(f: Function, table: ir.Value, place: int, other: int) -> None:
    """Emit an exchange of two numbers of a table, or in front of it."""
    places = [f.trusted(f.address(table, f.index(slot), POINTER)) for slot in (place, other)]
    pointers = [f.load_pointer(address, 0) for address in places]
    for address, pointer in zip(places, reversed(pointers), strict=True):
        f.b.store(pointer, address)


class KernelStream:
    """A stream on kernels."""

    backend: str = "llvm"

    def __init__(
        self, graph: Graph, sizes: Sequence[Mapping[str, int]], rows: int, dtype: torch.dtype
    ) -> None:
        made = built(graph, 8 * dtype.itemsize)
        space = Space(made.numbers.lanes, rows, dtype)
        given = {
            name: space.packed(number(term.size, sizes[0])) for name, term in graph.inputs.items()
        }
        self.inputs: Mapping[str, Array] = {name: one.numpy() for name, one in given.items()}
        self.layers: list[Layer] = []
        self.violations = Record()
        event = graph.equations.event
        for one in sizes:
            self.layers.append(Layer(made, space, one, given, self.violations.address))
            given = {**given, event: self.layers[-1].output}
        self.output = given[event][:, : number(graph.output.size, sizes[-1])].numpy()
        tables = [one.table.ctypes.data for one in self.layers]
        self.record = np.array([len(sizes), rows, *tables], np.int64)
        self.advance = partial(made.call, self.record.ctypes.data)
        if made.numbers.checked:
            self.advance = partial(self.advance_checked, self.advance)

    def advance_checked(self, advance: Callable[[], None]) -> None:
        """Run one step of the checked build.

        Raises:
            KernelError: if a kernel reads or writes out of bounds.
        """
        advance()
        self.violations.raise_violation(self.named)

    def named(self, table: int, slot: int) -> tuple[str, str]:
        """The names of the kernel and the buffer of a table's slot, for errors."""
        position = [one.table.ctypes.data for one in self.layers].index(table)
        names = {number: name for name, number in self.layers[position].made.plan.buffers.items()}
        return f"step of layer {position}", f"buffer {names.get(slot, f'in slot {slot}')!r}"

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        with torch.no_grad():
            for layer, one in zip(self.layers, weights, strict=True):
                layer.load(one)

    def states(self) -> list[dict[str, Array]]:
        return [layer.now() for layer in self.layers]


class Space:
    """Memory for a stream: rows of units, and the numbers that every table names."""

    def __init__(self, lanes: int, rows: int, dtype: torch.dtype) -> None:
        self.lanes, self.rows, self.dtype = lanes, rows, dtype
        running, offset = torch.tensor([rows]), torch.tensor([0])
        #: Where the rows of a state are that a step reads, and that it leaves.
        self.halves = (torch.arange(rows), torch.arange(rows, 2 * rows))
        self.kept = (running, offset, *self.halves)

    def blocks(self, units: int) -> int:
        """How many vectors a row needs."""
        return -(-units // self.lanes)

    def whole(self, rows: int, units: int) -> Tensor:
        """Rows of whole vectors, for what kernels write."""
        return torch.zeros(rows, self.blocks(units) * self.lanes, dtype=self.dtype)

    def packed(self, units: int) -> Tensor:
        """Rows one behind the other, for what comes from outside: the last may be overread."""
        count = self.rows * units
        return torch.zeros(count + self.lanes, dtype=self.dtype)[:count].view(self.rows, units)


class Layer:
    """One layer of a stream: its table, and the buffers that the table names."""

    def __init__(
        self,
        made: Built,
        space: Space,
        sizes: Mapping[str, int],
        given: Mapping[str, Tensor],
        record: int,
    ) -> None:
        self.made, self.space, self.sizes, self.given = made, space, sizes, given
        plan, rows = made.plan, space.rows
        self.buffers: dict[str, Tensor] = {}
        self.matrices: dict[int, Tensor] = {}
        whole = np.zeros(2 * plan.length + 2, np.int64)
        whole[: -plan.length] = header([0] * plan.length, record)
        #: The kernel's table; what the checked build reads stands in front of it.
        self.table = whole[-plan.length :]
        self.ends = whole[plan.length - 1 :: -1]
        self.table[0] = 1
        for slot, array in enumerate(space.kept, start=1):
            self.name(slot, array)
        for name, slot in plan.buffers.items():
            term, kind = plan.terms[name], name.split()[0]
            if term.op in ("event", "input") and kind == "leaf":
                buffer = given[term.attributes["name"]]
            else:
                count = {"state": 2 * rows, "vector": 1}.get(kind, rows)
                buffer = space.whole(count, number(term.size, sizes))
            self.buffers[name] = buffer
            self.name(slot, buffer)
            self.table[slot + 1] = buffer.stride(0)
        for size, slot in plan.sizes.items():
            self.table[slot] = number(size, sizes)
        for nest, groups in plan.groups.items():
            for group in groups:
                units, length = number(nest.size, sizes), number(group.source.size, sizes)
                length = length // group.heads * group.panels(units, space.lanes)
                shape = (space.blocks(units), length, len(group.products), space.lanes)
                packed = self.matrices[group.slot] = torch.zeros(shape, dtype=space.dtype)
                self.name(group.slot, packed)
                self.table[group.slot + 1] = packed.stride(0)
        (output,) = made.schedule.asked
        self.output = self.buffers[f"kept {output.index}"]

    def name(self, slot: int, buffer: Tensor) -> None:
        """Write the address of a buffer into the table, and where it ends in front of it."""
        first = buffer.data_ptr()
        self.table[slot] = first
        storage = buffer.untyped_storage()
        self.ends[slot] = storage.data_ptr() + storage.nbytes()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Compute what follows from the weights alone, and pack the matrices."""
        graph, plan = self.made.schedule.graph, self.made.plan
        task = step_task(graph, self.sizes, weights, self.given)
        known = at_hand(task)
        early = [one for one in graph.forward if graph.stages[one] < INPUTS]
        Section(early, known, task).compute(known, next(iter(self.given.values())))
        for name, buffer in self.buffers.items():
            term = plan.terms[name]
            if name.startswith("vector") or term.op == "noise":
                units = number(term.size, self.sizes)
                buffer[:, :units] = known[term]
        for nest, groups in plan.groups.items():
            units = number(nest.size, self.sizes)
            for group in groups:
                target = self.matrices[group.slot]
                blocks, length, _, lanes = target.shape
                unit, each = torch.arange(units), units // group.heads
                panel = unit // each - unit // lanes * lanes // each
                for position, product in enumerate(group.products):
                    matrix = known[product.operands[1]].reshape(units, -1)
                    rows = target.new_zeros(blocks * lanes, length)
                    rows.unflatten(1, (-1, matrix.shape[1]))[unit, panel] = matrix
                    target[:, :, position] = rows.view(blocks, lanes, length).transpose(1, 2)

    def now(self) -> dict[str, Array]:
        """The states that the next step reads."""
        rows, first = self.space.rows, self.space.halves[0].data_ptr()
        begin = 0 if self.table[BEFORE] == first else rows
        return {
            name: self.buffers[f"state {name}"][begin : begin + rows, :units].numpy()
            for name, term in self.made.schedule.graph.states.items()
            for units in (number(term.size, self.sizes),)
        }
