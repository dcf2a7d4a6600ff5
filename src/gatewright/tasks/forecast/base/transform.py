"""Transforms of a target before everything else, chosen on validation: logarithm or root.

Both are increasing, so that a quantile of the transformed values is the transform of the quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Transform = Literal["none", "log", "root"]

#: A logarithm is taken of values from this share of the smallest training value on; smaller ones,
#: which training did not have, count as that.
LOWEST_SHARE = 0.1


def possible(lowest: float) -> tuple[Transform, ...]:
    """Return the transforms that suit a target whose smallest training value is `lowest`.

    >>> possible(0.3), possible(0.0), possible(-2.0)
    (('none', 'log'), ('none', 'root'), ('none',))
    """
    if lowest > 0.0:
        return ("none", "log")
    return ("none", "root") if lowest == 0.0 else ("none",)


def forward(values: Tensor, transform: Transform, lowest: float) -> Tensor:
    """Return transformed values of one target."""
    if transform == "log":
        return values.clamp(min=LOWEST_SHARE * lowest).log()
    return values.clamp(min=0.0).sqrt() if transform == "root" else values


def backward(values: Tensor, transform: Transform) -> Tensor:
    """Return values in the units of the data again."""
    if transform == "log":
        # Beyond this the power is infinite, and an error against it would be no number.
        return values.clamp(max=700.0 if values.dtype == torch.float64 else 88.0).exp()
    return values.clamp(min=0.0).square() if transform == "root" else values


def backward_array(values: NDArray[np.float64], transform: Transform) -> NDArray[np.float64]:
    """Return the same for an array."""
    restored: NDArray[np.float64] = backward(torch.from_numpy(values), transform).numpy()
    return restored


def transformed(
    values: Tensor, positions: Sequence[int], transforms: Sequence[Transform], low: Sequence[float]
) -> Tensor:
    """Return values (..., I) with the targets at `positions` transformed.

    Args:
        low: The smallest training value of each channel, (I,).
    """
    if all(transform == "none" for transform in transforms):
        return values
    values = values.clone()
    for position, transform in zip(positions, transforms, strict=True):
        values[..., position] = forward(values[..., position], transform, low[position])
    return values


def transformed_array(
    values: NDArray[np.float64],
    positions: Sequence[int],
    transforms: Sequence[Transform],
    low: Sequence[float],
) -> NDArray[np.float64]:
    """Return the same for an array."""
    if all(transform == "none" for transform in transforms):
        return values
    array: NDArray[np.float64] = transformed(
        torch.tensor(values), positions, transforms, low
    ).numpy()
    return array
