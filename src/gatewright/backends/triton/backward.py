"""The backward pass: back through the loop, then the large products of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gatewright.backends.adjoint import outer
from gatewright.backends.triton.loop import LoopKernels, Memory, empty
from gatewright.backends.triton.steps import DeviceOrder
from gatewright.graph import Term
from gatewright.schedule.buffers import Buffer


@dataclass
class Backward:
    """A backward pass.

    Attributes:
        tensors: The tensors of the forward pass.
        saved: The buffers that the forward pass left.
        upstream: The gradients of the outputs and of the last states, where there are any.
        requested: Whether the gradient of each tensor is requested.
    """

    loop: LoopKernels
    order: DeviceOrder
    tensors: Sequence[Tensor]
    saved: Memory
    upstream: Sequence[Tensor | None]
    requested: Sequence[bool]

    def __post_init__(self) -> None:
        self.like = self.tensors[-1]
        self.batch, self.total = len(self.like), len(self.order.before)
        self.known = dict(zip(self.loop.inputs, self.tensors, strict=False))
        self.positions = {term: i for i, term in enumerate(self.loop.inputs)}
        self.memory: Memory = {}

    def run(self) -> list[Tensor | None]:
        """Compute the requested gradients of the tensors."""
        loop = self.loop
        self._gradients_of_states()
        for group in loop.together:
            widths = [loop.units(term) for term in group]
            columns = empty(self.like, self.total, sum(widths)).split(widths, 1)
            for term, part in zip(group, columns, strict=True):
                self.memory[Buffer("result", term)] = part
        for buffer in loop.plans["backward"].buffers:
            if buffer not in self.memory:
                self.memory[buffer] = self._buffer(buffer)
        loop.launch("backward", self.order, self.batch, self.memory, self.tensors)
        gradients: list[Tensor | None] = [None] * len(self.tensors)
        for leaf in loop.part.leaves():
            gradient = loop.part.gradient(leaf)
            if gradient is not None and self.requested[self.positions[leaf]]:
                rows = self._value_of(gradient)
                # A vector is the same at all steps: its gradient is the sum over them.
                is_vector = self.known[leaf].dim() < 2
                gradients[self.positions[leaf]] = rows.sum(0) if is_vector else rows
        self._matrices(gradients)
        states = list(loop.schedule.graph.states.values())
        for i, position in enumerate(range(len(loop.inputs), len(self.tensors))):
            if self.requested[position]:
                back = self.memory[Buffer("gradient", states[i % len(states)])]
                # In the buffer the fresh states come first; among the tensors they come last.
                first = self.batch if i < len(states) else 0
                gradients[position] = back[first : first + self.batch]
        return [
            None if g is None else g.reshape(tensor.shape).to(tensor.dtype)
            for g, tensor in zip(gradients, self.tensors, strict=True)
        ]

    def _gradients_of_states(self) -> None:
        """Set the gradients of the last states, where there are any, and all others to zero."""
        for i, term in enumerate(self.loop.schedule.graph.states.values()):
            buffer = Buffer("gradient", term)
            rows = buffer.rows(self.batch, self.total)
            gradient = empty(self.like, rows, self.loop.units(term)).zero_()
            final = self.upstream[len(self.loop.outputs) + i]
            if final is not None:
                gradient[self.order.last] = final.to(gradient.dtype)
            self.memory[buffer] = gradient

    def _buffer(self, buffer: Buffer) -> Tensor:
        """Return the memory of a buffer of the backward kernel."""
        if buffer in self.saved:  # states
            return self.saved[buffer]
        if buffer.kind in ("leaf", "vector"):
            return self._value(buffer.term)
        if buffer.kind == "seed":
            return self._seed(buffer.term)
        rows = buffer.rows(self.batch, self.total)
        return empty(self.like, rows, self.loop.units(buffer.term))

    def _value(self, term: Term) -> Tensor:
        """Return a value of the forward pass: saved by it, or one of its tensors."""
        saved = self.saved.get(Buffer("value", term))
        return self.known[term] if saved is None else saved

    def _seed(self, term: Term) -> Tensor:
        """Return the upstream gradient of an output."""
        upstream = self.upstream[self.loop.outputs.index(term)]
        if upstream is None:
            return empty(self.like, self.total, self.loop.units(term)).zero_()
        return upstream.contiguous()

    def _value_of(self, term: Term) -> Tensor:
        """Return a term of the adjoint over all steps: a result, or a seed."""
        result = self.memory.get(Buffer("result", term))
        if result is not None:
            return result
        seeds = self.loop.part.adjoint.seeds
        buffer = next(buffer for buffer, seed in seeds.items() if seed is term)
        if buffer.kind == "gradient":
            return self.memory[buffer][2 * self.batch :]
        return self._seed(buffer.term)

    def _matrices(self, gradients: list[Tensor | None]) -> None:
        """Add the gradients of the matrices: one product for all adjacent left factors."""
        paths = {term.attributes["weight"].path: term for term in self.loop.part.loop.matrices}
        products: dict[tuple[Term, Term], Tensor] = {}
        rights: dict[Term, Tensor] = {}
        for weight in self.loop.part.adjoint.weights:
            position = self.positions.get(paths.get(weight.path, weight.left))
            if weight.right is None or position is None or not self.requested[position]:
                continue
            if weight.right not in rights:
                rights[weight.right] = self._source(weight.right)
            right = rights[weight.right]
            group = next((group for group in self.loop.together if weight.left in group), None)
            if group is None or weight.heads > 1:
                left = self._value_of(weight.left).to(right.dtype)
                gradient = outer(left, right, weight.heads)
            else:
                if (weight.left, weight.right) not in products:
                    heights = [self.loop.units(left) for left in group]
                    width = sum(heights)
                    columns = self.memory[Buffer("result", group[0])]
                    columns = columns.as_strided((self.total, width), (width, 1))
                    parts = (columns.to(right.dtype).T @ right).split(heights)
                    keys = [(left, weight.right) for left in group]
                    products |= dict(zip(keys, parts, strict=True))
                gradient = products[weight.left, weight.right]
            before = gradients[position]
            gradients[position] = gradient if before is None else before + gradient

    def _source(self, term: Term) -> Tensor:
        """Return the source of a product over all steps, in the type of its multiplication."""
        if term.op == "state" and term not in self.known:
            state = self.saved[Buffer("state", term)]
            return self.order.states_before(state).to(self.like.dtype)
        return self._value(term).to(self.like.dtype).expand(self.total, self.loop.units(term))
