"""The kernels of one graph: what is emitted, built and called together."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import lru_cache
from threading import RLock
from typing import Any

from llvmlite import ir
from torch import Tensor

from gatewright.backends.llvm import build, cache
from gatewright.backends.llvm.kernel import emit
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.outer import emit_outer
from gatewright.backends.llvm.plan import (
    FREE,
    Plan,
    plan_backward,
    plan_forward,
    unsupported,
)
from gatewright.backends.llvm.threads import emit_parallel, openmp
from gatewright.graph import Graph
from gatewright.graph.loop import Part, Schedule, schedule
from gatewright.graph.sizes import number

#: llvmlite builds one module at a time.
BUILDING = RLock()


class Built:
    """One kernel in memory: for one thread, and shared among several."""

    def __init__(self, library: build.Library, name: str) -> None:
        self.library = library
        self.alone = build.KERNEL(library.function(name))
        self.shared = build.SHARED(library.function(f"{name}_parallel")) if openmp() else None


class Kernels:
    """The kernels of a graph for one number type."""

    def __init__(self, graph: Graph, names: Sequence[str], held: Sequence[str], bits: int) -> None:
        self.schedule = scheduled(graph, tuple(names), tuple(held))
        self.numbers = build.numbers(bits)
        self.details = (tuple(names), tuple(held), bits)
        self.built: dict[str, Built] = {}
        self.plans: dict[str, Plan] = {}
        parts: dict[str, Part] = {"loop": self.schedule.loop}
        if self.schedule.before is not None:
            parts["before"] = self.schedule.before
        for name, part in parts.items():
            self.plans[f"{name}_inference"] = plan_forward(self.schedule, part, saving=False)
            self.plans[f"{name}_training"] = plan_forward(self.schedule, part, saving=True)
            self.plans[f"{name}_backward"] = plan_backward(self.schedule, part)

    def function(self, name: str) -> Built:
        """A kernel, built together with those of its kind when it is first asked for."""
        if name not in self.built:
            with BUILDING:
                if name not in self.built:
                    inference = name.endswith("inference")
                    mine = [one for one in self.plans if one.endswith("inference") == inference]
                    self.built |= self._build(mine, outer=not inference)
        return self.built[name]

    def _build(self, names: Sequence[str], *, outer: bool) -> dict[str, Built]:
        names = [*names, *(["outer"] if outer else [])]
        shared = openmp()
        entry = cache.key(self.schedule.graph, self.details, names, shared)
        code = cache.read(entry)
        if code is None:
            module = ir.Module("gatewright")
            for name in names:
                if name == "outer":
                    emit_outer(module, self.numbers, build.registers())
                else:
                    emit(module, name, self.plans[name], self.numbers, build.registers())
                if shared:
                    emit_parallel(module, name, self.numbers)
            code = build.object_code(module)
            cache.write(entry, code)
        library = build.Library(code)
        return {name: Built(library, name) for name in names}

    @property
    def lanes(self) -> int:
        return self.numbers.lanes

    def run(self, name: str, table: Sequence[int], rows: int, grain: int, threads: int) -> None:
        """Run a kernel on its rows, shared among threads where there is more than one tile."""
        array = (ctypes.c_int64 * len(table))(*table)
        address = ctypes.addressof(array)
        threads = min(threads, -(-rows // grain))
        kernel = self.function(name)
        if threads > 1 and kernel.shared is not None:
            kernel.shared(address, rows, grain, threads)
        else:
            kernel.alone(address, 0, rows)

    def call(
        self,
        name: str,
        order: Sequence[Tensor],
        buffers: Mapping[str, Tensor],
        packed: Mapping[Any, Tensor],
        sizes: Mapping[str, int],
        rows: int,
        threads: int,
    ) -> None:
        """Fill a kernel's table and run it."""
        plan = self.plans[name]
        table = [0] * plan.length
        table[:FREE] = [len(order[0]), *(one.data_ptr() for one in order)]
        for buffer, slot in plan.buffers.items():
            tensor = buffers[buffer]
            table[slot], table[slot + 1] = tensor.data_ptr(), tensor.stride(0)
        for size, slot in plan.sizes.items():
            table[slot] = number(size, sizes)
        for slot, tensor in packed.items():
            table[slot] = tensor.data_ptr()
        self.run(name, table, rows, 1 if rows < 12 * threads else 6, threads)


@lru_cache(maxsize=128)
def scheduled(graph: Graph, names: tuple[str, ...], held: tuple[str, ...]) -> Schedule:
    """How a graph is run: made once, since making it adds terms to the graph."""
    with BUILDING:
        return schedule(graph, names, held)


@lru_cache(maxsize=128)
def kernels(graph: Graph, names: tuple[str, ...], held: tuple[str, ...], bits: int) -> Kernels:
    """The kernels of a graph, built at first use."""
    return Kernels(graph, names, held, bits)


@lru_cache(maxsize=128)
def cannot(graph: Graph, names: tuple[str, ...] = (), held: tuple[str, ...] = ()) -> str | None:
    """Why kernels cannot run a graph and give back the named values, or None."""
    found = scheduled(graph, names, held)
    for part in (found.before, found.loop):
        if part is not None and (reason := unsupported(part, POINTWISE)) is not None:
            return reason
    return None
