"""The time that an experiment will take, and a smaller experiment that fits into a time limit."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice

import torch

from gatewright.errors import ArgumentError
from gatewright.training.optimizers import AdamW
from gatewright.training.plan import ExperimentPlan
from gatewright.training.processes.cores import MAX_PROCESSES, usable_cores

#: Steps that are timed for each network, after a first one that compiles its kernels.
TIMED_STEPS = 3
#: Seconds until the processes that train have loaded torch.
START_UP = 4.0
#: Time of a training as a multiple of its steps' time: an epoch also measures the validation part.
OVERHEAD = 1.3
#: Share of a time limit for training; the rest is for the baselines, the test part and the pages.
TRAINING_SHARE = 0.7
#: Share of a budget that short trainings may take.
PILOT_SHARE = 0.3
#: Share of a time limit after which no baseline's fit begins.
LAST_SHARE = 0.9
#: Time limit of a single training, as a multiple of its estimate.
SLACK = 1.2


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds that each part of an experiment will take."""

    network_seconds: Mapping[str, float]  # one training of each network
    pilot_seconds: float  # the short trainings that choose the variant of the task
    baseline_seconds: Mapping[str, float]  # of the slow baselines, by title
    seeds: int

    @property
    def processes(self) -> int:
        """Number of trainings that run side by side."""
        return min(usable_cores(), MAX_PROCESSES, self.seeds * len(self.network_seconds))

    @property
    def training_seconds(self) -> float:
        """Time until all trainings are done, side by side."""
        trainings = self.seeds * sum(self.network_seconds.values())
        return START_UP + (self.pilot_seconds + trainings) / self.processes

    def sentence(self) -> str:
        """The estimate in words, for the user to decide on before anything starts."""
        count = self.seeds * len(self.network_seconds)
        baselines = sum(self.baseline_seconds.values())
        line = f"about {in_words(self.training_seconds + baselines)}: "
        line += f"{count} training{'s' * (count > 1)} on {self.processes} "
        line += f"core{'s' * (self.processes > 1)} ({in_words(self.training_seconds)})"
        for title, seconds in self.baseline_seconds.items():
            line += f", {title} ({in_words(seconds)})"
        return line


def estimate_time(plan: ExperimentPlan) -> TimeEstimate:
    """Time a few steps of every network, and a part of every slow baseline."""
    seconds = [_training_seconds(replace(plan, variants=[variant])) for variant in plan.variants]
    last = list(plan.networks)[-1]  # the network that the variants are tried with
    # Without a choice of variants there are no short trainings.
    tried = seconds if len(seconds) > 1 else []
    return TimeEstimate(
        # Any of the variants may be chosen; the time is that of the slowest.
        network_seconds={name: max(times[name] for times in seconds) for name in plan.networks},
        pilot_seconds=plan.effort.folds * plan.effort.pilot * sum(times[last] for times in tried),
        baseline_seconds={
            baseline.title: baseline.seconds(plan.training)
            for baseline in plan.baselines
            if baseline.seconds is not None
        },
        seeds=plan.seeds,
    )


def _training_seconds(plan: ExperimentPlan) -> dict[str, float]:
    """The time of a training of each network, of the plan's first variant."""
    steps = plan.recipe.epochs * plan.recipe.steps_per_epoch(plan.task.batches(plan.parts()[0]))
    return {name: OVERHEAD * _step_seconds(plan, name) * steps for name in plan.networks}


def fit_into(
    plan: ExperimentPlan, minutes: float, began: float
) -> tuple[ExperimentPlan, TimeEstimate]:
    """Reduce seeds, then epochs, and drop slow baselines, so that a plan takes `minutes`.

    Args:
        began: The time of `time.monotonic` from which the minutes are counted.

    Raises:
        ArgumentError: if one epoch of every network takes longer.
    """
    if not 0.0 < minutes < math.inf:
        raise ArgumentError(f"minutes is {minutes}; expected a number above 0")
    full = estimate_time(plan)
    limit = 60.0 * minutes - (time.monotonic() - began)
    seeds, epochs = _affordable_training(plan, full, minutes, limit)
    share = epochs / plan.recipe.epochs
    network_seconds = {name: share * seconds for name, seconds in full.network_seconds.items()}
    smaller = replace(
        full,
        network_seconds=network_seconds,
        pilot_seconds=share * full.pilot_seconds,
        seeds=seeds,
    )
    affordable = _affordable_baselines(full, limit - smaller.training_seconds)
    dropped = [title for title in full.baseline_seconds if title not in affordable]
    remarks = list(plan.remarks)
    if dropped:
        remarks.append(f"Left out for want of time (minutes={minutes:g}): {', '.join(dropped)}.")
    plan = replace(
        plan,
        seeds=seeds,
        variants=[variant.with_share(share) for variant in plan.variants],
        baselines=[baseline for baseline in plan.baselines if baseline.title not in dropped],
        remarks=tuple(remarks),
        deadline=began + LAST_SHARE * 60.0 * minutes,
        limits={name: SLACK * seconds for name, seconds in network_seconds.items()},
    )
    return plan, replace(smaller, baseline_seconds=affordable)


def within_budget(
    plan: ExperimentPlan, *, fixed_seeds: bool = False
) -> tuple[ExperimentPlan, TimeEstimate]:
    """Reduce the short trainings, then the seeds, to the minutes of the plan's budget.

    One whole training is always left, however long it takes.
    """
    full = estimate_time(plan)
    effort = plan.effort
    allowed = 60.0 * effort.minutes * max(full.processes, 1)  # seconds of all cores together
    share = PILOT_SHARE * allowed / max(full.pilot_seconds, 1e-9)
    folds = max(min(int(share * effort.folds), effort.folds), 1)
    share = min(share * effort.folds / folds, 1.0)
    pilot_seconds = full.pilot_seconds * share * folds / effort.folds
    seeds = plan.seeds
    if not fixed_seeds:
        one_seed = sum(full.network_seconds.values())
        seeds = min(max(int((allowed - pilot_seconds) / one_seed), 1), seeds)
    plan = replace(
        plan, seeds=seeds, effort=replace(effort, folds=folds, pilot=effort.pilot * share)
    )
    return plan, replace(full, seeds=seeds, pilot_seconds=pilot_seconds)


def _affordable_training(
    plan: ExperimentPlan, full: TimeEstimate, minutes: float, limit: float
) -> tuple[int, int]:
    """(seeds, epochs) that fit into the share of `limit` seconds that is for training."""
    allowed = (TRAINING_SHARE * limit - START_UP) * full.processes  # seconds of all cores together
    one_seed = sum(full.network_seconds.values())
    seeds = min(int(max(allowed - full.pilot_seconds, 0.0) / one_seed), plan.seeds)
    epochs = plan.recipe.epochs
    one_epoch = (one_seed + full.pilot_seconds) / epochs / full.processes
    least = (one_epoch + START_UP) / TRAINING_SHARE
    if least > 60.0 * minutes:
        raise ArgumentError(
            f"minutes is {minutes:g}, and one epoch of every network takes {in_words(least)} "
            "already; give more minutes, or fewer cells"
        )
    if seeds >= 1:
        return seeds, epochs
    share = max(allowed, 0.0) / (one_seed + full.pilot_seconds)
    # At least one epoch, even where a busy machine has used up the limit by now.
    return 1, max(int(epochs * share), 1)


def _affordable_baselines(full: TimeEstimate, seconds_left: float) -> dict[str, float]:
    """The seconds of the slow baselines that fit into the time left, quickest first."""
    affordable = {}
    for title, seconds in sorted(full.baseline_seconds.items(), key=lambda item: item[1]):
        if seconds < TRAINING_SHARE * seconds_left:
            affordable[title] = seconds
            seconds_left -= seconds
    return affordable


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


def _step_seconds(plan: ExperimentPlan, name: str) -> float:
    """The median time of a training step on one thread, as in the processes that train."""
    model = plan.untrained(name).to(plan.recipe.device)
    batches = plan.task.batches(plan.parts()[0]).shuffled(
        plan.recipe.batch_size, torch.Generator().manual_seed(0)
    )
    optimizer = AdamW(model.parameters())
    times = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):  # dropout draws from the caller's generator
            # Small data have a single batch, whose first step compiles: it is taken again.
            for batch in islice(cycle(batches), TIMED_STEPS + 1):
                began = time.perf_counter()
                batch = batch.to(model.device)
                outputs, _ = model(batch)
                optimizer.zero_grad()
                plan.task.loss(outputs, batch, model).backward()
                optimizer.step()
                model.readout.bias.sum().item()  # waits for a GPU
                times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(times[1:])
