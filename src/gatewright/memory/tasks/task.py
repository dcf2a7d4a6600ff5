"""Memory tasks: how they draw examples and score answers."""

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
        judged: `(T, B)`, true where the score counts; the same as `scored` by default.
    """

    inputs: Tensor
    targets: Tensor
    scored: Tensor
    judged: Tensor

    @classmethod
    def of(
        cls, inputs: Tensor, targets: Tensor, scored: Tensor, judged: Tensor | None = None
    ) -> Examples:
        """Examples that are judged where they are scored, by default."""
        return cls(inputs, targets, scored, scored if judged is None else judged)

    def __len__(self) -> int:
        return self.inputs.shape[1]


@dataclass(frozen=True, slots=True)
class MemoryTask:
    """A memory task.

    Attributes:
        name: With its lengths, as in "recall(lag=20)".
        about: The task in a sentence.
        source: The paper that introduced it.
        kind: The kind of answer: the right "class", a "value", or the "set" of the symbols
            that may come next.
        inputs: Numbers in each step, I.
        outputs: Classes, values or symbols, O.
        lag: Steps from the input that has to be remembered to the question for it: the
            largest number, or if there is none, the smallest.
        chance: The score of the best answer without memory: the share of right answers, or
            for values the mean squared error.
        baseline: The loss of that answer, if it is known (nats, or squared error).
        draw: Draws a number of examples with a generator of random numbers.
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
        """Draw examples; the same seed gives the same examples."""
        if count < 1:
            raise ArgumentError(f"count={count}; give at least 1")
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
        """The score of outputs, at most 1.

        Classes: the share of judged steps that are right. Sets: the share of sequences in
        which every judged step has exactly the right set. Values: the share by which the
        squared error is below that of chance, so that chance is 0.
        """
        if self.kind == "value":
            judged = examples.judged
            error = self.losses(outputs[judged], examples.targets[judged]).mean().item()
            return 1.0 - error / self.chance
        if self.kind == "class":
            right = outputs.argmax(-1) == examples.targets
            return right[examples.judged].double().mean().item()
        right = ((outputs > 0) == (examples.targets > 0.5)).all(-1)
        return (right | ~examples.judged).all(0).double().mean().item()


def check_lengths(**lengths: int) -> None:
    """Refuse lengths below 1."""
    for name, value in lengths.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name}={value!r}; expected a whole number from 1")


def one_hot(symbols: Tensor, count: int) -> Tensor:
    """Symbols `(T, B)` as one-hot vectors `(T, B, count)`; negative symbols become zeros."""
    vectors = functional.one_hot(symbols.clamp(min=0), count).float()
    return torch.where((symbols >= 0)[..., None], vectors, 0.0)


def uniform(low: int, high: int, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Random whole numbers from low to high, both included."""
    return torch.randint(low, high + 1, shape, generator=draw)
