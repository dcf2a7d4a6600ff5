"""How far back data are of use, before any network has learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gatewright.errors import ArgumentError, SizeError

#: Samples that are looked at, folds, and ridges beside the mean of the kernel's diagonal.
SAMPLES, FOLDS, RIDGES = 500, 5, (1e-3, 1e-2, 1e-1, 1.0)
#: Steps of history that are tried: each about 1.6 times the one before.
HISTORIES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)


@dataclass(frozen=True, slots=True)
class UsefulLag:
    """What a linear model of the last k steps makes of the targets.

    Attributes:
        steps: The fewest steps of history that do as well as the best number of them, within
            one standard error; 0 where no history is of use.
        histories: The numbers of steps that were tried, k.
        errors: Of each, the squared error on held-out samples, beside that without history.
    """

    steps: int
    histories: Sequence[int]
    errors: Sequence[float]

    def lost(self, steps: float) -> float:
        """The share of what history brings that is lost where only so many steps are seen."""
        best = min(self.errors)
        brings = self.errors[0] - best
        if brings <= 0.0:
            return 0.0
        # More history than is of use only costs the linear model, which nobody has to use.
        reached = np.minimum.accumulate(self.errors)
        return (float(np.interp(steps, self.histories, reached)) - best) / brings


def useful_lag(
    x: Tensor,
    target: Tensor,
    lengths: Tensor | None = None,
    *,
    each: bool = False,
    given: Tensor | None = None,
    ordered: bool = False,
    most: int | None = None,
    seed: int = 0,
) -> UsefulLag:
    """How many steps back data help to predict their target, as far as a linear model can tell.

    Ridge regression on the last k steps, cross-validated, for k = 0, 1, 2, 3, 5, ...; the
    smallest k within one standard error of the best (Breiman et al. 1984, section 3.4.3).
    What only a nonlinear model could use, such as the parity of what was seen, it misses.

    >>> x = torch.randn(200, 4, 1)
    >>> useful_lag(x[10:], x[:-10].squeeze(-1)[..., None], each=True).steps  # x of 10 steps ago
    13

    Args:
        x: The events, `(T, B, I)`, padded at the end.
        target: What is to be predicted: classes, int64, or numbers; `(B, ...)` at the last
            step of each row, or `(T, B, ...)` at every step.
        lengths: `(B,)`; T unless given.
        each: Whether there is a target at every step.
        given: What is known of each target beside the events, `(B, ...)`, where there is one a
            row: the calendar of a step to forecast, say. History has to bring more than that.
        ordered: Whether rows follow each other in time and may overlap, as the windows of a
            series do: neighbours are then held out together.
        most: The longest history tried; the longest row unless given.
        seed: Of which samples are looked at, where there are more than 500.

    Raises:
        SizeError, ArgumentError: naming what was given and expected.
    """
    if x.dim() != 3:
        raise SizeError(f"x has shape {tuple(x.shape)}; expected (time, batch, channels)")
    lengths = torch.full((x.shape[1],), len(x)) if lengths is None else lengths
    lead = tuple(x.shape[:2]) if each else (x.shape[1],)
    if tuple(target.shape[: len(lead)]) != lead:
        raise SizeError(f"target has shape {tuple(target.shape)}; expected {(*lead, '...')}")
    rows, ends = _samples(lengths, each, seed)
    if given is not None and (each or len(given) != x.shape[1]):
        raise SizeError(
            f"given has shape {tuple(given.shape)}; expected {x.shape[1]} rows, one of each target"
        )
    if len(rows) < 4 * FOLDS:
        raise ArgumentError(f"there are {len(rows)} targets; at least {4 * FOLDS} are needed")
    y = _numbers(target[ends, rows] if each else target[rows])
    inside = _standardised(x.double(), lengths)
    longest = int(lengths.max()) if most is None else min(most, int(lengths.max()))
    histories = [k for k in HISTORIES if k < longest] + [longest]
    # Neighbours in time are in one fold, so that none is predicted from the other.
    at = torch.arange(len(rows))
    folds = at * FOLDS // len(rows) if each or ordered else at % FOLDS
    kernel = x.new_zeros(len(rows), len(rows), dtype=torch.float64)
    if given is not None:
        known = _columns(given[rows])
        kernel += known @ known.T
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
    plain = errors[0].mean()
    return UsefulLag(histories[enough], histories, [float(one.mean() / plain) for one in errors])


def _samples(lengths: Tensor, each: bool, seed: int) -> tuple[Tensor, Tensor]:
    """The row and the step of each sample, at most `SAMPLES`, in order of row and step."""
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
    """Classes as one-hot vectors, each as rare as it is; numbers with mean 0, deviation 1."""
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
    """Each channel with mean 0 and deviation 1 over the steps that are there, 0 elsewhere."""
    inside = (torch.arange(len(x))[:, None] < lengths)[..., None]
    values = x[inside.squeeze(-1)]
    scaled = (x - values.mean(0)) / values.std(0).clamp(min=1e-12)
    return torch.where(inside, scaled, 0.0)


def _held_out(kernel: Tensor, y: Tensor, folds: Tensor) -> Tensor:
    """The squared error of each sample, `(N,)`, when its fold is held out; the best ridge's."""
    scale = kernel.diagonal().mean()
    if scale == 0:
        ridges: Sequence[float] = (1.0,)
    else:
        ridges = [ridge * float(scale) for ridge in RIDGES]
    found = y.new_zeros(len(ridges), len(y))
    for fold in range(FOLDS):
        held, rest = folds == fold, folds != fold
        mean = y[rest].mean(0)
        own = kernel[rest][:, rest]
        for index, ridge in enumerate(ridges):
            eye = torch.eye(len(own), dtype=own.dtype)
            factor = torch.linalg.cholesky(own + ridge * eye)
            weights = torch.cholesky_solve(y[rest] - mean, factor)
            predicted = kernel[held][:, rest] @ weights + mean
            found[index, held] = (predicted - y[held]).square().sum(1)
    return found[found.mean(1).argmin()]


def _as_good(one: Tensor, best: Tensor) -> bool:
    """Whether the mean error is within one standard error of the best one's."""
    worse = one - best
    return bool(worse.mean() <= worse.std() / len(worse) ** 0.5)
