"""From data to a model that can be used: `train` one network, or `compare` several."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from gatewright.designs.design import Design
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.training.config import with_config
from gatewright.training.distil import check_distillable
from gatewright.training.estimate import estimate_time, fit_into, within_budget
from gatewright.training.experiment import run_experiment
from gatewright.training.logs import LOGS, check_kinds, open_logs
from gatewright.training.memory_check import memory_remarks
from gatewright.training.networks import DEFAULT_CELL
from gatewright.training.plan import ExperimentPlan, check_counts, make_plan
from gatewright.training.ranks.jobs import current_leader
from gatewright.training.record import DEFAULTS, RunRecord, resumed_arguments
from gatewright.training.results import Comparison
from gatewright.training.run import check_no_run, open_run, read_record
from gatewright.training.session import Session, seconds_of

#: The settings of a training that are no options of reading, but for its cell.
PLANNED = (
    "budget",
    "seeds",
    "epochs",
    "design",
    "streaming",
    "hidden_size",
    "memory",
    "distil",
    "chunk",
    "recompute",
    "device",
    "precision",
    "recipe",
)


def train(
    data: Any,
    *,
    cell: str | Cell | type[Cell] | None = None,
    out: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    budget: str | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    design: Design | str | None = None,
    streaming: bool = False,
    hidden_size: int | None = None,
    memory: int | None = None,
    distil: bool = False,
    chunk: int | None = None,
    recompute: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    time_limit: str | float | None = None,
    log: str | Sequence[str] = (),
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **reading: Any,
) -> Comparison:
    """Train one network and a few quick baselines, and keep the best model of all seeds.

    >>> trained = train("weather", cell="gru", out="runs/weather")    # doctest: +SKIP
    >>> trained.model.predict(new_series)                             # doctest: +SKIP

    Ctrl-C ends the training early and keeps the best model so far; a second Ctrl-C stops
    everything. With `out`, checkpoints are written as it goes, and `resume=True` goes on from them
    after any end, to the same result to the bit; see docs/resume.md.

    Args:
        data: A file, a dataframe, the name of a bundled data set, or the result of `read`.
        cell: A name from `NETWORKS` or `gatewright.CELLS`, a cell, or "file.py:MyCell"; by default
            "gru".
        out: New directory for config.json, model.safetensors, README.md and results.json. It
            is a model right after the training, when config.json appears; until the end it also
            holds the checkpoints. The baselines and report.html are added when they are done.
        config: A file, JSON or TOML, with any of the arguments below and a table `recipe`, such as
            `gw.tune` writes; or a mapping with the same keys. Arguments that are passed win.
        budget: "quick", "normal" (the default) or "thorough": how many designs are tried, in how
            many short trainings, and how many networks are trained; see `variants.BUDGETS`.
        seeds: Number of trainings; by default those of the budget, if they fit into its minutes.
        epochs: Passes over the data; by default those of the task's recipe.
        design: The shape of the network, a `Design` or its name; by default it is chosen on
            validation.
        streaming: Whether the network has to answer step by step: no design that needs the whole
            sequence, such as both directions, is tried.
        hidden_size: Units of the network; by default from the recipe's number of parameters.
        memory: Steps that the network starts with as its memory, by `gw.init.horizon_`; by
            default its cell's own start. A warning goes to `say` where the data need more.
        distil: Whether the mean of the seeds teaches one network, which is the model then: smaller
            and faster than the mean, and a little less accurate.
        chunk: Steps that gradients reach back. Texts and tagged sequences are read in chunks of
            so many steps, with the states carried on; by default tagged sequences are read so
            where they are long. Where there is one answer for a sequence or a window, the steps
            before the last `chunk` only set the states; see docs/long-sequences.md.
        recompute: Steps between the states that a training step keeps for its backward pass, which
            computes the other values again: little memory for long sequences, with the same
            gradients. True is the square root of the steps; see docs/recompute.md.
        device: "cpu", "cuda", "cuda:1" or "mps"; "auto", the default, is a GPU where there is one,
            and torch has fused functions for the cell or our kernels are proven there.
        precision: "float32" (the default), or "bfloat16" or "float16" for the products while
            learning; the weights stay in float32.
        resume: Go on with the run in `out`, which has to be of the same data and settings; a new
            run is begun where there is none. Without `out`, `data` is the directory of the run.
        checkpoint_every: Steps after which a training writes a checkpoint, in addition to those
            after its epochs.
        time_limit: Minutes, or a text such as "2h", after which the run is suspended.
        log: Where to log every epoch: "csv", "jsonl" and "tensorboard" in `out/logs`, "stdout".
        progress: Show a progress bar on the error stream.
        say: Called with each line about how the data were read.
        **reading: How to read the data and for which task: see `gatewright.data.read`. For a
            forecast also `horizon` and `window`, in steps.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError: if a loss is no longer finite, or a checkpoint cannot be written.
        ModelError: if a checkpoint is damaged.
        Suspended: at the time limit.
        AlreadyFinished: if the run that was to be resumed is finished.
    """

    settings = with_config(
        config,
        {
            "cell": cell,
            "budget": budget,
            "seeds": seeds,
            "epochs": epochs,
            "design": design,
            "streaming": streaming,
            "hidden_size": hidden_size,
            "memory": memory,
            "distil": distil,
            "chunk": chunk,
            "recompute": recompute,
            "device": device,
            "precision": precision,
            "recipe": None,
            **reading,
        },
    )
    own = {name: settings.pop(name) for name in PLANNED}

    def prepare(plan: ExperimentPlan) -> ExperimentPlan:
        # Without the slow baselines, before anything is timed. Those that cannot run here are
        # slow ones: they are no loss, so there is no remark on them.
        quick = [baseline for baseline in plan.baselines if baseline.seconds is None]
        plan = replace(plan, baselines=quick, remarks=())
        plan, estimate = within_budget(plan, fixed_seeds=own["seeds"] is not None)
        say(f"time: {estimate.sentence()}")
        if plan.distil:
            check_distillable(plan)
        remarks = memory_remarks(plan)
        for line in remarks:
            say(line)
        return replace(plan, notes=(*plan.notes, *remarks))

    return _perform(
        "train",
        data,
        prepare,
        Circumstances(out, resume, checkpoint_every, time_limit, log, progress, say),
        cells=[settings.pop("cell") or DEFAULT_CELL],
        **{name: DEFAULTS["train"].get(name) if v is None else v for name, v in own.items()},
        reading=settings,
    )


def compare(
    data: Any = "vowels",
    *,
    out: str | os.PathLike[str] | None = None,
    cells: Sequence[str | Cell | type[Cell]] | None = None,
    budget: str = "normal",
    seeds: int = 5,
    epochs: int | None = None,
    design: Design | str | None = None,
    streaming: bool = False,
    parameters: int | None = None,
    hidden_size: int | None = None,
    memory: int | None = None,
    chunk: int | None = None,
    recompute: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    precision: str = "float32",
    resume: bool = False,
    checkpoint_every: int | None = None,
    time_limit: str | float | None = None,
    log: str | Sequence[str] = (),
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **reading: Any,
) -> Comparison:
    """Train networks side by side on one data set, together with simple baselines.

    >>> comparison = compare("vowels", out="runs/vowels")    # doctest: +SKIP
    >>> rich.print(comparison.table())                       # doctest: +SKIP

    Every network gets the same data, seeds and batches, and as nearly as possible the same
    number of parameters. The weights to keep, the best network and the best model are chosen on
    a validation part of the training part. The test part is opened once, after all of that.
    Baselines learn from training and validation part together.

    An estimate of the time goes to `say` first. Ctrl-C keeps the trainings that are finished and
    compares those; a second Ctrl-C stops everything.

    Args:
        data: A file, a dataframe, or the name of a bundled data set.
        out: New directory for config.json, model.safetensors (the best model), README.md and
            results.json. It is a model right after the training, when config.json appears; until
            the end it also holds the checkpoints. The baselines and report.html are added when
            they are done.
        cells: Names from `NETWORKS` or `gatewright.CELLS`, cells, or "file.py:MyCell"; by default
            all of `NETWORKS`, and for classes of sequences "untrained" too.
        budget: "quick", "normal" or "thorough": whether designs are tried, and in how many short
            trainings; see `variants.BUDGETS`.
        seeds: Number of trainings of each network, with the seeds 0, 1, ...
        epochs: Passes over the data; by default those of the task's recipe.
        design: The shape of every network but the window, a `Design` or its name; by default it
            is chosen on validation.
        streaming: As in `train`.
        parameters: Parameters of each network; by default those of the task's recipe.
        hidden_size: Units of each network, instead of parameters.
        memory: Steps that each recurrent network starts with as its memory, by
            `gw.init.horizon_`.
        chunk, recompute: As in `train`.
        minutes: Time limit: fewer seeds, then fewer epochs, and no slow baselines that do not fit.
        device, precision: As in `train`.
        resume, checkpoint_every, time_limit, log: As in `train`.
        progress: Show a progress bar on the error stream.
        say: Called with each line about how the data were read.
        **reading: How to read the data and for which task: see `gatewright.data.read`. For a
            forecast also `horizon` and `window`, in steps.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError, ModelError, Suspended, AlreadyFinished: as in `train`.
    """
    began = time.monotonic()

    def prepare(plan: ExperimentPlan) -> ExperimentPlan:
        if minutes is None:
            say(f"time: {estimate_time(plan).sentence()}; give minutes= for a smaller comparison")
            return plan
        smaller, estimate = fit_into(plan, minutes, began)
        say(f"time: {estimate.sentence()}")
        return smaller

    return _perform(
        "compare",
        data,
        prepare,
        Circumstances(out, resume, checkpoint_every, time_limit, log, progress, say),
        cells=cells,
        minutes=minutes,
        seeds=seeds,
        epochs=epochs,
        budget=budget,
        design=design,
        streaming=streaming,
        parameters=parameters,
        hidden_size=hidden_size,
        memory=memory,
        chunk=chunk,
        recompute=recompute,
        device=device,
        precision=precision,
        reading=reading,
    )


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The arguments of `train` and `compare` that do not change the result."""

    out: str | os.PathLike[str] | None
    resume: bool
    checkpoint_every: int | None
    time_limit: str | float | None
    log: str | Sequence[str]
    progress: bool
    say: Callable[[str], None]

    def check(self) -> None:
        """Refuse a checkpoint or a log without a directory for it.

        Raises:
            ArgumentError: then.
        """
        check_counts(checkpoint_every=self.checkpoint_every)
        needs = {"checkpoint_every": self.checkpoint_every, "time_limit": self.time_limit}
        for name, value in needs.items():
            if value is not None and self.out is None and not self.resume:
                raise ArgumentError(f"{name} is {value}; give out= too, for the checkpoints")
        in_files = [kind for kind in check_kinds(self.log) if kind != "stdout"]
        if in_files and self.out is None and not self.resume:
            raise ArgumentError(f"log is {', '.join(in_files)}; give out= too, for the files")


def _perform(
    command: str,
    data: Any,
    prepare: Callable[[ExperimentPlan], ExperimentPlan],
    around: Circumstances,
    **settings: Any,
) -> Comparison:
    """Begin a run, or resume one: make the plan from `settings`, decide the rest, perform it."""
    began = time.monotonic()
    around.check()
    limit = None if around.time_limit is None else began + seconds_of(around.time_limit)
    target, record, out = None, None, around.out
    if around.resume:
        target, record = read_record(data if out is None else out)
        if out is None:
            data, settings = resumed_arguments(target, record, command, settings)
        elif record is None:
            target = check_no_run(out)
            around.say(f"nothing to resume in {os.fspath(out)}: a new run begins there")
    elif out is not None:
        target = check_no_run(out)
    plan_settings = {k: v for k, v in settings.items() if k not in ("minutes", "distil")}
    plan = make_plan(data, say=around.say, **plan_settings)
    plan = replace(plan, distil=settings.get("distil", False))
    if plan.recipe.chunk is not None and current_leader() is not None:
        raise ArgumentError(
            f"chunk is {plan.recipe.chunk}, and the processes of torchrun share batches of whole "
            "sequences, which they cannot do in chunks: leave chunk out (recompute bounds the "
            "memory too), or train in one process"
        )
    plan = prepare(plan) if record is None else record.decisions.applied(plan)
    with ExitStack() as stack:
        run = None
        if target is not None:
            now = RunRecord.of(command, data, settings, plan)
            run = stack.enter_context(open_run(target, record, now, around.checkpoint_every))
            if record is not None:
                around.say(f"resuming the run in {target}")
                if record.data != now.data:
                    around.say(f"note: the data are now {now.data}, as they were in {record.data}")
        logs = stack.enter_context(open_logs(around.log, None if target is None else target / LOGS))
        session = Session(around.progress, run, logs, limit)
        comparison = run_experiment(plan, session)
        if run is not None and session.interrupted:
            line = f"The best models so far are kept. {run.how_to_resume()}"
            comparison = replace(comparison, to_resume=line)
        return comparison
