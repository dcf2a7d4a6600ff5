"""How far back a task's data are of use, and a warning where a network starts too short for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.probes.warning import memory_warning
from gatewright.training.model import Model
from gatewright.training.run import build_model
from gatewright.training.tasks.task import Batch, Task

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
        "target": model.task.aim(batch, kept, model),
        "lengths": batch.lengths,
        "each": model.task.every_step,
        "given": batch.further,
        "ordered": model.task.overlap,
    }


def on_memory(plan: Experiment) -> list[str]:
    """What there is to say of the memory that the one network of a plan starts with.

    It is warned of only where each variant of the task asks for more.
    """
    said = []
    memory = plan.recipe.memory
    if memory is None:
        mend = "train it with --memory {steps} (in Python memory={steps})"
    else:
        said.append(f"The network starts for a memory of {memory} steps (gw.init.horizon_).")
        mend = "take --memory {steps}, or a cell whose gate keeps its state (lstm, gru)"
    warnings = [_warning(plan, task, mend) for task in plan.task.variants()]
    first = warnings[0]
    return [*said, f"warning: {first}"] if first is not None and all(warnings) else said


def _warning(plan: Experiment, task: Task, mend: str) -> str | None:
    """Of the network as it starts from seed 0, on what it will learn from."""
    (name,) = plan.networks
    rest, _ = task.parts(plan.training, plan.recipe.validation, 0)
    batch = task.batches(rest).spread(ROWS)
    targets = batch.x.shape[1]
    if task.every_step:
        targets = batch.x[..., 0].numel() if batch.lengths is None else int(batch.lengths.sum())
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        plan = replace(plan, task=task)
        model = build_model(task, name, plan.networks[name], plan.size_of(name), plan.recipe)
        model.fit_scaling(rest)
        if not isinstance(model.body, Recurrent) or targets < LEAST:
            return None
        z, kept = task.prepare(model.encode(batch.x), batch)
    return memory_warning(model.body, mend=mend, **evidence(model, batch, z, kept))
