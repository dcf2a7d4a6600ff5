"""The backward pass: back through the loop, and the large products behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gatewright.backends.adjoint import outer
from gatewright.backends.triton.loop import Buffers, Loop, empty
from gatewright.backends.triton.steps import Steps
from gatewright.graph import Term


@dataclass
class Backward:
    """A backward pass: what it reads, and the gradients that it gives.

    Attributes:
        own: What the forward pass left.
        upstream: The gradients of the wanted values and of the last states, where there are any.
        asked: Which gradients are asked for, of what was given.
    """

    loop: Loop
    steps: Steps
    given: Sequence[Tensor]
    own: Buffers
    upstream: Sequence[Tensor | None]
    asked: Sequence[bool]

    def __post_init__(self) -> None:
        self.like = self.given[-1]
        self.batch, self.total = len(self.like), len(self.steps.before)
        self.known = dict(zip(self.loop.given, self.given, strict=False))
        self.positions = {term: i for i, term in enumerate(self.loop.given)}
        self.buffers: Buffers = {}

    def run(self) -> list[Tensor | None]:
        """The gradients of what was given, where they are asked for."""
        self._gradients_of_states()
        for group in self.loop.together:
            whole = empty(self.like, self.total, sum(map(self.loop.units, group)))
            for one, part in zip(
                group, whole.split([self.loop.units(one) for one in group], 1), strict=True
            ):
                self.buffers[f"result {one.index}"] = part
        for name, term in self.loop.plans["backward"].terms.items():
            if name not in self.buffers:
                self.buffers[name] = self._buffer(name, term)
        self.loop.launch("backward", self.steps, self.batch, self.buffers, self.given)
        found: list[Tensor | None] = [None] * len(self.given)
        for leaf in self.loop.part.leaves():
            gradient = self.loop.part.adjoint.inputs.get(f"leaf {leaf.index}")
            if gradient is not None and self.asked[self.positions[leaf]]:
                made = self._made(gradient)
                shape = self.known[leaf].shape
                found[self.positions[leaf]] = made if len(shape) > 1 else made.sum(0)
        self._matrices(found)
        names = list(self.loop.schedule.graph.states)
        for i, position in enumerate(range(len(self.loop.given), len(self.given))):
            if self.asked[position]:
                back = self.buffers[f"gradient {names[i % len(names)]}"]
                # The first states stand behind the fresh ones, which are given behind them.
                first = self.batch if i < len(names) else 0
                found[position] = back[first : first + self.batch]
        return [
            None if one is None else one.reshape(given.shape).to(given.dtype)
            for one, given in zip(found, self.given, strict=True)
        ]

    def _gradients_of_states(self) -> None:
        """The gradients of the last states, where these are; all others are still zero."""
        for i, (name, term) in enumerate(self.loop.schedule.graph.states.items()):
            gradient = empty(self.like, 2 * self.batch + self.total, self.loop.units(term)).zero_()
            final = self.upstream[len(self.loop.wanted) + i]
            if final is not None:
                gradient[self.steps.last] = final.to(gradient.dtype)
            self.buffers[f"gradient {name}"] = gradient

    def _buffer(self, name: str, term: Term) -> Tensor:
        """A buffer of the kernel."""
        units = self.loop.units(term)
        if name in self.own:  # states
            return self.own[name]
        if name.startswith(("leaf", "vector")):
            return self._value(term)
        if name.startswith("seed"):
            return self._seed(name, units)
        return empty(self.like, self.batch if name.startswith("scratch") else self.total, units)

    def _value(self, term: Term) -> Tensor:
        """A value of the forward pass: what it kept, or what it was given."""
        kept = self.own.get(f"kept {term.index}")
        return self.known[term] if kept is None else kept

    def _seed(self, name: str, units: int) -> Tensor:
        """The gradient that reaches a wanted value from outside."""
        wanted = [f"seed value {one.index}" for one in self.loop.wanted]
        found = self.upstream[wanted.index(name)]
        if found is None:
            return empty(self.like, self.total, units).zero_()
        return found.contiguous()

    def _made(self, term: Term) -> Tensor:
        """A term of the adjoint over all steps: a result, or the seed that it is."""
        if f"result {term.index}" in self.buffers:
            return self.buffers[f"result {term.index}"]
        seeds = self.loop.part.adjoint.seeds
        name = next(name for name, one in seeds.items() if one is term)
        if name in self.loop.schedule.updates:
            return self.buffers[f"gradient {name}"][2 * self.batch :]
        return self._seed(f"seed {name}", self.loop.units(term))

    def _matrices(self, found: list[Tensor | None]) -> None:
        """The gradients of the matrices: one product for all lefts that stand side by side."""
        paths = {one.attributes["weight"].path: one for one in self.loop.part.loop.matrices}
        done: dict[tuple[Term, Term], Tensor] = {}
        rights: dict[Term, Tensor] = {}
        for one in self.loop.part.adjoint.weights:
            position = self.positions.get(paths.get(one.path, one.left))
            if one.right is None or position is None or not self.asked[position]:
                continue
            if one.right not in rights:
                rights[one.right] = self._source(one.right)
            right = rights[one.right]
            group = next((group for group in self.loop.together if one.left in group), None)
            if group is None or one.heads > 1:
                left = self._made(one.left).to(right.dtype)
                gradient = outer(left, right, one.heads)
            else:
                if (one.left, one.right) not in done:
                    heights = [self.loop.units(left) for left in group]
                    whole = self.buffers[f"result {group[0].index}"]
                    whole = whole.as_strided((self.total, sum(heights)), (sum(heights), 1))
                    parts = (whole.to(right.dtype).T @ right).split(heights)
                    keys = [(left, one.right) for left in group]
                    done |= dict(zip(keys, parts, strict=True))
                gradient = done[one.left, one.right]
            before = found[position]
            found[position] = gradient if before is None else before + gradient

    def _source(self, term: Term) -> Tensor:
        """What a product read in all steps, in the type that it was multiplied in."""
        if term.op == "state" and term not in self.known:
            state = self.own[f"state {term.attributes['name']}"]
            return self.steps.states_before(state).to(self.like.dtype)
        return self._value(term).to(self.like.dtype).expand(self.total, self.loop.units(term))
