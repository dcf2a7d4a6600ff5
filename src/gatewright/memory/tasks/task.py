"""What a memory task is: how examples are drawn, and how answers are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gatewright.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Examples:
    """B sequences, time first.

    Attributes:
        inputs: `(T, B, I)`, float32.
        targets: Classes `(T, B)`, int64; values `(T, B, O)`; or the symbols that may come
            next, `(T, B, O)`, each 0 or 1.
        scored: `(T, B)`, true where the loss counts.
        judged: `(T, B)`, true where the score counts; `scored` unless a task says otherwise.
    """

    inputs: Tensor
    targets: Tensor
    scored: Tensor
    judged: Tensor

    @classmethod
    def of(
        cls, inputs: Tensor, targets: Tensor, scored: Tensor, judged: Tensor | None = None
    ) -> Examples:
        """Examples that are judged where they are scored, unless said otherwise."""
        return cls(inputs, targets, scored, scored if judged is None else judged)

    def __len__(self) -> int:
        return self.inputs.shape[1]


@dataclass(frozen=True, slots=True)
class Task:
    """A memory task.

    Attributes:
        name: With its lengths, as in "recall(lag=20)".
        about: What is to be done, in a sentence.
        source: Where it comes from.
        kind: What is asked for: the right "class", a "value", or the "set" of the symbols
            that may come next.
        inputs: Values of each step, I.
        outputs: Classes, values or symbols, O.
        lag: Steps between what has to be remembered and where it is asked for: the most, or
            where there is no most, the fewest.
        chance: What the best answer without memory reaches: the share of right answers, or
            for values the mean squared error.
        baseline: The loss of that answer, where it is known (nats, or squared error).
        draw: Makes examples: how many, and the generator of the random numbers.
    """

    name: str
    about: str
    source: str
    kind: Literal["class", "value", "set"]
    inputs: int
    outputs: int
    lag: int
    chance: float
    baseline: float | None
    draw: Callable[[int, torch.Generator], Examples]

    def examples(self, count: int, seed: int) -> Examples:
        """As many examples as asked for; the same seed gives the same ones."""
        if count < 1:
            raise ArgumentError(f"count={count}; ask for at least one example")
        return self.draw(count, torch.Generator().manual_seed(seed))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss at each of N steps, `(N,)`, of outputs `(N, O)`."""
        if self.kind == "class":
            return functional.cross_entropy(outputs, targets, reduction="none")
        if self.kind == "value":
            return (outputs - targets).square().mean(-1)
        losses = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return losses.sum(-1)

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """The mean loss over the scored steps, of outputs `(T, B, O)`."""
        scored = examples.scored
        return self.losses(outputs[scored], examples.targets[scored]).mean()

    def score(self, outputs: Tensor, examples: Examples) -> float:
        """How well it was done, 1 at best.

        Classes: the share of judged steps that are right. Sets: the share of sequences in
        which every judged step has exactly the right set. Values: the share of chance's
        squared error that is gone, so that chance is 0.
        """
        if self.kind == "value":
            asked = examples.judged
            left = self.losses(outputs[asked], examples.targets[asked]).mean().item()
            return 1.0 - left / self.chance
        if self.kind == "class":
            right = outputs.argmax(-1) == examples.targets
            return right[examples.judged].double().mean().item()
        right = ((outputs > 0) == (examples.targets > 0.5)).all(-1)
        return (right | ~examples.judged).all(0).double().mean().item()


def check_lengths(**given: int) -> None:
    """Refuse lengths below 1."""
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name}={value!r}; expected a whole number from 1")


def one_hot(symbols: Tensor, count: int) -> Tensor:
    """Symbols `(T, B)` as float vectors `(T, B, count)`; below 0 is all zeros."""
    vectors = functional.one_hot(symbols.clamp(min=0), count).float()
    return torch.where((symbols >= 0)[..., None], vectors, 0.0)


def uniform(low: int, high: int, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Whole numbers from low to high, both included."""
    return torch.randint(low, high + 1, shape, generator=draw)
