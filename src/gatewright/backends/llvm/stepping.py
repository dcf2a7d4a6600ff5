"""A stream on kernels: every buffer is allocated once, and a step is one call.

The table of each layer, its buffers and its packed matrices are made with the stream. A step
runs the kernel of one layer after the other: the output of a layer is the buffer that the next
one reads. Each state has its rows twice, those that a step reads and those that it writes;
after a step the two change their roles.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from weakref import WeakSet

import numpy as np
import torch
from llvmlite import ir
from torch import Tensor

from gatewright.backends.llvm import build, cache
from gatewright.backends.llvm.checked import Record, header
from gatewright.backends.llvm.digest import key
from gatewright.backends.llvm.int8_products import Int8Memory, Int8Plan
from gatewright.backends.llvm.library import BUILDING
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.pairs import PairPlan
from gatewright.backends.llvm.precision import LOW
from gatewright.backends.llvm.step_kernel import THREADS, emit_step
from gatewright.backends.llvm.threads import openmp, threads
from gatewright.backends.reference import TermGroup
from gatewright.backends.step import step_run
from gatewright.backends.stream import Array, Products
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.single_step import schedule_step
from gatewright.schedule.slots import BEFORE, plan_forward, unsupported
from gatewright.schedule.tiling import TILE_ROWS

STEP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
#: Multiplications in a step from which on threads share its rows: 40 us of work.
TOGETHER = 1 << 22


@lru_cache(maxsize=128)
def unsupported_step(graph: Graph) -> str | None:
    """Give the reason why kernels cannot run a step of a graph, or None."""
    return unsupported(schedule_step(graph).loop, POINTWISE)


class StepKernel:
    """The kernel of one step of a graph, for one number type and kind of products."""

    def __init__(self, graph: Graph, bits: int, products: Products = "plain") -> None:
        self.schedule = schedule_step(graph)
        self.plan = plan_forward(self.schedule, self.schedule.loop, saving=False)
        self.int8 = Int8Plan(graph, self.plan) if products == "int8" else None
        self.pairs = PairPlan(self.plan) if products == "bfloat16" else None
        self.numbers = build.numbers(bits, pairs=self.pairs is not None)
        entry = key(graph, "step", self.numbers, products, openmp())
        code = cache.read(entry)
        if code is None:
            module = ir.Module("gatewright")
            rounded = self.int8 or self.pairs
            emit_step(module, self.plan, self.numbers, build.registers(), rounded)
            code = build.object_code(module)
            cache.write(entry, code)
        self.library = build.Library(code)
        self.call = STEP(self.library.function("step"))


@lru_cache(maxsize=128)
def step_kernel(graph: Graph, bits: int, products: Products = "plain") -> StepKernel:
    """Return the kernel of one step of a graph, built at first use."""
    with BUILDING:
        return StepKernel(graph, bits, products)


#: Streams whose steps threads may share. In a forked process there is only one.
SHARED_STREAMS: WeakSet[KernelStream] = WeakSet()


def _one_thread() -> None:
    for stream in SHARED_STREAMS:
        stream.record[THREADS] = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread)


class KernelStream:
    """A `Stream` on kernels."""

    backend: str = "llvm"

    def __init__(
        self,
        graph: Graph,
        sizes: Sequence[Mapping[str, int]],
        rows: int,
        dtype: torch.dtype,
        products: Products = "plain",
    ) -> None:
        kernel = step_kernel(graph, 8 * dtype.itemsize, products)
        memory = StreamMemory(kernel.numbers.lanes, rows, dtype)
        inputs = {
            name: memory.packed(number(term.size, sizes[0])) for name, term in graph.inputs.items()
        }
        self.inputs: Mapping[str, Array] = {name: t.numpy() for name, t in inputs.items()}
        self.layers: list[StreamLayer] = []
        self.violations = Record()
        event = graph.equations.event
        for numbers in sizes:
            layer = StreamLayer(kernel, memory, numbers, inputs, self.violations.address)
            self.layers.append(layer)
            inputs = {**inputs, event: layer.output}
        self.output = inputs[event][:, : number(graph.output.size, sizes[-1])].numpy()
        tables = [layer.table.ctypes.data for layer in self.layers]
        step = sum(layer.multiplications() for layer in self.layers) * rows
        count = threads() if rows >= 2 * TILE_ROWS and step >= TOGETHER else 1
        self.record = np.array([len(sizes), rows, TILE_ROWS, count, *tables], np.int64)
        SHARED_STREAMS.add(self)
        self.advance = partial(kernel.call, self.record.ctypes.data)
        if kernel.numbers.checked:
            self.advance = partial(self.advance_checked, self.advance)

    def advance_checked(self, advance: Callable[[], None]) -> None:
        """Run one step of the checked build.

        Raises:
            KernelError: if a kernel reads or writes out of bounds.
        """
        advance()
        self.violations.raise_violation(self.slot_name)

    def slot_name(self, table: int, slot: int) -> tuple[str, str]:
        """Name the kernel and the buffer of a table's slot, for errors."""
        position = [layer.table.ctypes.data for layer in self.layers].index(table)
        buffers = {n: str(b) for b, n in self.layers[position].kernel.plan.buffers.items()}
        return f"step of layer {position}", f"buffer {buffers.get(slot, f'in slot {slot}')!r}"

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        with torch.no_grad():
            for layer, own in zip(self.layers, weights, strict=True):
                layer.load(own)

    def states(self) -> list[dict[str, Array]]:
        return [layer.states() for layer in self.layers]


class StreamMemory:
    """The memory of a stream: rows of units, and the arrays that every table names."""

    def __init__(self, lanes: int, rows: int, dtype: torch.dtype) -> None:
        self.lanes, self.rows, self.dtype = lanes, rows, dtype
        running, offset = torch.tensor([rows]), torch.tensor([0])
        #: The rows of a state that a step reads, and those that it writes.
        self.halves = (torch.arange(rows), torch.arange(rows, 2 * rows))
        #: The arrays in the first slots of a table, after the number of steps.
        self.arrays = (running, offset, *self.halves)

    def blocks(self, units: int) -> int:
        """Count the vectors of a row."""
        return -(-units // self.lanes)

    def whole(self, rows: int, units: int) -> Tensor:
        """Allocate rows of whole vectors, which kernels write."""
        return torch.zeros(rows, self.blocks(units) * self.lanes, dtype=self.dtype)

    def packed(self, units: int) -> Tensor:
        """Allocate contiguous rows for inputs; kernels may read a vector beyond the last row."""
        count = self.rows * units
        return torch.zeros(count + self.lanes, dtype=self.dtype)[:count].view(self.rows, units)


class StreamLayer:
    """One layer of a stream: its table, and the buffers that the table names."""

    def __init__(
        self,
        kernel: StepKernel,
        memory: StreamMemory,
        sizes: Mapping[str, int],
        inputs: Mapping[str, Tensor],
        record: int,
    ) -> None:
        self.kernel, self.memory, self.sizes, self.inputs = kernel, memory, sizes, inputs
        plan = kernel.plan
        self.buffers: dict[Buffer, Tensor] = {}
        self.matrices: dict[int, Tensor] = {}
        #: In bfloat16, the rows of words that each source is rounded to.
        self.words: dict[int, Tensor] = {}
        numbers = np.zeros(2 * plan.length + 2, np.int64)
        numbers[: -plan.length] = header([0] * plan.length, record)
        #: The kernel's table; the numbers of the checked build precede it.
        self.table = numbers[-plan.length :]
        self.ends = numbers[plan.length - 1 :: -1]
        self.table[0] = 1
        for slot, array in enumerate(memory.arrays, start=1):
            self.set_address(slot, array)
        for buffer, slot in plan.buffers.items():
            tensor = self.buffers[buffer] = self._buffer(buffer)
            self.set_address(slot, tensor)
            self.table[slot + 1] = tensor.stride(0)
        for size, slot in plan.sizes.items():
            self.table[slot] = number(size, sizes)
        self.int8 = self._int8_memory()
        for nest, groups in plan.groups.items() if self.int8 is None else ():
            for group in groups:
                units, length = number(nest.size, sizes), number(group.source.size, sizes)
                places = -(-(length // group.heads) // kernel.numbers.columns)
                places *= group.panels(units, memory.lanes)
                shape = (memory.blocks(units), places, len(group.products), memory.lanes)
                packed = self.matrices[group.slot] = torch.zeros(shape, dtype=memory.dtype)
                self.set_address(group.slot, packed)
                self.table[group.slot + 1] = packed.stride(0)
        for sources in kernel.pairs.sources.values() if kernel.pairs is not None else ():
            for source in sources:
                words = memory.whole(memory.rows, source.words(number(source.term.size, sizes)))
                self.words[source.slot] = words
                self.set_address(source.slot, words)
                self.table[source.slot + 1] = words.stride(0)
        (output,) = kernel.schedule.requested
        self.output = self.buffers[Buffer("value", output)]

    def multiplications(self) -> int:
        """Count those of the products of one row."""
        return sum(
            number(nest.size, self.sizes)
            * (number(group.source.size, self.sizes) // group.heads)
            * len(group.products)
            for nest, groups in self.kernel.plan.groups.items()
            for group in groups
        )

    def _buffer(self, buffer: Buffer) -> Tensor:
        """Return the memory of a buffer: an input's, or new."""
        term = buffer.term
        if term.op in ("event", "input") and buffer.kind == "leaf":
            return self.inputs[term.attributes["name"]]
        # A state has two sets of rows; no other buffer keeps values from step to step.
        count = 2 * self.memory.rows if buffer.kind == "state" else self.memory.rows
        count = 1 if buffer.kind == "vector" else count
        return self.memory.whole(count, number(term.size, self.sizes))

    def _int8_memory(self) -> Int8Memory | None:
        """Make the memory of the products in int8, and write it into the table."""
        kernel, plan = self.kernel, self.kernel.plan
        if kernel.int8 is None:
            return None
        int8 = Int8Memory(plan, kernel.int8, kernel.numbers, self.memory.rows)
        sources = [group.source for group in plan.all_groups()]
        int8.allocate(
            {nest: number(nest.size, self.sizes) for nest in plan.groups},
            {source: number(source.size, self.sizes) for source in sources},
        )
        for slot, tensor in int8.tensors.items():
            self.set_address(slot, tensor)
        for slot, value in int8.numbers.items():
            self.table[slot] = value
        return int8

    def set_address(self, slot: int, buffer: Tensor) -> None:
        """Write the address of a buffer into the table, and that of its end in front of it."""
        self.table[slot] = buffer.data_ptr()
        storage = buffer.untyped_storage()
        self.ends[slot] = storage.data_ptr() + storage.nbytes()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Compute the terms that follow from the weights only, and pack the matrices."""
        graph, plan = self.kernel.schedule.graph, self.kernel.plan
        known = step_run(graph, self.sizes, weights, self.inputs).known_terms()
        early = [term for term in graph.forward if graph.stages[term] < INPUTS]
        like = next(iter(self.inputs.values()))
        TermGroup(early, known, self.sizes).compute(known, like)
        for buffer, tensor in self.buffers.items():
            if buffer.kind == "vector" or buffer.term.op == "noise":
                units = number(buffer.term.size, self.sizes)
                tensor[:, :units] = known[buffer.term]
        columns = self.kernel.numbers.columns
        integers = torch.int32 if self.memory.dtype == torch.float32 else torch.int64
        for nest, groups in plan.groups.items():
            units = number(nest.size, self.sizes)
            for group in groups:
                if self.int8 is not None:
                    for position, product in enumerate(group.products):
                        self.int8.pack(group, units, position, known[product.operands[1]])
                    continue
                packed = self.matrices[group.slot]
                blocks, places, _, lanes = packed.shape
                unit, each = torch.arange(units), units // group.heads
                # A block of units has a panel for each head that it has units of.
                panel = unit // each - unit // lanes * lanes // each
                panels = group.panels(units, lanes)
                shape = (blocks * lanes, panels, places // panels * columns)
                for position, product in enumerate(group.products):
                    matrix = known[product.operands[1]].reshape(units, -1)
                    rows = torch.zeros(shape, dtype=packed.dtype if columns == 1 else LOW)
                    rows[unit, panel, : matrix.shape[1]] = matrix.to(rows.dtype)
                    # Words are copied as integers: as floats some of them are no numbers.
                    words = rows.flatten(1).view(integers).view(blocks, lanes, places)
                    packed.view(integers)[:, :, position] = words.transpose(1, 2)

    def states(self) -> dict[str, Array]:
        """Return views of the states that the next step reads."""
        rows, first = self.memory.rows, self.memory.halves[0].data_ptr()
        begin = 0 if self.table[BEFORE] == first else rows
        views = {}
        for name, term in self.kernel.schedule.graph.states.items():
            units = number(term.size, self.sizes)
            state = self.buffers[Buffer("state", term)]
            views[name] = state[begin : begin + rows, :units].numpy()
        return views
