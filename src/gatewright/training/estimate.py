"""The time that an experiment will take, and a smaller experiment that fits into a given time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch

from gatewright.errors import ArgumentError
from gatewright.training.job import Run
from gatewright.training.processes.pool import MOST, usable_cores

if TYPE_CHECKING:
    from gatewright.training.experiment import Experiment

#: Steps that are timed for each network, after one that compiles its kernels.
TIMED_STEPS = 3
#: Seconds until the processes that train have loaded torch.
START_UP = 4.0
#: Time of a training beside its steps alone: an epoch ends with the validation part.
OVERHEAD = 1.3
#: Share of a time limit for training; the rest is for the baselines, the test part and the pages.
TRAINING_SHARE = 0.7
#: Share of a time limit after which no baseline's fit begins.
LAST_SHARE = 0.9
#: How far beyond its planned time a single training may go before it is ended.
SLACK = 1.2


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that the parts of an experiment take, before any of it runs."""

    network_seconds: Mapping[str, float]  # one training of each network
    pilot_seconds: float  # the short trainings that choose the variant of the task
    baseline_seconds: Mapping[str, float]  # by title, those that take long
    seeds: int

    @property
    def processes(self) -> int:
        """Trainings that run side by side."""
        return min(usable_cores(), MOST, self.seeds * len(self.network_seconds))

    @property
    def training_seconds(self) -> float:
        """All trainings, side by side."""
        trainings = self.seeds * sum(self.network_seconds.values())
        return START_UP + (self.pilot_seconds + trainings) / self.processes

    def sentence(self) -> str:
        """The time in words, for the user to decide before it starts."""
        count = self.seeds * len(self.network_seconds)
        baselines = sum(self.baseline_seconds.values())
        line = f"about {in_words(self.training_seconds + baselines)}: "
        line += f"{count} training{'s' * (count > 1)} on {self.processes} "
        line += f"core{'s' * (self.processes > 1)} ({in_words(self.training_seconds)})"
        for title, seconds in self.baseline_seconds.items():
            line += f", {title} ({in_words(seconds)})"
        return line


def estimate(plan: Experiment) -> Estimate:
    """Time a few steps of every network, and a piece of every slow baseline."""
    step_seconds = {name: _step_seconds(plan, name) for name in plan.networks}
    batches = plan.task.batches(plan.task.parts(plan.training, plan.recipe.validation, 0)[0])
    steps = min(batches.steps(plan.recipe.batch_size), plan.recipe.most_steps or 10**9)
    variants = len(plan.task.variants())
    pilot_steps = steps * plan.recipe.pilot().epochs * variants * (variants > 1)
    last = list(plan.networks)[-1]
    return Estimate(
        {
            name: OVERHEAD * seconds * steps * plan.recipe.epochs
            for name, seconds in step_seconds.items()
        },
        OVERHEAD * step_seconds[last] * pilot_steps,
        {
            one.title: one.seconds(plan.training)
            for one in plan.baselines
            if one.seconds is not None
        },
        plan.seeds,
    )


def within(plan: Experiment, minutes: float, begun: float) -> tuple[Experiment, Estimate]:
    """The same experiment with fewer seeds, and then fewer epochs, so that it takes `minutes`.

    Args:
        begun: The time of `time.monotonic` from which they are counted.

    Raises:
        ArgumentError: if one epoch of every network takes longer.
    """
    if not 0.0 < minutes < math.inf:
        raise ArgumentError(f"minutes is {minutes}; expected a number above 0")
    whole = estimate(plan)
    limit = 60.0 * minutes - (time.monotonic() - begun)
    allowed = (TRAINING_SHARE * limit - START_UP) * whole.processes  # on all cores
    one_seed = sum(whole.network_seconds.values())
    seeds = min(int(max(allowed - whole.pilot_seconds, 0.0) / one_seed), plan.seeds)
    epochs = plan.recipe.epochs
    least = (one_seed + whole.pilot_seconds) / epochs / whole.processes  # one epoch of each
    if (least + START_UP) / TRAINING_SHARE > 60.0 * minutes:
        raise ArgumentError(
            f"minutes is {minutes:g}, and one epoch of every network alone takes "
            f"{in_words((least + START_UP) / TRAINING_SHARE)}; give more minutes, or fewer cells"
        )
    if seeds < 1:
        # At least one, also where a busy machine took long to come this far.
        share = max(allowed, 0.0) / (one_seed + whole.pilot_seconds)
        seeds, epochs = 1, max(int(epochs * share), 1)
    share = epochs / plan.recipe.epochs
    network_seconds = {name: share * one for name, one in whole.network_seconds.items()}
    smaller = replace(
        whole,
        network_seconds=network_seconds,
        pilot_seconds=share * whole.pilot_seconds,
        seeds=seeds,
    )
    left = limit - smaller.training_seconds
    affordable = {}
    for title, seconds in sorted(whole.baseline_seconds.items(), key=lambda item: item[1]):
        if seconds < TRAINING_SHARE * left:
            affordable[title] = seconds
            left -= seconds
    dropped = [title for title in whole.baseline_seconds if title not in affordable]
    remarks = list(plan.remarks)
    if dropped:
        remarks.append(f"Left out for want of time (minutes={minutes:g}): {', '.join(dropped)}.")
    plan = replace(
        plan,
        seeds=seeds,
        recipe=replace(plan.recipe, epochs=epochs),
        baselines=[one for one in plan.baselines if one.title not in dropped],
        remarks=tuple(remarks),
        deadline=begun + LAST_SHARE * 60.0 * minutes,
        limits={name: SLACK * seconds for name, seconds in network_seconds.items()},
    )
    return plan, replace(smaller, baseline_seconds=affordable)


def in_words(seconds: float) -> str:
    """`40 seconds`, `3 minutes` or `1.5 hours`.

    >>> in_words(8.2), in_words(170.0), in_words(5400.0)
    ('10 seconds', '3 minutes', '1.5 hours')
    """
    if seconds < 90.0:
        return f"{max(math.ceil(seconds / 5.0), 1) * 5} seconds"
    if seconds < 3600.0:
        return f"{round(seconds / 60.0)} minutes"
    return f"{seconds / 3600.0:.1f} hours"


def _step_seconds(plan: Experiment, name: str) -> float:
    """The median time of a training step on one thread, as the processes that train have it."""
    size = plan.size_of(name)
    cell = plan.networks[name].stored(plan.task, size)
    run = Run(plan.task, name, size, 0, plan.recipe, cell)
    rest, _ = run.parts(plan.training)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = run.model(rest)
            optimizer = torch.optim.AdamW(model.parameters())
            batches = plan.task.batches(rest).shuffled(
                plan.recipe.batch_size, torch.Generator().manual_seed(0)
            )
            times = []
            for batch in islice(batches, TIMED_STEPS + 1):
                started = time.perf_counter()
                outputs, _ = model(batch)
                optimizer.zero_grad()
                plan.task.loss(outputs, batch, model).backward()
                optimizer.step()
                times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(times[1:] or times)
