"""Perform an experiment: choose the variant, train, open the test part once, and write.

The model is saved as soon as it is chosen and measured. The baselines, which may take longer
than the training, and the report are added to its directory when they are done.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gatewright.errors import ModelError
from gatewright.files import remove_file, write_file
from gatewright.layers.saving import CONFIG, model_files
from gatewright.tasks.registry import presentation_of
from gatewright.tasks.task import run_all
from gatewright.training.advice import advise
from gatewright.training.baseline_fits import fit_baselines
from gatewright.training.distil import student_of, taught
from gatewright.training.ensemble import Ensemble
from gatewright.training.entries import Entry, Trial, rank
from gatewright.training.history import BY_HAND, TIME_OVER, Epoch, History
from gatewright.training.job import Outcome, TrainingJob, build_model
from gatewright.training.model import Model
from gatewright.training.networks import count_parameters
from gatewright.training.plan import ExperimentPlan
from gatewright.training.processes.pool import perform_all
from gatewright.training.processes.progress import progress_bar
from gatewright.training.ranks.jobs import current_leader, perform_together
from gatewright.training.report.card import card
from gatewright.training.report.page import report
from gatewright.training.results import Comparison
from gatewright.training.session import Session
from gatewright.training.variants import simplest_of_the_best, why_chosen

CUT_SHORT = "The training was ended by hand: these are the best models until then."
PENDING = "Written right after the training: the baselines were still to be computed."


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that is measured, with its model built again in this process."""

    job: TrainingJob
    history: History
    model: Model


def run_experiment(plan: ExperimentPlan, session: Session) -> Comparison:
    """Perform a plan from the choice of the variant to the report; see `compare` and `train`.

    Where Ctrl-C left something out, the directory holds the best model so far, and the run can
    still be resumed.
    """
    with session.pool:
        target = None if session.run is None else session.run.target
        plan, ended_early = choose_variant(plan, session)
        trained = ended_early or train_networks(plan, session)
        session.check_time()
        comparison = measure_networks(plan, trained, target)
        if session.run is not None:
            with session.run.resumable():
                write_model(comparison, session.run.target, is_pending=bool(plan.baselines))
        comparison = fit_baselines(plan, comparison, session)
        if not _is_cut_short(plan, trained, comparison):
            seconds = max(run.history.seconds for run in trained)
            comparison = replace(comparison, advice=_advice(plan, seconds, session))
        if session.run is not None:
            with session.run.resumable():
                write_report(plan, comparison, trained, session.run.target)
                if not session.interrupted:
                    session.run.finish()
        return comparison


def choose_variant(plan: ExperimentPlan, session: Session) -> tuple[ExperimentPlan, list[Trained]]:
    """The plan with the simplest of the variants that do best after short trainings.

    The last network of the plan is trained on each: in the lesson's list that is the GRU. Where
    it is the only one, Ctrl-C ends the experiment with its short trainings so far: then they are
    returned, and otherwise none.

    Raises:
        KeyboardInterrupt: if it was ended so early that there is nothing to keep.
    """
    if len(plan.variants) == 1:
        return plan, []
    folds = plan.effort.folds
    pilots = [plan.short(variant, plan.effort.pilot, folds) for variant in plan.variants]
    jobs = [job for pilot in pilots for job in pilot.jobs()]
    keep = len(plan.networks) == 1
    outcomes = _perform(plan, jobs, session, keep=keep, what="short trainings to choose by")
    if len(outcomes) < len(jobs) or any(run.history.stopped == BY_HAND for run in outcomes):
        return _best_so_far(plan, outcomes)
    reached = [run.history.best_loss for run in outcomes]
    losses = [reached[start : start + folds] for start in range(0, len(reached), folds)]
    chosen = simplest_of_the_best(losses)
    note = why_chosen(plan.variants, losses, chosen)
    chosen_plan = replace(
        plan,
        variants=[plan.variants[chosen]],
        notes=(*plan.notes, note),
        short_losses=tuple(losses[chosen]),
    )
    return chosen_plan, []


def _best_so_far(
    plan: ExperimentPlan, outcomes: Sequence[Outcome]
) -> tuple[ExperimentPlan, list[Trained]]:
    """The best of the short trainings that were ended by hand, and the plan with its variant."""
    begun = [outcome for outcome in outcomes if outcome.history.has_best]
    if not begun:
        raise KeyboardInterrupt
    best = min(begun, key=lambda outcome: outcome.history.best_loss)
    (variant,) = [
        variant
        for variant in plan.variants
        if (variant.task, variant.recipe.design) == (best.job.task, best.job.recipe.design)
    ]
    plan = replace(plan, variants=[variant], seeds=1)
    return plan, [Trained(best.job, best.history, _rebuilt(plan, best))]


def train_networks(plan: ExperimentPlan, session: Session) -> list[Trained]:
    """Train every network from every seed, each in a process; Ctrl-C keeps what is finished.

    Raises:
        KeyboardInterrupt: if it was ended so early that there is nothing to keep.
    """
    outcomes = _measurable(plan, _perform(plan, plan.jobs(), session, keep=True))
    if not outcomes:
        raise KeyboardInterrupt
    return [Trained(outcome.job, outcome.history, _rebuilt(plan, outcome)) for outcome in outcomes]


def _perform(
    plan: ExperimentPlan,
    jobs: Sequence[TrainingJob],
    session: Session,
    *,
    keep: bool,
    what: str = "trainings",
) -> list[Outcome]:
    costs = {name: network.cost for name, network in plan.networks.items()}
    with progress_bar(jobs, costs, shown=session.progress, what=what) as bar:

        def on_epoch(job: TrainingJob, epoch: Epoch) -> None:
            bar.on_epoch(job, epoch)
            for log in session.logs:
                log(what, job, epoch)

        leader = current_leader()
        if leader is None:
            perform = partial(perform_all, pool=session.pool)
        else:
            perform = partial(perform_together, leader)
        outcomes = perform(
            jobs,
            plan.training,
            on_epoch=on_epoch,
            on_end=bar.on_end,
            keep=keep,
            run=session.run,
            deadline=session.deadline,
        )
    session.ended([outcome.history for outcome in outcomes], len(jobs))
    return outcomes


def _measurable(plan: ExperimentPlan, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes that are worth measuring.

    A comparison leaves out trainings that were ended by hand, if others were finished: a
    network cannot be judged by a training that was cut short.
    """
    begun = [outcome for outcome in outcomes if outcome.history.has_best]
    finished = [outcome for outcome in begun if outcome.history.stopped != BY_HAND]
    return finished if len(plan.networks) > 1 and finished else begun


def _rebuilt(plan: ExperimentPlan, outcome: Outcome) -> Model:
    """The model of a training, as it was built in the process that trained it."""
    job = outcome.job
    # The plan's network, not the job's: it has the user's own class, which the directory names.
    network = plan.networks[job.network]
    with torch.random.fork_rng(devices=[]):
        model = build_model(job.task, job.network, network, job.hidden_size, job.recipe)
    try:
        model.load_state_dict(outcome.weights)
    except RuntimeError as error:
        raise ModelError(f"the weights of {job.network}, seed {job.seed}: {error}") from error
    model.reading = dict(plan.reading)
    return model.eval()


def measure_networks(
    plan: ExperimentPlan, trained: Sequence[Trained], target: Path | None
) -> Comparison:
    """Open the test part, and measure every trained network on it."""
    task, presentation = plan.task, presentation_of(plan.task)
    entries = _entries(plan, trained)
    best = rank(entries, task.metrics[0])[0]
    chosen = best.chosen(task.metrics[0])
    training, validation = plan.parts()
    model, ensemble = _combined(plan, best, chosen, _models(trained), validation)
    distilled = None
    if plan.distil and ensemble is not None:
        model, distilled = _distilled(plan, best, model)
    return Comparison(
        data=plan.data,
        about=plan.test.about,
        licence=plan.test.licence,
        task=task,
        sizes={
            "training": presentation.part_size(training),
            "validation": presentation.part_size(validation),
            "test": presentation.part_size(plan.test),
        },
        recipe=plan.recipe,
        entries=tuple(entries),
        shown={
            **presentation.figures((distilled or ensemble or chosen).predicted, plan.test),
            **presentation.model_figures(model, plan.test),
        },
        notes=plan.notes,
        remarks=(*_remarks_on_stops(plan, trained), *plan.remarks),
        versions={
            "gatewright": version("gatewright"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        directory=target,
        model=model,
        ensemble=ensemble,
        distilled=distilled,
    )


def _combined(
    plan: ExperimentPlan,
    best: Entry,
    chosen: Trial,
    models: Mapping[tuple[str, int], Model],
    validation: Any,
) -> tuple[Model, Trial | None]:
    """The model to keep: the mean of the best network's seeds, measured, where it has several."""
    first = models[best.name, chosen.seed]
    others = [models[best.name, trial.seed] for trial in best.trials if trial is not chosen]
    if not others:
        return first, None
    task = plan.task
    model = Ensemble([first, *others]).eval()
    model.task.calibrate_mean(model, model.members, validation)
    predicted = task.predictions(run_all(model, task.batches(plan.test)), model)
    # A member may have learned from what is another's validation part: measured there, the mean
    # would look too good.
    means = {metric.name: statistics.mean(best.validation(metric)) for metric in task.metrics}
    return model, Trial(chosen.seed, means, task.score(predicted, plan.test), predicted)


def _distilled(plan: ExperimentPlan, best: Entry, teacher: Model) -> tuple[Model, Trial]:
    """The one network that the mean of the seeds has taught, measured."""
    networks = {best.name: plan.networks[best.name]}
    variant = student_of(plan.variants[0], networks)
    model, history = taught(teacher, variant, networks, plan.training, seed=0)
    task = plan.task
    predicted = task.predictions(run_all(model, task.batches(plan.test)), model)
    test = task.score(predicted, plan.test)
    return model, Trial(0, history.best, test, predicted, history, history.best_loss)


def _entries(plan: ExperimentPlan, trained: Sequence[Trained]) -> list[Entry]:
    """A row of the table for each network, with a trial for each of its trainings."""
    task = plan.task
    batches = task.batches(plan.test)
    trials: dict[str, list[Trial]] = {}
    for run in trained:
        predicted = task.predictions(run_all(run.model, batches), run.model)
        trial = Trial(
            seed=run.job.seed,
            validation=run.history.best,
            test=task.score(predicted, plan.test),
            predicted=predicted,
            history=run.history,
            loss=run.history.best_loss,
        )
        trials.setdefault(run.job.network, []).append(trial)
    models = {run.job.network: run.model for run in trained}
    return [
        Entry(
            name=name,
            title=plan.networks[name].title,
            about=plan.networks[name].about,
            parameters=count_parameters(models[name]),
            trials=tuple(of_network),
            hidden_size=models[name].hidden_size,
        )
        for name, of_network in trials.items()
    ]


def _models(trained: Sequence[Trained]) -> dict[tuple[str, int], Model]:
    """The models by network and seed."""
    return {(run.job.network, run.job.seed): run.model for run in trained}


def _remarks_on_stops(plan: ExperimentPlan, trained: Sequence[Trained]) -> list[str]:
    """The remark on trainings that were ended early, if any were."""
    planned = plan.seeds * len(plan.networks)
    reasons = [run.history.stopped for run in trained]
    if BY_HAND in reasons:
        return [CUT_SHORT]
    if len(trained) < planned:
        return [f"Ended by hand: {len(trained)} of {planned} trainings were finished."]
    over = reasons.count(TIME_OVER)
    return [f"{over} of {planned} trainings ended because their time was over."] if over else []


def _is_cut_short(plan: ExperimentPlan, trained: Sequence[Trained], comparison: Comparison) -> bool:
    """True if the user ended the trainings or the baselines, or set a limit of time."""
    by_hand = any(run.history.stopped == BY_HAND for run in trained)
    baselines = len(comparison.entries) - len(comparison.networks)
    return by_hand or baselines < len(plan.baselines) or plan.deadline is not None


def _advice(plan: ExperimentPlan, seconds: float, session: Session) -> tuple[str, ...]:
    """Sentences on what would help; none if Ctrl-C ends the measurement."""

    def histories(jobs: Sequence[TrainingJob]) -> list[History]:
        outcomes = _perform(plan, jobs, session, keep=False, what="short trainings for advice")
        return [outcome.history for outcome in outcomes]

    try:
        return advise(plan, histories, seconds)
    except KeyboardInterrupt:
        session.interrupted = True
        return ()


def write_model(comparison: Comparison, target: Path, *, is_pending: bool) -> None:
    """Write the model with its card and its results, in the place of an earlier model of this run.

    The directory counts as a model only while it has config.json, which is written last.

    Args:
        is_pending: Whether the card has to warn that baselines are still to be computed.
    """
    if is_pending:
        comparison = replace(comparison, remarks=(*comparison.remarks, PENDING))
    remove_file(target / CONFIG)
    for name, content in {**_pages(comparison), **model_files(comparison.model)}.items():
        write_file(target / name, content, overwrite=True)


def write_report(
    plan: ExperimentPlan, comparison: Comparison, trained: Sequence[Trained], target: Path
) -> None:
    """Add the report, and replace card and results by those with the baselines."""
    models = _models(trained)
    best_of_each = {
        entry.name: models[entry.name, entry.chosen(comparison.metric).seed]
        for entry in comparison.networks
    }
    page = report(comparison, best_of_each, plan.test).encode()
    # The card comes last: until then it warns that the rest is still to be computed.
    for name, content in {"report.html": page, **_pages(comparison)}.items():
        write_file(target / name, content, overwrite=True)


def _pages(comparison: Comparison) -> Mapping[str, bytes]:
    """The files next to the model; the card is the last."""
    pages = {"results.json": comparison.to_json() + "\n", "README.md": card(comparison)}
    return {name: text.encode() for name, text in pages.items()}
