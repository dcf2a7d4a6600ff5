"""The forward pass of a run: its program, and running it."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.backends.llvm.call_list import Key, Program
from gatewright.backends.llvm.call_shape import CallShape
from gatewright.backends.llvm.library import Kernels
from gatewright.backends.llvm.memory import POOL
from gatewright.backends.llvm.precision import LOW
from gatewright.backends.llvm.verify import Span
from gatewright.backends.no_dynamo import untraced
from gatewright.backends.order import Order
from gatewright.backends.storage import Memory
from gatewright.schedule.buffers import Buffer


@untraced
def run_forward(
    built: Kernels,
    shape: CallShape,
    order: Order,
    memory: Memory,
    dtype: torch.dtype,
    *,
    training: bool,
    cleared: bool = False,
    fronts: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> tuple[list[Tensor], Tensor | None]:
    """Run: the outputs and the last states, and the memory that the backward pass reads.

    That memory has gaps with arbitrary numbers, or zeros if it is `cleared`.

    Args:
        memory: The memory of the tensors that come in.
        dtype: The number type of states and results.
        fronts: The shapes of outputs and of states without their last axis, `(N,)` and `(B,)`
            by default.
    """
    program = built.program("training" if training else "inference", shape, ForwardProgram)
    own = torch.float32 if dtype == LOW else dtype
    saved = POOL.take(own, program.lengths.get("saved", 0)) if training else None
    scratch = POOL.take(own, program.lengths.get("scratch", 0))
    if saved is not None and cleared:
        saved.zero_()
        scratch.zero_()  # values computed from its gaps end up in the gaps of `saved`
    lead, front = fronts or ((shape.total,), (shape.batch,))
    outputs = [POOL.take(dtype, *lead, program.units(term)) for term in built.outputs]
    states = built.schedule.graph.states.values()
    finals = [POOL.take(dtype, *front, program.units(term)) for term in states]
    blocks = [0 if block is None else block.data_ptr() for block in (saved, scratch)]
    results = [result.data_ptr() for result in (*outputs, *finals)]
    program([*order.addresses, *blocks, *memory.addresses, *results])
    pairs = zip(built.outputs, outputs, strict=True)
    return [*(o.bool() if term.boolean else o for term, o in pairs), *finals], saved


class ForwardProgram(Program):
    """The calls of a forward pass; its inputs are `built.inputs`, states, and fresh states."""

    def __init__(self, built: Kernels, kind: str, shape: CallShape) -> None:
        super().__init__(built, shape)
        self.training = kind == "training"
        self.positions = {term: i for i, term in enumerate(built.inputs)}
        self.outputs = [
            self.returned(f"output {i}", term, shape.total) for i, term in enumerate(built.outputs)
        ]
        states = built.schedule.graph.states.values()
        self.finals = [
            self.returned(f"final {i}", term, shape.batch) for i, term in enumerate(states)
        ]
        self.shared_places = self._shared_places()
        #: Buffers that the backward pass reads, out of tensors in bfloat16. It widens them again:
        #: in float32 they would take three times the memory until then.
        self.widened: list[tuple[str, Buffer]] = []
        for part in built.parts:
            self._place_buffers(part, f"{part}_{kind}")
            if part == "loop":
                self._begin()
            self.pack(part, kind, self.positions)
            self.run(part, kind)
        self._finish()
        self.complete()

    def _shared_places(self) -> dict[Key, Key]:
        """Map buffers of the loop to buffers of the part before it that have the same memory.

        Also sets `self.needed`, the buffers that the backward pass reads.
        """
        built = self.built
        same: dict[Key, Key] = {
            ("loop", Buffer("leaf", term)): ("before", Buffer("value", term))
            for term in built.handed_on
        }
        self.needed: set[Key] = set()
        if not self.training:
            return same
        self.needed = {(part, buffer) for part in built.parts for buffer in built.needed(part)}
        self.needed |= {early for late, early in same.items() if late in self.needed}
        for leaf, term in built.replaced.items():
            # A saved value reuses the buffer of the pre-activation that it was computed from,
            # which is dead by then.
            early: Key = ("before", Buffer("value", leaf))
            late: Key = ("loop", Buffer("value", term))
            if early not in self.needed and late in self.needed:
                same[late] = early
        self.needed |= {early for late, early in same.items() if late in self.needed}
        return same

    def _place_buffers(self, part: str, name: str) -> None:
        """Place the buffers of a part, and copy inputs whose rows are not whole vectors."""
        copies: list[tuple[Span, tuple[str, Buffer]]] = []
        for buffer in self.built.plans[name].buffers:
            key, term = (part, buffer), buffer.term
            if key in self.shared_places:
                self.places[key] = self.places[self.shared_places[key]]
                continue
            units, rows = self.units(term), self.rows_of(key)
            if buffer.kind in ("leaf", "vector"):
                tensor = self.own(f"input {self.positions[term]}", units, rows)
                if tensor.base in self.low:
                    self.place("scratch", rows, (key, units))
                    copies.append((tensor, key))
                    if key in self.needed:
                        self.widened.append(key)
                    continue
                if self.whole(term):
                    self.places[key] = tensor
                    continue
                copies.append((tensor, key))
            returned = buffer.kind == "value" and term in self.built.outputs
            if returned and key not in self.needed and self.whole(term) and not self.shape.low:
                # The kernel writes into the tensor that is returned.
                self.places[key] = self.outputs[self.built.outputs.index(term)]
                continue
            self.place("saved" if key in self.needed else "scratch", rows, (key, units))
        for tensor, key in copies:
            _, buffer = key
            rows, units = self.rows_of(key), self.units(buffer.term)
            self.copy(tensor, self.places[key], rows, units, content=buffer.content)

    def _begin(self) -> None:
        """Copy the states before the first step, and fresh ones, to where the loop reads them."""
        states, batch = self.built.schedule.graph.states, self.shape.batch
        first = len(self.built.inputs)
        for i, term in enumerate(states.values()):
            buffer, units = Buffer("state", term), self.units(term)
            target, value = self.places["loop", buffer], buffer.content
            state = self.own(f"input {first + i}", units, batch)
            self.copy(state, target.from_row(batch), batch, units, content=value)
            if self.shape.fresh:
                fresh = self.own(f"input {first + len(states) + i}", units, batch)
                self.copy(fresh, target, batch, units, content=value)

    def _finish(self) -> None:
        """Copy results that no kernel wrote into the returned tensor: kernels read them again."""
        built, shape = self.built, self.shape
        for term, output in zip(built.outputs, self.outputs, strict=True):
            units = self.units(term)
            if term.op == "state":
                buffer = Buffer("state", term)
                place, value = self.places["loop", buffer], buffer.content
                self.copy(place, output, shape.total, units, read="before", content=value)
                continue
            part = next(name for name, part in built.parts.items() if term in part.outputs)
            buffer = Buffer("value", term)
            place = self.places[part, buffer]
            if place != output:
                self.copy(place, output, shape.total, units, content=buffer.content)
        for term, final in zip(built.schedule.graph.states.values(), self.finals, strict=True):
            buffer, units = Buffer("state", term), self.units(term)
            place, value = self.places["loop", buffer], buffer.content
            self.copy(place, final, shape.batch, units, read="last", content=value)
