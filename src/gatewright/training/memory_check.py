"""The warning to a network that starts with less memory than its data are worth remembering."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewright.layers.init import horizon_limit
from gatewright.probes.warning import memory_warning
from gatewright.tasks.task import Batch
from gatewright.training.model import Model
from gatewright.training.plan import ExperimentPlan

#: Rows of the data that are probed.
MAX_ROWS = 500
#: Fewest targets that `useful_lag` can fit its linear model to.
MIN_TARGETS = 20


def evidence(model: Model, batch: Batch, z: Tensor, context: Any) -> dict[str, Any]:
    """Arguments for `probes.useful_lag`, from events as the network reads them.

    Where each window of a forecast is scaled by its own values, that scaling is given, and so
    are the known values of the steps ahead: history counts only for what it adds to these.

    Args:
        z, context: What the task's `prepare` made of the encoded batch.
    """
    return {
        "x": z,
        "target": model.task.readout_target(batch, context, model),
        "lengths": batch.lengths,
        "each": model.task.every_step,
        "known": batch.further,
        "ordered": model.task.overlap,
    }


def memory_remarks(plan: ExperimentPlan) -> list[str]:
    """Lines on the memory that the only network of a plan starts with.

    There is a warning only if every formulation of the task would need more, and only of networks
    whose memory carries all that matters to the last step.
    """
    (name,) = plan.networks
    variants = [replace(plan, variants=[variant]) for variant in plan.variants]
    models = [variant.untrained(name) for variant in variants]
    layers, memory = models[0].recurrent, plan.recipe.memory
    if layers is None:
        return []
    limit = horizon_limit(layers)
    lines = []
    if memory is not None:
        but = "" if limit is None else f" But {limit}."
        lines.append(f"The network starts for a memory of {memory} steps (gw.init.horizon_).{but}")
    if limit is not None:
        hint = "take a cell whose gate keeps its state (lstm, gru) and memory={steps}"
    elif memory is None:
        hint = "train it with memory={steps}"
    else:
        hint = "take memory={steps}, or a cell whose gate keeps its state (lstm, gru)"
    warnings = [
        _warning(model, variant.parts()[0], hint)
        for model, variant in zip(models, variants, strict=True)
        if model.streamed is not None
    ]
    if warnings and warnings[0] is not None and all(warnings):
        lines.append(f"warning: {warnings[0]}")
    return lines


@torch.no_grad()
def _warning(model: Model, training: Any, hint: str) -> str | None:
    """The warning if the data reach farther back than the untrained network, or None."""
    task, layers = model.task, model.streamed
    batch = task.batches(training).excerpt(MAX_ROWS)
    targets = batch.x.shape[1]
    if task.every_step:
        targets = batch.x[..., 0].numel() if batch.lengths is None else int(batch.lengths.sum())
    if layers is None or targets < MIN_TARGETS:
        return None
    z, context = task.prepare(model.encode(batch.x), batch)
    return memory_warning(layers, hint=hint, **evidence(model, batch, z, context))
