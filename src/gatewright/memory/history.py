"""The loss of a model that sees only the last steps of its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewright.tasks.task import Batch
from gatewright.training.model import Model

#: Steps of history that the loss is measured with.
HISTORIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
#: A history is enough if no more than this share of what history brings is lost.
LOST = 0.05


def last_loss(model: Model, z: Tensor, kept: Any, batch: Batch, lengths: Tensor) -> Tensor:
    """The loss of what the network reads; with gradients from each row's last step alone."""
    outputs, _ = model.answer(z, kept, batch)
    if model.task.every_step:
        last = (torch.arange(len(z))[:, None] == lengths - 1)[..., None]
        outputs = torch.where(last, outputs, outputs.detach())
    return model.task.loss(outputs, batch, model)


@torch.no_grad()
def loss_of_last(
    model: Model, z: Tensor, kept: Any, batch: Batch, lengths: Tensor, k: int
) -> float:
    """The loss at each row's last step when it has seen k steps, from a fresh start."""
    left = lengths.clamp(max=k)
    at = (lengths - left) + torch.arange(int(left.max()))[:, None]  # (k, B)
    columns = torch.arange(len(lengths))
    at = at.clamp(max=len(z) - 1)
    cut = replace(batch, x=batch.x[at, columns], lengths=left)
    outputs, _ = model.answer(z[at, columns], kept, cut)
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
    """The fewest steps from which on the loss stays within 5 % of what history brings."""
    full = losses[-1]
    limit = full + LOST * max(max(losses) - full, 0.0)
    fewest = histories[-1]
    for k, loss in reversed(list(zip(histories, losses, strict=True))):
        if loss > limit:
            break
        fewest = k
    return fewest
