"""The kernels of one graph, and those that all share: emitted, built and called."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache as once
from functools import cached_property, lru_cache
from threading import RLock
from typing import Any, TypeVar

from llvmlite import ir
from torch import Tensor

from gatewright.backends.llvm import build, cache
from gatewright.backends.llvm.chain import emit_chain
from gatewright.backends.llvm.ir import Numbers
from gatewright.backends.llvm.kernel import emit
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.moves import emit_clear, emit_copy
from gatewright.backends.llvm.pack import emit_pack
from gatewright.backends.llvm.threads import emit_parallel, openmp
from gatewright.backends.llvm.weight_gradients import emit_outer, emit_totals
from gatewright.errors import SizeError
from gatewright.graph import Graph, Term
from gatewright.schedule.loop import Nest, Part, Schedule, schedule
from gatewright.schedule.slots import Plan, plan_backward, plan_forward, unsupported

#: What is asked of a graph: the names of values to give back, those of values that are held,
#: and whether gradients of the inputs are wanted.
Way = tuple[tuple[str, ...], tuple[str, ...], bool]
P = TypeVar("P")
S = TypeVar("S")
#: Programs that are kept of one cell's kernels, of some 25 KB: enough for hundreds of lengths.
PROGRAMS = 2048
#: llvmlite builds one module at a time.
BUILDING = RLock()


def _anew() -> None:
    global BUILDING
    BUILDING = RLock()


if hasattr(os, "register_at_fork"):  # a lock that another thread held stays held in the child
    os.register_at_fork(after_in_child=_anew)


class Built:
    """One kernel in memory: for one thread, and shared among several."""

    def __init__(self, library: build.Library, name: str) -> None:
        self.library, self.name = library, name
        self.alone = library.function(name)
        self.shared = library.function(f"{name}_parallel") if openmp() else 0

    def call(self, table: int, rows: int, grain: int, threads: int) -> list[int]:
        """A call as `chain` takes it: all rows, shared among threads in whole grains.

        `table` says how far behind the first one the kernel's table is. Where the grain is 0,
        threads share units.
        """
        if grain:
            threads = min(threads, -(-rows // grain))
        return [self.alone, self.shared, table, rows, grain, threads if self.shared else 1]


def built(
    entry: str, names: Sequence[str], numbers: Numbers, emit_all: Callable[[ir.Module], None]
) -> dict[str, Built]:
    """The named functions of a module, from the disk if they were built before."""
    with BUILDING:
        code = cache.read(entry)
        if code is None:
            module = ir.Module("gatewright")
            emit_all(module)
            for name in names if openmp() else ():
                emit_parallel(module, name, numbers)
            code = build.object_code(module)
            cache.write(entry, code)
        library = build.Library(code)
        return {name: Built(library, name) for name in names}


@once
def shared(bits: int) -> dict[str, Built]:
    """The kernels that do not depend on the graph."""
    numbers = build.numbers(bits)

    def emit_all(module: ir.Module) -> None:
        emit_pack(module, numbers)
        emit_outer(module, numbers, build.registers())
        emit_totals(module, numbers)
        emit_copy(module, numbers)
        emit_clear(module, numbers)
        emit_chain(module, numbers)

    names = ("pack", "outer", "totals", "copy", "clear", "chain")
    return built(cache.key(None, names, numbers, openmp()), names, numbers, emit_all)


def source(part: Part, term: Term) -> str:
    """The buffer in which a product's source stands after a part's forward run."""
    if term.op == "state" and term not in part.loop.step_leaves:
        return f"state {term.attributes['name']}"
    return f"kept {term.index}" if term in part.kept else f"leaf {term.index}"


class Kernels:
    """The kernels of a graph for one number type.

    Attributes:
        parts: By name, in the order in which they run.
        given: What comes from torch: the leaves and matrices that no part computes.
        wanted: What goes back to torch, besides the last states.
    """

    def __init__(self, graph: Graph, way: Way, bits: int) -> None:
        self.schedule = scheduled(graph, way)
        self.numbers = build.numbers(bits)
        self.details = (*way, self.numbers, openmp())
        self.functions: dict[str, Built] = {}
        self.parts: dict[str, Part] = {}
        before = self.schedule.before
        if before is not None:
            self.parts["before"] = before
        self.parts["loop"] = self.schedule.loop
        self.plans: dict[str, Plan] = {}
        for name, part in self.parts.items():
            self.plans[f"{name}_inference"] = plan_forward(self.schedule, part, saving=False)
            self.plans[f"{name}_training"] = plan_forward(self.schedule, part, saving=True)
            self.plans[f"{name}_backward"] = plan_backward(self.schedule, part)
        made = set(before.wanted) if before is not None else set()
        self.given = list(
            dict.fromkeys(
                term
                for part in self.parts.values()
                for term in (*part.leaves(), *part.loop.matrices)
                if term not in made
            )
        )
        self.matrices = {t for part in self.parts.values() for t in part.loop.matrices}
        asked = set(self.schedule.asked)
        self.wanted = [t for part in self.parts.values() for t in part.wanted if t in asked]
        early = set(before.wanted) if before is not None else set()
        #: Leaves of the loop that are results of the part before it.
        self.handed = early & set(self.schedule.loop.loop.step_leaves)
        self.programs: dict[Any, Any] = {}
        self.forms: dict[tuple[tuple[str, int], ...], list[tuple[int, ...] | None]] = {}

    def check(self, known: Sequence[Tensor], sizes: Mapping[str, int]) -> None:
        """Refuse weights of another shape than the cell's: they would be read beyond their end.

        Raises:
            SizeError: naming the weight, its shape and the one expected.
        """
        key = tuple(sizes.items())
        if key not in self.forms:
            graph, (_, held, *_) = self.schedule.graph, self.details
            values = {graph.values[name] for name in held}  # these have a row for each step
            weights = [
                None if term in values else term.attributes.get("weight") for term in self.given
            ]
            self.forms[key] = [one.numbers(sizes) if one else None for one in weights]
        for term, one, form in zip(self.given, known, self.forms[key], strict=True):
            if form is not None and one.shape != form:
                weight = term.attributes["weight"]
                raise SizeError(
                    f"the weight {weight.path} has shape {tuple(one.shape)}; "
                    f"expected {form} = {weight.shape}"
                )

    @cached_property
    def replaced(self) -> dict[Term, Term]:
        """Leaves of the loop whose place a value that is kept may take.

        One term alone reads such a leaf, unit by unit, and in the same nest what follows from it
        is kept: by then that unit of the leaf has been read for the last time.
        """
        readers: dict[Term, list[tuple[Nest, Term]]] = {}
        for nest in self.schedule.loop.loop.nests:
            for term in nest.terms:
                total = nest.sums.get(term)
                for one in total.others if total is not None else term.operands:
                    readers.setdefault(one, []).append((nest, term))
        sources = {
            product.operands[0]
            for nest in self.schedule.loop.loop.nests
            for total in nest.sums.values()
            for product in total.products
        }
        kept = {*self.schedule.loop.kept}
        found: dict[Term, Term] = {}
        for leaf in self.schedule.loop.loop.step_leaves:
            free = leaf in self.handed and leaf not in self.wanted and leaf not in sources
            if not free or len(readers.get(leaf, ())) != 1:
                continue
            ((nest, reader),) = readers[leaf]
            follow = {reader}
            for term in nest.terms:
                if not follow.isdisjoint(term.operands):
                    follow.add(term)
                free = term in kept and term not in found.values() and not term.boolean
                if term in follow and free and term.size == leaf.size:
                    found[leaf] = term
                    break
        return found

    def function(self, name: str) -> Built:
        """A kernel, built together with those of its kind when it is first asked for."""
        with BUILDING:  # threads that ask at once get the same
            if name not in self.functions:
                inference = name.endswith("inference")
                mine = [one for one in self.plans if one.endswith("inference") == inference]

                def emit_all(module: ir.Module) -> None:
                    for one in mine:
                        emit(module, one, self.plans[one], self.numbers, build.registers())

                entry = cache.key(self.schedule.graph, self.details, mine)
                self.functions |= built(entry, mine, self.numbers, emit_all)
        return self.functions[name]

    def program(self, kind: str, shape: S, make: Callable[[Kernels, str, S], P]) -> P:
        """The program of a kind for a shape; it is made once, and the latest are kept."""
        found: P | None = self.programs.get((kind, shape))
        if found is None:
            found = make(self, kind, shape)
            if len(self.programs) >= PROGRAMS:
                self.programs.clear()
            self.programs[kind, shape] = found
        return found

    def needed(self, name: str) -> set[str]:
        """The buffers of a part's forward run that its backward pass reads."""
        part, reads = self.parts[name], set(self.plans[f"{name}_backward"].buffers)
        found = {buffer for buffer in self.plans[f"{name}_training"].buffers if buffer in reads}
        found |= {f"kept {term.index}" for term in part.kept if f"leaf {term.index}" in reads}
        return found | {source(part, one.right) for one in part.adjoint.weights if one.right}


@lru_cache(maxsize=256)
def scheduled(graph: Graph, way: Way) -> Schedule:
    """How a graph is run: made once, since making it adds terms to the graph."""
    with BUILDING:
        names, held, inputs = way
        return schedule(graph, names, held, inputs=inputs)


@lru_cache(maxsize=256)
def kernels(graph: Graph, way: Way, bits: int) -> Kernels:
    """The kernels of a graph, built at first use."""
    return Kernels(graph, way, bits)


@lru_cache(maxsize=256)
def cannot(graph: Graph, names: tuple[str, ...] = (), held: tuple[str, ...] = ()) -> str | None:
    """Why kernels cannot run a graph and give back the named values, or None."""
    found = scheduled(graph, (names, held, True))
    for part in (found.before, found.loop):
        if part is not None and (reason := unsupported(part, POINTWISE)) is not None:
            return reason
    return None
