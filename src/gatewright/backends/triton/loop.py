"""The loop on kernels: its plans and launches, and the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from gatewright.backends.checked_build import checked
from gatewright.backends.triton.build import built, processors
from gatewright.backends.triton.guard import GuardZones, guarded
from gatewright.backends.triton.kernel import text
from gatewright.backends.triton.mathematics import POINTWISE
from gatewright.backends.triton.places import KernelPlaces
from gatewright.backends.triton.steps import DeviceOrder
from gatewright.backends.triton.tiles import Tiles
from gatewright.graph import Graph, Term
from gatewright.graph.sizes import number
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.loop import ScheduleOptions, schedule
from gatewright.schedule.slots import plan_backward, plan_forward, unsupported

#: By the tensors' type: bits of the computation, and the type of the factors of products.
COMPUTED = {
    torch.float64: (64, None),
    torch.float32: (32, None),
    torch.bfloat16: (32, "tl.bfloat16"),
    torch.float16: (32, "tl.float16"),
}
#: The memory of buffers.
Memory = dict[Buffer, Tensor]


class LoopKernels:
    """The kernels of a graph's loop for given sizes.

    Attributes:
        inputs: The terms that it reads in addition to states: the leaves and the matrices.
        outputs: The terms that it returns in front of the last states.
        together: Groups of the adjoint's results that are multiplied by the same source to
            give gradients; their buffers are adjacent, so that it is one product.
    """

    def __init__(
        self, graph: Graph, options: ScheduleOptions, sizes: tuple[tuple[str, int], ...]
    ) -> None:
        self.schedule = schedule(graph, options)
        self.part = self.schedule.loop
        self.sizes = dict(sizes)
        self.inputs = [*self.part.leaves(), *self.part.loop.matrices]
        self.outputs = list(self.part.outputs)
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
        plan, taken = self.plans["backward"], set[Term]()
        groups: dict[tuple[Term, int], list[Term]] = {}
        for weight in self.part.adjoint.weights:
            own = Buffer("result", weight.left) in plan.buffers
            if own and weight.right is not None and weight.left not in taken:
                groups.setdefault((weight.right, weight.heads), []).append(weight.left)
                taken.add(weight.left)
        return list(groups.values())

    def _print(self, kind: str, tiles: Tiles, dtype: torch.dtype) -> tuple[KernelPlaces, str]:
        """Print a kernel: its places, and its text."""
        bits, low = COMPUTED[dtype]
        widths: dict[Buffer, int] = {}
        if kind == "backward":
            for group in self.together:
                width = sum(map(self.units, group))
                widths |= {Buffer("result", term): width for term in group}
        plan = self.plans[kind]
        places = KernelPlaces(plan, self.sizes, tiles, bits=bits, low=low, widths=widths)
        return places, text(kind, places)

    def launch(
        self,
        kind: str,
        order: DeviceOrder,
        batch: int,
        memory: Memory,
        tensors: Sequence[Tensor],
    ) -> None:
        """Run a kernel on all tiles of the batch."""
        plan, like = self.plans[kind], tensors[-1]
        sizes = [number(nest.size, self.sizes) for nest in plan.loop.nests]
        if not sizes:
            return
        tiles = Tiles.of(batch, sizes, processors(like.device))
        places, source = self.printed(kind, tiles, like.dtype)
        kernel = built(kind, source)
        rows, offsets = order.turned if kind == "backward" else (order.rows, order.offsets)
        count = -(-batch // tiles.rows)
        counters = torch.zeros(count, dtype=torch.int32, device=like.device)
        arguments = [rows, offsets, order.before, *(memory[buffer] for buffer in places.buffers)]
        matrices = dict(zip(self.inputs, tensors, strict=False))
        arguments += [matrices[term] for term in places.matrices]
        arguments.insert(0, counters)
        guard = GuardZones() if checked() else None
        if guard is not None:
            names = ["counters", "rows", "offsets", "before", *map(str, places.buffers)]
            names += [f"matrix {term.index}" for term in places.matrices]
            written = set(map(str, places.written))
            arguments = guard.placed(dict(zip(names, arguments, strict=True)), written)
        for first in range(0, count, tiles.at_once):
            grid = (min(tiles.at_once, count - first), tiles.parts)
            with torch.cuda.device_of(like):
                kernel(grid, tiles, [len(rows), batch, first, *arguments])
        if guard is not None:
            guard.check(f"the {kind} kernel of {self.schedule.graph.equations.name}")


def empty(like: Tensor, rows: int, units: int) -> Tensor:
    """Allocate a buffer of the numbers of the computation, without setting them."""
    bits, _ = COMPUTED[like.dtype]
    dtype = torch.float64 if bits == 64 else torch.float32
    if checked():
        return guarded((rows, units), dtype, like.device)
    return torch.empty(rows, units, dtype=dtype, device=like.device)


def run_forward(
    loop: LoopKernels, order: DeviceOrder, tensors: Sequence[Tensor], *, training: bool
) -> tuple[list[Tensor], Memory]:
    """Run the loop: its outputs and the last states, and the memory of the backward pass.

    Args:
        tensors: The values of the loop's inputs, the states before the first step, and the
            fresh ones where there are restarts.
    """
    kind, like = "training" if training else "inference", tensors[-1]
    batch, total = len(like), len(order.before)
    states = loop.schedule.graph.states
    known = dict(zip(loop.inputs, tensors, strict=False))
    own: Memory = {}
    for i, term in enumerate(states.values()):
        buffer = Buffer("state", term)
        state = own[buffer] = empty(like, buffer.rows(batch, total), loop.units(term))
        first = len(loop.inputs) + i
        state[batch : 2 * batch] = tensors[first]
        if len(tensors) > len(loop.inputs) + len(states):
            state[:batch] = tensors[first + len(states)]
    memory = dict(own)
    for buffer in loop.plans[kind].buffers:
        if buffer.kind in ("leaf", "vector"):
            memory[buffer] = known[buffer.term]
        elif buffer not in own:
            memory[buffer] = empty(like, buffer.rows(batch, total), loop.units(buffer.term))
            if buffer.kind != "scratch":
                own[buffer] = memory[buffer]
    loop.launch(kind, order, batch, memory, tensors)
    outputs = [_output(term, own, order, like) for term in loop.outputs]
    for term in states.values():
        last = own[Buffer("state", term)].index_select(0, order.last)
        outputs.append(last.to(like.dtype))
    return outputs, own


def _output(term: Term, own: Memory, order: DeviceOrder, like: Tensor) -> Tensor:
    """Convert a returned value to the tensors' type."""
    if term.op == "state":  # its value before the step
        return order.states_before(own[Buffer("state", term)]).to(like.dtype, copy=True)
    value = own[Buffer("value", term)]
    return value != 0 if term.boolean else value.to(like.dtype)


@lru_cache(maxsize=256)
def unsupported_graph(graph: Graph, names: tuple[str, ...], held: tuple[str, ...]) -> str | None:
    """Give the reason why kernels cannot run a graph and return the named values, or None."""
    work = schedule(graph, ScheduleOptions(names, held))
    fixed = {graph.values[name] for name in held}
    if graph.output not in {*work.loop.outputs, *fixed}:
        return "the output does not depend on a state, so it needs no loop"
    return unsupported(work.loop, POINTWISE)


@lru_cache(maxsize=256)
def loop_of(
    graph: Graph, options: ScheduleOptions, sizes: tuple[tuple[str, int], ...]
) -> LoopKernels:
    """Return the loop of a graph, planned at first use."""
    return LoopKernels(graph, options, sizes)
