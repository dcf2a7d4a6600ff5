"""Advice after an experiment: what would help, from measurements of the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from gatewright.training.job import TrainingJob
from gatewright.training.plan import ExperimentPlan

#: Smallest relative change of a validation loss that is called one.
SMALLEST_CHANGE = 0.03


def halved_jobs(plan: ExperimentPlan) -> list[TrainingJob]:
    """The short trainings of the chosen variant again, with half of the data.

    They take as many steps as those with all data, in twice as many epochs, and are measured on
    the same validation parts.
    """
    pilot = plan.short(plan.variants[0], 2.0 * plan.effort.pilot, len(plan.short_losses))
    return [replace(job, halved=True) for job in pilot.jobs()]


def on_more_data(whole: Sequence[float], halves: Sequence[float]) -> str:
    """A sentence on more data, from validation losses with all and with half of the data.

    >>> on_more_data([0.40, 0.44], [0.52, 0.55])
    'More data would help: with half of them the validation loss of a short training is 0.535 \
instead of 0.420.'
    >>> on_more_data([0.40, 0.44], [0.41, 0.43])
    'More data of the same kind would change little: with half of them the validation loss of a \
short training is 0.420 instead of 0.420.'
    """
    all_data, half = statistics.mean(whole), statistics.mean(halves)
    differences = [own - other for own, other in zip(halves, whole, strict=True)]
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    helps = half - all_data > max(SMALLEST_CHANGE * abs(all_data), spread)
    opening = "More data would help" if helps else "More data of the same kind would change little"
    return (
        f"{opening}: with half of them the validation loss of a short training is {half:.3f} "
        f"instead of {all_data:.3f}."
    )


def advise(
    plan: ExperimentPlan, perform: Callable[[Sequence[TrainingJob]], Sequence[float]]
) -> tuple[str, ...]:
    """Sentences on what would help; none where the plan had no short trainings to compare with.

    Args:
        perform: Trains jobs, and returns their best validation losses.
    """
    if not plan.short_losses:
        return ()
    return (on_more_data(plan.short_losses, perform(halved_jobs(plan))),)
