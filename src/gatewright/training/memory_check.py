"""How far back a task's data are of use, and a warning where a network starts too short for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gatewright.layers.init import horizon_limit
from gatewright.layers.recurrent import Recurrent
from gatewright.probes.warning import memory_warning
from gatewright.tasks.task import Batch, Task
from gatewright.training.job import build_model
from gatewright.training.model import Model

if TYPE_CHECKING:
    from gatewright.training.experiment import Experiment

#: Rows of the data that are looked at.
ROWS = 500
#: A linear model needs at least so many targets; see `useful_lag`.
LEAST = 20


def evidence(model: Model, batch: Batch, z: Tensor, kept: Any) -> dict[str, Any]:
    """What `probes.useful_lag` is asked, of events as the network reads them.

    Where each window of a forecast is scaled by its own, that scaling is given, and so is what
    is known of the steps ahead: history has to bring more.

    Args:
        z, kept: What the task's `prepare` made of the encoded batch.
    """
    return {
        "x": z,
        "target": model.task.readout_target(batch, kept, model),
        "lengths": batch.lengths,
        "each": model.task.every_step,
        "given": batch.further,
        "ordered": model.task.overlap,
    }


def on_memory(plan: Experiment) -> list[str]:
    """What there is to say of the memory that the one network of a plan starts with.

    It is warned of only where each variant of the task asks for more.
    """
    started = [_started(plan, task) for task in plan.task.variants()]
    body, memory = started[0][0].body, plan.recipe.memory
    if not isinstance(body, Recurrent):
        return []
    limit = horizon_limit(body)
    said = []
    if memory is not None:
        but = "" if limit is None else f" But {limit}."
        said.append(f"The network starts for a memory of {memory} steps (gw.init.horizon_).{but}")
    if limit is not None:
        hint = "take a cell whose gate keeps its state (lstm, gru) and memory={steps}"
    elif memory is None:
        hint = "train it with memory={steps}"
    else:
        hint = "take memory={steps}, or a cell whose gate keeps its state (lstm, gru)"
    warnings = [_warning(*one, hint) for one in started]
    first = warnings[0]
    return [*said, f"warning: {first}"] if first is not None and all(warnings) else said


def _started(plan: Experiment, task: Task) -> tuple[Model, Any]:
    """The network as it starts from seed 0, and what it will learn from."""
    (name,) = plan.networks
    rest, _ = task.parts(plan.training, plan.recipe.validation, 0)
    plan = replace(plan, task=task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(task, name, plan.networks[name], plan.size_of(name), plan.recipe)
    model.fit_scaling(rest)
    return model, rest


@torch.no_grad()
def _warning(model: Model, rest: Any, hint: str) -> str | None:
    """Where the data reach farther than a network that starts so."""
    task, body = model.task, model.body
    batch = task.batches(rest).excerpt(ROWS)
    targets = batch.x.shape[1]
    if task.every_step:
        targets = batch.x[..., 0].numel() if batch.lengths is None else int(batch.lengths.sum())
    if not isinstance(body, Recurrent) or targets < LEAST:
        return None
    z, kept = task.prepare(model.encode(batch.x), batch)
    return memory_warning(body, hint=hint, **evidence(model, batch, z, kept))
