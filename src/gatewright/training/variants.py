"""The variants of an experiment: ways to do its task, tried in short trainings, and the choice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gatewright.errors import ArgumentError
from gatewright.names import did_you_mean
from gatewright.tasks.registry import presentation_of
from gatewright.tasks.task import Task
from gatewright.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Variant:
    """A formulation of the task, and a recipe with the design of the networks."""

    task: Task
    recipe: Recipe
    hidden_sizes: Mapping[str, int]  # by network

    def with_share(self, share: float) -> Variant:
        """The variant with this share of its epochs, and at least one."""
        return replace(self, recipe=self.recipe.shortened(share))

    def computed(self, **changes: Any) -> Variant:
        """The variant with other fields of its recipe that say how it is computed."""
        return replace(self, recipe=replace(self.recipe, **changes))

    def words(self) -> str:
        """The variant as a clause, for reports."""
        formulation = presentation_of(self.task).variant
        return ", ".join([*([formulation] if formulation else []), self.recipe.design.words()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """The amount of searching and training that a budget pays for."""

    minutes: float  # of two cores; less is trained where the data are many
    seeds: int  # trainings whose predictions are averaged
    folds: int  # short trainings of each variant, each with a validation part of its own
    pilot: float  # length of a short training, as a share of a whole one
    designs: bool  # whether designs are tried, or only formulations of the task


#: By the name of the budget.
BUDGETS: Mapping[str, Effort] = MappingProxyType(
    {
        "quick": Effort(minutes=1.0, seeds=1, folds=1, pilot=0.25, designs=False),
        "normal": Effort(minutes=4.0, seeds=3, folds=2, pilot=0.25, designs=True),
        "thorough": Effort(minutes=30.0, seeds=5, folds=5, pilot=1.0, designs=True),
    }
)


def find_effort(budget: str) -> Effort:
    """The effort that a budget pays for.

    Raises:
        ArgumentError: if there is none of this name.
    """
    if isinstance(budget, str) and budget in BUDGETS:
        return BUDGETS[budget]
    if isinstance(budget, int):
        raise ArgumentError(
            f"budget is {budget}; expected {', '.join(BUDGETS)}. The size of the networks is set "
            "with parameters="
        )
    raise ArgumentError(
        f"budget is {budget!r}; {did_you_mean(str(budget), BUDGETS)}expected {', '.join(BUDGETS)}"
    )


def simplest_of_the_best(losses: Sequence[Sequence[float]]) -> int:
    """The first variant that is as good as the best, up to one standard error.

    The standard error is that of the differences fold by fold, in which the difficulty of a
    fold cancels out. With one fold there is none, and the lowest loss decides.

    >>> simplest_of_the_best([[1.0, 2.0, 3.0], [0.9, 2.05, 3.0]])
    0
    >>> simplest_of_the_best([[1.0, 2.0, 3.0], [0.5, 1.45, 2.55]])
    1

    Args:
        losses: Validation losses, (variants, folds), the simplest variant first.
    """
    means = [statistics.mean(row) for row in losses]
    best = means.index(min(means))
    for position, row in enumerate(losses[:best]):
        differences = [own - other for own, other in zip(row, losses[best], strict=True)]
        if len(differences) < 2:
            continue
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        if means[position] - means[best] <= error:
            return position
    return best


def why_chosen(variants: Sequence[Variant], losses: Sequence[Sequence[float]], chosen: int) -> str:
    """A sentence on the choice of a variant by the validation losses of all."""
    reached = [f"{statistics.mean(row):.3f}" for row in losses]
    others = "; ".join(
        f"{loss} with {variant.words()}"
        for position, (variant, loss) in enumerate(zip(variants, reached, strict=True))
        if position != chosen
    )
    folds = len(losses[0])
    trainings = "a short training" if folds == 1 else f"{folds} short trainings"
    return (
        f"Chosen after {trainings} of each variant: {variants[chosen].words()}, validation loss "
        f"{reached[chosen]}. The others: {others}."
    )
