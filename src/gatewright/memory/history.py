"""The loss of a model that sees only the last steps of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewright.tasks.task import Batch
from gatewright.training.model import Model

#: Numbers of steps that the loss is measured with.
HISTORIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
#: A history is enough if it loses at most this share of the improvement by full history.
MAX_LOST = 0.05


def last_loss(model: Model, z: Tensor, prepared: Any, batch: Batch, lengths: Tensor) -> Tensor:
    """The loss as a function of the network's input `z`, with gradients of the last steps only."""
    outputs, _ = model.answer(z, prepared, batch)
    if model.task.every_step:
        last = (torch.arange(len(z))[:, None] == lengths - 1)[..., None]
        outputs = torch.where(last, outputs, outputs.detach())
    return model.task.loss(outputs, batch, model)


@torch.no_grad()
def loss_of_last(
    model: Model, z: Tensor, prepared: Any, batch: Batch, lengths: Tensor, k: int
) -> float:
    """The loss at the last step of each row, if the network sees only the k last steps."""
    left = lengths.clamp(max=k)
    steps = (lengths - left) + torch.arange(int(left.max()))[:, None]  # (k, B)
    columns = torch.arange(len(lengths))
    steps = steps.clamp(max=len(z) - 1)  # padding
    outputs, _ = model.answer(z[steps, columns], prepared, replace(batch, lengths=left))
    cut = replace(batch, x=batch.x[steps, columns], lengths=left)
    if not model.task.every_step:
        return model.task.loss(outputs, cut, model).item()
    last = replace(
        cut,
        x=cut.x[:1],
        lengths=torch.ones_like(left),
        target=batch.target[lengths - 1, columns][None],
    )
    return model.task.loss(outputs[left - 1, columns][None], last, model).item()


def used(histories: Sequence[int], losses: Sequence[float]) -> int:
    """The fewest steps from which the loss keeps all but 5 % of the improvement by history."""
    full = losses[-1]
    limit = full + MAX_LOST * max(max(losses) - full, 0.0)
    fewest = histories[-1]
    for k, loss in reversed(list(zip(histories, losses, strict=True))):
        if loss > limit:
            break
        fewest = k
    return fewest
