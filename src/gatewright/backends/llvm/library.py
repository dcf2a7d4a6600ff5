"""The kernels of one graph, and those that all graphs share: emitted, built and loaded."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache as once
from functools import cached_property, lru_cache
from threading import RLock
from typing import Any, TypeVar

from llvmlite import ir
from torch import Tensor

from gatewright.backends.llvm import build, cache
from gatewright.backends.llvm.chain import emit_chain
from gatewright.backends.llvm.digest import key
from gatewright.backends.llvm.ir import Numbers
from gatewright.backends.llvm.kernel import emit
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.moves import emit_clear, emit_copy
from gatewright.backends.llvm.pack import emit_pack
from gatewright.backends.llvm.pairs import PairPlan
from gatewright.backends.llvm.threads import emit_parallel, openmp
from gatewright.backends.llvm.weight_gradients import emit_outer, emit_totals
from gatewright.errors import SizeError
from gatewright.graph import Graph, Term
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.loop import Nest, ScheduleOptions, SchedulePart, schedule
from gatewright.schedule.slots import Plan, plan_backward, plan_forward, unsupported

P = TypeVar("P")
S = TypeVar("S")
#: Most programs of one cell's kernels, of some 25 KB each: enough for hundreds of lengths.
PROGRAMS = 2048
#: llvmlite builds one module at a time.
BUILDING = RLock()
if hasattr(os, "register_at_fork"):
    # A fork waits for the end of a build. The child would wait for ever for this lock, or for
    # llvmlite's own, if a thread that it lacks held them.
    os.register_at_fork(
        before=BUILDING.acquire,
        after_in_parent=BUILDING.release,
        after_in_child=BUILDING.release,
    )


class BuiltKernel:
    """One kernel in memory.

    Attributes:
        single: The address of the function for one thread.
        parallel: The address of the function that divides the work among threads, or 0.
    """

    def __init__(self, library: build.Library, name: str) -> None:
        self.library, self.name = library, name
        self.single = library.function(name)
        self.parallel = library.function(f"{name}_parallel") if openmp() else 0

    def call(self, table: int, rows: int, grain: int, threads: int) -> list[int]:
        """Return the numbers of a call of `chain`: all rows, divided among threads.

        Args:
            table: The offset of the kernel's table from the first one, in bytes.
            rows: The number of rows.
            grain: Each thread takes a multiple of this many rows; 0 makes threads share units.
            threads: The number of threads.
        """
        if grain:
            threads = min(threads, -(-rows // grain))
        return [self.single, self.parallel, table, rows, grain, threads if self.parallel else 1]


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause Python's garbage collection, which finds nothing while a module is emitted.

    Its instructions all live until the module is built, and are enough to cause a collection of
    all objects of the process: with torch loaded that took 0.1 s of the 0.6 s of a training kernel.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def load_or_build(
    entry: str, names: Sequence[str], numbers: Numbers, emit_all: Callable[[ir.Module], None]
) -> dict[str, BuiltKernel]:
    """Return the named functions of a module, from the disk if they were built before."""
    with BUILDING, without_collection():
        code = cache.read(entry)
        if code is None:
            module = ir.Module("gatewright")
            emit_all(module)
            for name in names if openmp() else ():
                emit_parallel(module, name, numbers)
            code = build.object_code(module)
            cache.write(entry, code)
        library = build.Library(code)
        return {name: BuiltKernel(library, name) for name in names}


@once
def shared(numbers: Numbers) -> dict[str, BuiltKernel]:
    """Return the kernels that do not depend on the graph."""

    def emit_all(module: ir.Module) -> None:
        emit_pack(module, numbers)
        emit_outer(module, numbers, build.registers())
        emit_totals(module, numbers)
        emit_copy(module, numbers)
        emit_clear(module, numbers)
        emit_chain(module, numbers)
        if numbers.pairs:
            emit_pack(module, numbers, "pack_low", low=True)
            emit_copy(module, numbers, "widen", from_low=True)
            emit_copy(module, numbers, "narrow", to_low=True)

    names: tuple[str, ...] = ("pack", "outer", "totals", "copy", "clear", "chain")
    if numbers.pairs:
        names += ("pack_low", "widen", "narrow")
    return load_or_build(key(None, names, numbers, openmp()), names, numbers, emit_all)


def source_buffer(part: SchedulePart, term: Term) -> Buffer:
    """Return the buffer that holds a product's source after a part's forward run."""
    if term.op == "state" and term not in part.loop.step_leaves:
        return Buffer("state", term)
    return Buffer("value" if term in part.saved else "leaf", term)


class Kernels:
    """The kernels of a graph for one number type.

    Attributes:
        parts: The parts of the schedule by name, in the order in which they run.
        plans: The plan of each kernel, by part and kind.
        inputs: The terms that come from torch: leaves and matrices that no part computes.
        outputs: The terms that are returned to torch in front of the last states.
        matrices: The inputs that are matrices.
        handed_on: Outputs of the part before the loop that are leaves of the loop.
        programs: The programs so far, by kind and shape.
    """

    def __init__(self, graph: Graph, options: ScheduleOptions, numbers: Numbers) -> None:
        self.schedule = schedule(graph, options)
        self.held = {graph.values[name] for name in options[1]}
        self.numbers = numbers
        self.details = (*options, self.numbers, openmp())
        self.functions: dict[str, BuiltKernel] = {}
        self.parts: dict[str, SchedulePart] = {}
        before = self.schedule.before
        if before is not None:
            self.parts["before"] = before
        self.parts["loop"] = self.schedule.loop
        self.plans: dict[str, Plan] = {}
        for name, part in self.parts.items():
            self.plans[f"{name}_inference"] = plan_forward(self.schedule, part, saving=False)
            self.plans[f"{name}_training"] = plan_forward(self.schedule, part, saving=True)
            self.plans[f"{name}_backward"] = plan_backward(self.schedule, part)
        #: In bfloat16, the rows of words of each plan.
        self.rounded = {name: PairPlan(plan) for name, plan in self.plans.items() if numbers.pairs}
        early = set(before.outputs) if before is not None else set()
        self.inputs = list(
            dict.fromkeys(
                term
                for part in self.parts.values()
                for term in (*part.leaves(), *part.loop.matrices)
                if term not in early
            )
        )
        self.matrices = {t for part in self.parts.values() for t in part.loop.matrices}
        requested = set(self.schedule.requested)
        self.outputs = [t for part in self.parts.values() for t in part.outputs if t in requested]
        self.handed_on = early & set(self.schedule.loop.loop.step_leaves)
        self.programs: dict[Any, Any] = {}
        self.weight_shapes: dict[tuple[tuple[str, int], ...], list[tuple[int, ...] | None]] = {}

    def check(self, inputs: Sequence[Tensor], sizes: Mapping[str, int]) -> None:
        """Refuse weights of another shape than the cell's: kernels would read beyond their end.

        Raises:
            SizeError: naming the weight, its shape and the one expected.
        """
        key = tuple(sizes.items())
        if key not in self.weight_shapes:
            # A held parameter has a row for each step.
            weights = [
                None if term in self.held else term.attributes.get("weight") for term in self.inputs
            ]
            self.weight_shapes[key] = [w.numbers(sizes) if w else None for w in weights]
        for term, tensor, shape in zip(self.inputs, inputs, self.weight_shapes[key], strict=True):
            if shape is not None and tensor.shape != shape:
                weight = term.attributes["weight"]
                raise SizeError(
                    f"the weight {weight.path} has shape {tuple(tensor.shape)}; "
                    f"expected {shape} = {weight.shape}"
                )

    @cached_property
    def replaced(self) -> dict[Term, Term]:
        """Leaves of the loop whose buffer a saved value can reuse, and that value.

        A single term reads such a leaf, unit by unit, and in the same nest a value that
        follows from it is saved: by then that unit of the leaf has been read for the last time.
        """
        loop = self.schedule.loop
        readers: dict[Term, list[tuple[Nest, Term]]] = {}
        for nest in loop.loop.nests:
            for term in nest.terms:
                total = nest.sums.get(term)
                for operand in total.others if total is not None else term.operands:
                    readers.setdefault(operand, []).append((nest, term))
        sources = {
            product.operands[0]
            for nest in loop.loop.nests
            for total in nest.sums.values()
            for product in total.products
        }
        saved = {*loop.saved}
        replaced: dict[Term, Term] = {}
        for leaf in loop.loop.step_leaves:
            free = leaf in self.handed_on and leaf not in self.outputs and leaf not in sources
            if not free or len(readers.get(leaf, ())) != 1:
                continue
            ((nest, reader),) = readers[leaf]
            followers = {reader}
            for term in nest.terms:
                if not followers.isdisjoint(term.operands):
                    followers.add(term)
                free = term in saved and term not in replaced.values() and not term.boolean
                if term in followers and free and term.size == leaf.size:
                    replaced[leaf] = term
                    break
        return replaced

    def function(self, name: str) -> BuiltKernel:
        """Return a kernel, built together with those of its kind at the first request."""
        with BUILDING:  # threads that ask at once get the same
            if name not in self.functions:
                inference = name.endswith("inference")
                kind = [plan for plan in self.plans if plan.endswith("inference") == inference]

                def emit_all(module: ir.Module) -> None:
                    for plan in kind:
                        rounded = self.rounded.get(plan)
                        own = self.plans[plan]
                        emit(module, plan, own, self.numbers, build.registers(), rounded)

                entry = key(self.schedule.graph, self.details, kind)
                self.functions |= load_or_build(entry, kind, self.numbers, emit_all)
        return self.functions[name]

    def program(self, kind: str, shape: S, make: Callable[[Kernels, str, S], P]) -> P:
        """Return the program of a kind for a shape; it is made once."""
        program: P | None = self.programs.get((kind, shape))
        if program is None:
            program = make(self, kind, shape)
            if len(self.programs) >= PROGRAMS:
                self.programs.clear()
            self.programs[kind, shape] = program
        return program

    def needed(self, name: str) -> set[Buffer]:
        """Collect the buffers of a part's forward run that its backward pass reads."""
        part, read = self.parts[name], self.plans[f"{name}_backward"].buffers
        buffers = {buffer for buffer in self.plans[f"{name}_training"].buffers if buffer in read}
        # The backward pass reads a saved value as a leaf.
        buffers |= {Buffer("value", t) for t in part.saved if Buffer("leaf", t) in read}
        return buffers | {source_buffer(part, w.right) for w in part.adjoint.weights if w.right}


@lru_cache(maxsize=256)
def kernels(graph: Graph, options: ScheduleOptions, numbers: Numbers) -> Kernels:
    """Return the kernels of a graph, built at first use."""
    return Kernels(graph, options, numbers)


@lru_cache(maxsize=256)
def unsupported_graph(
    graph: Graph, names: tuple[str, ...] = (), held: tuple[str, ...] = ()
) -> str | None:
    """Give the reason why kernels cannot run a graph and return the named values, or None."""
    work = schedule(graph, ScheduleOptions(names, held))
    for part in (work.before, work.loop):
        if part is not None and (reason := unsupported(part, POINTWISE)) is not None:
            return reason
    return None
