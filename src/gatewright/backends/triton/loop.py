"""The loop on kernels: its plans and launches, and the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from gatewright.backends.llvm.library import Way, scheduled
from gatewright.backends.triton.build import built, processors
from gatewright.backends.triton.kernel import text
from gatewright.backends.triton.mathematics import POINTWISE
from gatewright.backends.triton.places import Places
from gatewright.backends.triton.steps import Steps
from gatewright.backends.triton.tiles import Tiles
from gatewright.graph import Graph, Term
from gatewright.graph.sizes import number
from gatewright.schedule.slots import plan_backward, plan_forward, unsupported

#: The number that kernels compute in, and the type of what they multiply, by the tensors'.
COMPUTED = {
    torch.float64: (64, None),
    torch.float32: (32, None),
    torch.bfloat16: (32, "tl.bfloat16"),
    torch.float16: (32, "tl.float16"),
}
#: Buffers by their names, as kernels take them.
Buffers = dict[str, Tensor]


class Loop:
    """The loop of a graph for given sizes.

    Attributes:
        given: What it reads besides states: the leaves and the matrices.
        wanted: The terms that it gives back, besides the last states.
    """

    def __init__(self, graph: Graph, way: Way, sizes: tuple[tuple[str, int], ...]) -> None:
        self.schedule = scheduled(graph, way)
        self.part = self.schedule.loop
        self.sizes = dict(sizes)
        self.given = [*self.part.leaves(), *self.part.loop.matrices]
        self.wanted = list(self.part.wanted)
        self.plans = {
            "inference": plan_forward(self.schedule, self.part, saving=False),
            "training": plan_forward(self.schedule, self.part, saving=True),
            "backward": plan_backward(self.schedule, self.part),
        }
        self.together = self._together()
        self.printed = lru_cache(maxsize=64)(self._print)

    def units(self, term: Term) -> int:
        return number(term.size, self.sizes)

    def _together(self) -> list[list[Term]]:
        """Results whose product with one source gives gradients: they stand side by side."""
        plan, taken = self.plans["backward"], set[Term]()
        groups: dict[tuple[Term, int], list[Term]] = {}
        for one in self.part.adjoint.weights:
            own = f"result {one.left.index}" in plan.buffers
            if own and one.right is not None and one.left not in taken:
                groups.setdefault((one.right, one.heads), []).append(one.left)
                taken.add(one.left)
        return list(groups.values())

    def _print(self, kind: str, tiles: Tiles, dtype: torch.dtype) -> tuple[Places, str]:
        """The places of a kernel, and its text."""
        bits, low = COMPUTED[dtype]
        widths: dict[str, int] = {}
        if kind == "backward":
            for group in self.together:
                width = sum(map(self.units, group))
                widths |= {f"result {one.index}": width for one in group}
        places = Places(self.plans[kind], self.sizes, tiles, bits=bits, low=low, widths=widths)
        return places, text(kind, places)

    def launch(
        self, kind: str, steps: Steps, batch: int, buffers: Buffers, given: Sequence[Tensor]
    ) -> None:
        """Run a kernel on all tiles of the batch."""
        plan, like = self.plans[kind], given[-1]
        sizes = [number(nest.size, self.sizes) for nest in plan.loop.nests]
        if not sizes:
            return
        tiles = Tiles.of(batch, sizes, processors(like.device))
        places, made = self.printed(kind, tiles, like.dtype)
        kernel = built(kind, made)
        rows, offsets = steps.turned if kind == "backward" else (steps.rows, steps.offsets)
        count = -(-batch // tiles.rows)
        counters = torch.zeros(count, dtype=torch.int32, device=like.device)
        arguments = [rows, offsets, steps.before, *(buffers[one] for one in places.buffers)]
        matrices = dict(zip(self.given, given, strict=False))
        arguments += [matrices[term] for term in places.matrices]
        for first in range(0, count, tiles.at_once):
            grid = (min(tiles.at_once, count - first), tiles.parts)
            with torch.cuda.device_of(like):
                kernel(grid, tiles, [len(rows), batch, first, counters, *arguments])


def empty(like: Tensor, rows: int, units: int) -> Tensor:
    """A buffer that holds anything, of numbers that are computed with."""
    bits, _ = COMPUTED[like.dtype]
    dtype = torch.float64 if bits == 64 else torch.float32
    return torch.empty(rows, units, dtype=dtype, device=like.device)


def run_forward(
    loop: Loop, steps: Steps, given: Sequence[Tensor], *, training: bool
) -> tuple[list[Tensor], Buffers]:
    """The wanted values and the last states, and the buffers that the backward pass reads.

    What is `given` are the loop's leaves and matrices, the states before the first step, and
    the fresh ones where there are restarts.
    """
    kind, like = "training" if training else "inference", given[-1]
    batch, total = len(like), len(steps.before)
    states = loop.schedule.graph.states
    known = dict(zip(loop.given, given, strict=False))
    own: Buffers = {}
    for i, (name, term) in enumerate(states.items()):
        state = own[f"state {name}"] = empty(like, 2 * batch + total, loop.units(term))
        first = len(loop.given) + i
        state[batch : 2 * batch] = given[first]
        if len(given) > len(loop.given) + len(states):
            state[:batch] = given[first + len(states)]
    buffers = dict(own)
    for name, term in loop.plans[kind].terms.items():
        if name.startswith(("leaf", "vector")):
            buffers[name] = known[term]
        elif name.startswith("scratch"):
            buffers[name] = empty(like, batch, loop.units(term))
        elif name not in own:
            buffers[name] = own[name] = empty(like, total, loop.units(term))
    loop.launch(kind, steps, batch, buffers, given)
    found = [_wanted(loop, one, own, steps, like) for one in loop.wanted]
    found += [own[f"state {name}"].index_select(0, steps.last).to(like.dtype) for name in states]
    return found, own


def _wanted(loop: Loop, term: Term, own: Buffers, steps: Steps, like: Tensor) -> Tensor:
    """A value that was asked for, as torch gets it."""
    if term.op == "state":  # as it was before the step
        state = own[f"state {term.attributes['name']}"]
        return steps.states_before(state).to(like.dtype, copy=True)
    value = own[f"kept {term.index}"]
    return value != 0 if term.boolean else value.to(like.dtype)


@lru_cache(maxsize=256)
def cannot(graph: Graph, names: tuple[str, ...], held: tuple[str, ...]) -> str | None:
    """Why kernels cannot run a graph and give back the named values, or None."""
    found = scheduled(graph, (names, held, True))
    given = {graph.values[name] for name in held}
    if graph.output not in {*found.loop.wanted, *given}:
        return "the output does not depend on a state, so it needs no loop"
    return unsupported(found.loop, POINTWISE)


@lru_cache(maxsize=256)
def loop_of(graph: Graph, way: Way, sizes: tuple[tuple[str, int], ...]) -> Loop:
    """The loop of a graph, planned at first use."""
    return Loop(graph, way, sizes)
