"""Advice after an experiment: what would help, from short trainings of the same run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gatewright.training.history import History
from gatewright.training.job import TrainingJob
from gatewright.training.plan import ExperimentPlan

#: Smallest relative change of a validation loss that is called one.
SMALLEST_CHANGE = 0.03
#: Share of the budget's minutes that may be spent on advice beyond the question of more data.
ADVICE_SHARE = 0.1
#: Fewest batches of a short training that says anything about a change.
MIN_STEPS = 100

#: Trains jobs and returns their histories; it ends early with fewer.
Perform = Callable[[Sequence[TrainingJob]], Sequence[History]]


@dataclass(frozen=True, slots=True)
class Question:
    """A change that might help: its short trainings, and a sentence on what they reached."""

    jobs: Sequence[TrainingJob]
    measure: Callable[[History], float]  # of the validation part, lower is better
    sentence: Callable[[Sequence[float], Sequence[float]], str]  # of (without, with the change)


def advise(plan: ExperimentPlan, perform: Perform, seconds: float) -> tuple[str, ...]:
    """Sentences on what would help; none where that would take too long to measure.

    Args:
        perform: Trains jobs, and returns their histories.
        seconds: The time that a whole training of this run took.
    """
    folds = len(plan.short_losses) or plan.effort.folds
    plain = plan.short(plan.variants[0], plan.effort.pilot, folds).jobs()
    questions = [more_data(plan, folds)]
    allowed = ADVICE_SHARE * 60.0 * plan.effort.minutes
    each = folds * plan.effort.pilot * seconds  # of one question
    more = [*longer_window(plan, folds), *other_readout(plan, folds)]
    is_affordable = plan.effort.designs and each * (len(more) + 2) <= allowed
    if is_affordable and _is_long_enough(plan):
        questions += more
    elif not plan.short_losses:
        return ()
    # The short trainings that a variant was chosen by are those without a change.
    repeats = not plan.short_losses or len(questions) > 1
    jobs = [*(plain if repeats else []), *(job for asked in questions for job in asked.jobs)]
    histories = perform(jobs)
    if len(histories) < len(jobs):
        return ()
    without = histories[:folds] if repeats else []
    sentences = []
    for number, question in enumerate(questions):
        start = folds * (number + repeats)
        changed = [question.measure(own) for own in histories[start : start + folds]]
        before = [question.measure(own) for own in without] or list(plan.short_losses)
        sentences.append(question.sentence(before, changed))
    return tuple(sentences)


def _is_long_enough(plan: ExperimentPlan) -> bool:
    """True if a short training learns something; a read-out in closed form does at once."""
    recipe = plan.recipe
    if not recipe.design.trained:
        return True
    batches = plan.task.batches(plan.parts()[0])
    steps = recipe.shortened(plan.effort.pilot).epochs * recipe.steps_per_epoch(batches)
    return steps >= MIN_STEPS


def validation_loss(history: History) -> float:
    """The lowest validation loss of a training."""
    return history.best_loss


def more_data(plan: ExperimentPlan, folds: int) -> Question:
    """Ask what twice the data might bring, by trainings with half of them.

    They take as many steps as those with all data, in twice as many epochs, and are measured on
    the same validation parts.
    """
    pilot = plan.short(plan.variants[0], 2.0 * plan.effort.pilot, folds)
    jobs = [replace(job, halved=True) for job in pilot.jobs()]
    return Question(jobs, validation_loss, on_more_data)


def on_more_data(whole: Sequence[float], halves: Sequence[float]) -> str:
    """A sentence on more data, from validation losses with all and with half of the data.

    >>> on_more_data([0.40, 0.44], [0.52, 0.55])
    'More data would help: with half of them the validation loss of a short training is 0.535 \
instead of 0.420.'
    >>> on_more_data([0.40, 0.44], [0.41, 0.43])
    'More data of the same kind would change little: with half of them the validation loss of a \
short training is 0.420 instead of 0.420.'
    """
    helps = is_lower(whole, halves)
    opening = "More data would help" if helps else "More data of the same kind would change little"
    return (
        f"{opening}: with half of them the validation loss of a short training is "
        f"{statistics.mean(halves):.3f} instead of {statistics.mean(whole):.3f}."
    )


def is_lower(losses: Sequence[float], others: Sequence[float]) -> bool:
    """True if losses are lower than others by more than a standard error, and not only a little.

    >>> is_lower([0.40, 0.44], [0.52, 0.55]), is_lower([0.40, 0.44], [0.30, 0.58])
    (True, False)
    """
    differences = [other - own for own, other in zip(losses, others, strict=True)]
    count = len(differences)
    error = statistics.stdev(differences) / math.sqrt(count) if count > 1 else 0.0
    least = max(SMALLEST_CHANGE * abs(statistics.mean(losses)), error)
    return statistics.mean(differences) > least


def longer_window(plan: ExperimentPlan, folds: int) -> Iterator[Question]:
    """Ask whether a forecast should read twice as many steps, where the data have them.

    The same origins are forecast, and judged by the task's first metric: the loss of another
    window may be in other units.
    """
    variant = plan.variants[0]
    longer = variant.task.with_longer_window(plan.training, variant.recipe.validation)
    if longer is None:
        return
    steps: tuple[int, int] = (longer.window, variant.task.window)  # type: ignore[attr-defined]
    metric = variant.task.metrics[0]
    pilot = plan.short(replace(variant, task=longer), plan.effort.pilot, folds)

    def sentence(before: Sequence[float], after: Sequence[float]) -> str:
        return on_change(
            "A longer window",
            f"with {steps[0]} steps instead of {steps[1]} (--window {steps[0]})",
            f"validation {metric.title}",
            before,
            after,
        )

    yield Question(pilot.jobs(), lambda history: history.best[metric.name], sentence)


def other_readout(plan: ExperimentPlan, folds: int) -> Iterator[Question]:
    """Ask whether more summaries of the steps would help, where a sequence has one answer."""
    variant = plan.variants[0]
    design = variant.recipe.design
    last = list(plan.networks)[-1]
    if variant.task.every_step or not design.trained or last == "window":
        return
    wider: tuple[str, ...] = ("last", "mean", "max")
    if {"mean", "max"} <= set(design.readout):
        wider = (*design.readout, "attention")
    if len(set(wider)) < len(wider):
        return
    recipe = replace(variant.recipe, design=replace(design, readout=wider))
    pilot = plan.short(replace(variant, recipe=recipe), plan.effort.pilot, folds)

    def sentence(before: Sequence[float], after: Sequence[float]) -> str:
        return on_change(
            "Another read-out",
            f"with {', '.join(wider[:-1])} and {wider[-1]} (--readout {','.join(wider)})",
            "validation loss",
            before,
            after,
        )

    yield Question(pilot.jobs(), validation_loss, sentence)


def on_change(
    subject: str, change: str, measure: str, before: Sequence[float], after: Sequence[float]
) -> str:
    """A sentence on a change, from what short trainings reached without and with it.

    >>> on_change("A longer window", "with 48 steps instead of 24", "MASE", [1.0], [0.8])
    'A longer window would help: with 48 steps instead of 24 the MASE of a short training is \
0.800 instead of 1.000.'
    """
    opening = "would help" if is_lower(after, before) else "would change little"
    if is_lower(before, after):
        opening = "would not help"
    return (
        f"{subject} {opening}: {change} the {measure} of a short training is "
        f"{statistics.mean(after):.3f} instead of {statistics.mean(before):.3f}."
    )
