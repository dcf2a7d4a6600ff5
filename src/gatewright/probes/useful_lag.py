"""The useful lag: how far back data help a linear model, before any network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gatewright.errors import ArgumentError, SizeError

#: The largest number of samples, the folds, and ridges relative to the kernel's mean diagonal.
SAMPLES, FOLDS, RIDGES = 500, 5, (1e-3, 1e-2, 1e-1, 1.0)
#: Numbers of steps that are tried, each about 1.6 times the previous one.
HISTORIES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)


@dataclass(frozen=True, slots=True)
class UsefulLag:
    """The errors of linear models that read the last k steps.

    Attributes:
        steps: The fewest steps of history that do as well as the best number, within one
            standard error; 0 if history does not help.
        histories: The numbers of steps that were tried, k.
        errors: For each, the squared error on held-out samples relative to that without
            history.
    """

    steps: int
    histories: Sequence[int]
    errors: Sequence[float]

    def lost(self, steps: float) -> float:
        """The share of the improvement by history that is lost if only `steps` steps are seen."""
        best = min(self.errors)
        improvement = self.errors[0] - best
        if improvement <= 0.0:
            return 0.0
        # Useless history makes the linear model worse, but it could ignore it.
        reached = np.minimum.accumulate(self.errors)
        return (float(np.interp(steps, self.histories, reached)) - best) / improvement


def useful_lag(
    x: Tensor,
    target: Tensor,
    lengths: Tensor | None = None,
    *,
    each: bool = False,
    known: Tensor | None = None,
    ordered: bool = False,
    longest: int | None = None,
    seed: int = 0,
) -> UsefulLag:
    """Find how many steps back data help a linear model to predict their target.

    Cross-validated ridge regression on the last k steps for k = 0, 1, 2, 3, 5, ...; the result
    is the smallest k within one standard error of the best (Breiman et al. 1984, section
    3.4.3). It misses history that only a nonlinear model can use, such as a parity.

    >>> x = torch.randn(200, 4, 1)
    >>> useful_lag(x[10:], x[:-10].squeeze(-1)[..., None], each=True).steps  # x of 10 steps ago
    13

    Args:
        x: The events, `(T, B, I)`, padded at the end.
        target: Classes, int64, or numbers to predict: `(B, ...)` at the last step of each
            row, or `(T, B, ...)` at every step.
        lengths: `(B,)`; T by default.
        each: There is a target at every step.
        known: Numbers that are known of each target in addition to the events, `(B, ...)`, if
            there is one target for each row, such as the calendar of the step to forecast.
            History has to improve on them.
        ordered: Rows follow each other in time and may overlap, like the windows of a
            series; neighbours are then held out together.
        longest: The longest history to try; by default that of the longest row.
        seed: The seed for choosing 500 samples if there are more.

    Raises:
        SizeError, ArgumentError: naming what was given and what was expected.
    """
    if x.dim() != 3:
        raise SizeError(f"x has shape {tuple(x.shape)}; expected (time, batch, channels)")
    lengths = torch.full((x.shape[1],), len(x)) if lengths is None else lengths
    lead = tuple(x.shape[:2]) if each else (x.shape[1],)
    if tuple(target.shape[: len(lead)]) != lead:
        raise SizeError(f"target has shape {tuple(target.shape)}; expected {(*lead, '...')}")
    rows, ends = _samples(lengths, each, seed)
    if known is not None and (each or len(known) != x.shape[1]):
        raise SizeError(
            f"known has shape {tuple(known.shape)}; expected {x.shape[1]} rows, one for each target"
        )
    if len(rows) < 4 * FOLDS:
        raise ArgumentError(f"there are {len(rows)} targets; at least {4 * FOLDS} are needed")
    y = _numbers(target[ends, rows] if each else target[rows])
    inside = _standardised(x.double(), lengths)
    end = int(lengths.max()) if longest is None else min(longest, int(lengths.max()))
    histories = [k for k in HISTORIES if k < end] + [end]
    # Neighbours in time are in one fold, so that no sample is predicted from its neighbour.
    index = torch.arange(len(rows))
    folds = index * FOLDS // len(rows) if each or ordered else index % FOLDS
    kernel = x.new_zeros(len(rows), len(rows), dtype=torch.float64)
    if known is not None:
        columns = _columns(known[rows])
        kernel += columns @ columns.T
    # The kernel of k steps is the sum of the kernels of single lags, so each lag is added once.
    errors, lag = [], 0
    for k in histories:
        while lag < k:
            step = ends - lag
            seen = torch.where((step >= 0)[:, None], inside[step.clamp(min=0), rows], 0.0)
            kernel += seen @ seen.T
            lag += 1
        errors.append(_held_out(kernel, y, folds))
    best = min(range(len(histories)), key=lambda index: float(errors[index].mean()))
    enough = next(index for index in range(len(histories)) if _as_good(errors[index], errors[best]))
    without = errors[0].mean()
    return UsefulLag(
        histories[enough], histories, [float(error.mean() / without) for error in errors]
    )


def _samples(lengths: Tensor, each: bool, seed: int) -> tuple[Tensor, Tensor]:
    """The rows and the steps of at most `SAMPLES` samples, in order of row and step."""
    if each:
        inside = torch.arange(int(lengths.max())) < lengths[:, None]
        rows, ends = inside.nonzero(as_tuple=True)
    else:
        rows = (lengths > 0).nonzero().flatten()
        ends = lengths[rows] - 1
    if len(rows) > SAMPLES:
        draw = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(rows), generator=draw)[:SAMPLES].sort().values
        rows, ends = rows[chosen], ends[chosen]
    return rows, ends


def _numbers(target: Tensor) -> Tensor:
    """Targets as columns: classes as centred one-hot vectors, numbers with mean 0, deviation 1."""
    if target.is_floating_point():
        return _columns(target)
    y = torch.nn.functional.one_hot(target - target.min()).double()
    return (y - y.mean(0)).flatten(1)


def _columns(values: Tensor) -> Tensor:
    """`(N, ...)` as `(N, columns)`, each column with mean 0 and deviation 1."""
    y = values.flatten(1).double() if values.dim() > 1 else values[:, None].double()
    y = y - y.mean(0)
    deviation = y.std(0)
    return torch.where(deviation > 0, y / deviation, 0.0)


def _standardised(x: Tensor, lengths: Tensor) -> Tensor:
    """Each channel with mean 0 and deviation 1 over the steps of the rows, and 0 in the padding."""
    inside = (torch.arange(len(x))[:, None] < lengths)[..., None]
    values = x[inside.squeeze(-1)]
    scaled = (x - values.mean(0)) / values.std(0).clamp(min=1e-12)
    return torch.where(inside, scaled, 0.0)


def _held_out(kernel: Tensor, y: Tensor, folds: Tensor) -> Tensor:
    """The squared error of each sample, `(N,)`, if its fold is held out, for the best ridge."""
    scale = kernel.diagonal().mean()
    if scale == 0:
        ridges: Sequence[float] = (1.0,)
    else:
        ridges = [ridge * float(scale) for ridge in RIDGES]
    errors = y.new_zeros(len(ridges), len(y))
    for fold in range(FOLDS):
        held, rest = folds == fold, folds != fold
        mean = y[rest].mean(0)
        own = kernel[rest][:, rest]
        for index, ridge in enumerate(ridges):
            eye = torch.eye(len(own), dtype=own.dtype)
            factor = torch.linalg.cholesky(own + ridge * eye)
            weights = torch.cholesky_solve(y[rest] - mean, factor)
            predicted = kernel[held][:, rest] @ weights + mean
            errors[index, held] = (predicted - y[held]).square().sum(1)
    return errors[errors.mean(1).argmin()]


def _as_good(errors: Tensor, best: Tensor) -> bool:
    """Tell if the mean error is within one standard error of the best mean error."""
    worse = errors - best
    return bool(worse.mean() <= worse.std() / len(worse) ** 0.5)
