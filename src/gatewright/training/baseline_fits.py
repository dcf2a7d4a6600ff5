"""Fit the baselines of an experiment: first their settings, then on all data but the test part."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from gatewright.tasks.baseline import Baseline
from gatewright.training.entries import Entry, Trial
from gatewright.training.plan import ExperimentPlan
from gatewright.training.processes.progress import baseline_bar
from gatewright.training.results import Comparison
from gatewright.training.session import Session


class OutOfTime(Exception):
    """The deadline of a plan is over; never leaves this module."""


def fit_baselines(plan: ExperimentPlan, comparison: Comparison, session: Session) -> Comparison:
    """The comparison with the plan's baselines.

    Ctrl-C or the plan's deadline leaves out those that are not done yet; a remark names them.

    Raises:
        Suspended: where the deadline of the session is over.
    """
    entries: list[Entry] = []
    reason = ""
    fits = sum(len(baseline.settings) + 1 for baseline in plan.baselines)
    try:
        with baseline_bar(fits, shown=session.progress) as on_fit:
            for baseline in plan.baselines:
                if baseline.same_size:
                    size = comparison.best.parameters
                    baseline = replace(baseline, settings=(size,))
                before_fit = _before_fit(plan, baseline, session, on_fit)
                entries.append(fit_baseline(plan, baseline, before_fit))
    except KeyboardInterrupt:
        session.interrupted = True
        reason = "Ended by hand"
    except OutOfTime:
        reason = "The time was over"
    remarks = comparison.remarks
    if reason:
        left_out = ", ".join(baseline.title for baseline in plan.baselines[len(entries) :])
        remarks = (f"{reason} before these baselines: {left_out}.", *remarks)
    return replace(comparison, entries=(*comparison.entries, *entries), remarks=remarks)


def fit_baseline(
    plan: ExperimentPlan, baseline: Baseline, before_fit: Callable[[str], None]
) -> Entry:
    """Choose a setting on validation, learn from all that is not test, and measure."""
    task, metric = plan.task, plan.task.metrics[0]
    training, validation = plan.parts()
    tried = []
    for setting in baseline.settings:
        before_fit(baseline.title)
        predicted = baseline.fit(training, setting).predict(validation)
        tried.append((task.score(predicted, validation), setting))
    before_fit(baseline.title)
    scores, setting = max(tried, key=lambda pair: metric.goodness(pair[0][metric.name]))
    fitted = baseline.fit(plan.training, setting)
    predicted = fitted.predict(plan.test)
    trial = Trial(0, scores, task.score(predicted, plan.test), predicted)
    return Entry(
        baseline.name,
        baseline.title,
        baseline.about,
        fitted.parameters,
        (trial,),
        predicts=baseline.predicts,
    )


def _before_fit(
    plan: ExperimentPlan, baseline: Baseline, session: Session, on_fit: Callable[[str], None]
) -> Callable[[str], None]:
    """The call before each fit, which ends the baselines once a deadline is over.

    Only slow baselines and those with several settings check the plan's: the others are done in a
    moment.
    """
    is_quick = len(baseline.settings) == 1 and baseline.seconds is None
    deadline = None if is_quick else plan.deadline

    def before_fit(title: str) -> None:
        session.check_time()
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTime
        on_fit(title)

    return before_fit
