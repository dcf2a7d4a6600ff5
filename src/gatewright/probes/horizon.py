"""The gradient horizon: how much of the state is left of what it was k steps ago."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.layers.recurrent import Recurrent
from gatewright.probes.lags import steps_until
from gatewright.probes.steps import Steps


@dataclass(frozen=True, slots=True)
class Path:
    """Norms over lags 0 to K of the gradient with respect to one state.

    Attributes:
        total: By every path, `(K + 1,)`; 1 at lag 0.
        carried: By the additive path alone: the state times its factor (the forget gate's,
            say) at each step.
        gates: By all others: the norm of the difference.
        units: The total of each unit of the state, `(K + 1, size)`.
    """

    total: Tensor
    carried: Tensor
    gates: Tensor
    units: Tensor

    def carried_share(self, lag: int) -> float:
        """How much of what is left at a lag came by the additive path, 0 to 1."""
        carried, gates = self.carried[lag].item(), self.gates[lag].item()
        return carried / (carried + gates) if carried + gates else math.nan


@dataclass(frozen=True, slots=True)
class GradientHorizon:
    """How far back a layer's state depends on its past.

    Attributes:
        state: The norm of dS_t / dS_{t-k} for k = 0 to K, S being all states together,
            divided by the root of their number, so that it starts at 1: `(K + 1,)`.
        each: The same for each end step and row, `(K + 1, E, B)`; `state` is its mean.
        paths: For each state by its name: how much comes from it, and by which path.
        inputs: The norm of dS_t / dx_{t-k} for each input channel, `(K + 1, I)`.
        exact: Whether all units were followed; else random directions estimate the norms.
    """

    state: Tensor
    each: Tensor
    paths: Mapping[str, Path]
    inputs: Tensor
    exact: bool

    @property
    def lags(self) -> int:
        """The longest lag that was measured, K."""
        return len(self.state) - 1

    @property
    def half_life(self) -> float:
        """Steps until half is left; infinite if more is left at the longest lag."""
        return steps_until(self.state.tolist(), 0.5)

    @property
    def horizon(self) -> float:
        """Steps until 1 % is left; infinite if more is left at the longest lag."""
        return steps_until(self.state.tolist(), 0.01)


@torch.enable_grad()  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def gradient_horizon(
    layer: Recurrent,
    x: Tensor,
    *,
    lags: int | None = None,
    ends: int = 4,
    place: int = 0,
    directions: int = 64,
    hold: Mapping[str, Any] | None = None,
    seed: int = 0,
    **inputs: Any,
) -> GradientHorizon:
    """How much of the state of k steps ago is left in the state now, and by which path.

    The chain of the steps' Jacobians along a real run: the quantity whose vanishing or
    exploding Bengio, Simard and Frasconi 1994 and Pascanu, Mikolov and Bengio 2013 describe.
    The additive path follows from the cell's own graph (`Steps.step`).

    >>> import torch, gatewright as gw
    >>> layer = gw.LSTM(3, 8)
    >>> found = gw.probes.gradient_horizon(layer, torch.randn(40, 2, 3))
    >>> found.state.shape, found.half_life < 3
    (torch.Size([21]), True)

    Args:
        x: Sequences in the layer's form, all of one length.
        lags: The longest lag K; half the length unless given.
        ends: From how many steps to look back: the last one, and others spread down to step K.
        place: Which layer and direction, an index into `layer.places`.
        directions: Up to how many units are followed exactly; a larger state is estimated
            from this many random directions.
        hold: Named values to fix, as in `layer.trace`.
        inputs: The layer's further arguments: `hx`, `starts`, and inputs of the cell.

    Raises:
        ArgumentError: if the sequences are too short for the lags.
    """
    steps = Steps(layer, x, place=place, hold=hold, **inputs)
    lags = steps.length // 2 if lags is None else lags
    if not 1 <= lags <= steps.length - 1 or ends < 1:
        raise ArgumentError(
            f"lags={lags}, ends={ends}; sequences of {steps.length} steps allow lags from 1 to "
            f"{steps.length - 1}, and ends from 1"
        )
    last = torch.linspace(steps.length - 1, lags, ends).round().long().unique()
    exact = steps.units <= directions
    upstream = _upstream(steps, directions, len(last) * steps.batch, seed)
    carried = upstream
    shape = (len(last), steps.batch)
    whole, totals, carries, gates, by_unit, by_channel = [], [], [], [], [], []
    for lag in range(lags + 1):
        squares = [up.square().sum(0) for up in upstream]  # (E * B, size), over directions
        whole.append((torch.cat(squares, -1).sum(-1) / steps.units).sqrt().view(shape))
        totals.append(_norms(upstream))
        carries.append(_norms(carried))
        gates.append(_norms([a - b for a, b in zip(upstream, carried, strict=True)]))
        by_unit.append([one.sqrt().mean(0) for one in squares])
        at = last - lag
        states, event = steps.at(at)
        *upstream, through_event = steps.back(
            steps.step(at, states, event), [*states, event], upstream, at
        )
        by_channel.append(through_event.square().sum(0).sqrt().mean(0))
        carried = steps.back(steps.step(at, states, event, carried=True), states, carried, at)
    each = torch.stack(whole)
    paths = {
        name: Path(
            total=torch.stack([one[index] for one in totals]),
            carried=torch.stack([one[index] for one in carries]),
            gates=torch.stack([one[index] for one in gates]),
            units=torch.stack([one[index] for one in by_unit]),
        )
        for index, name in enumerate(steps.names)
    }
    return GradientHorizon(each.mean((1, 2)), each, paths, torch.stack(by_channel), exact)


def _norms(upstream: list[Tensor]) -> list[Tensor]:
    """For each state the norm, over directions and units, as a mean over rows; 1 at lag 0."""
    return [(one.square().sum((0, 2)) / one.shape[2]).sqrt().mean() for one in upstream]


def _upstream(steps: Steps, directions: int, rows: int, seed: int) -> list[Tensor]:
    """What is followed back: every unit of every state, or random mixtures of all.

    A mixture's squared norm is right on average, since E[v v'] is the identity.
    """
    like = next(iter(steps.before.values()))
    if steps.units <= directions:
        mixed = torch.eye(steps.units, dtype=like.dtype, device=like.device)
    else:
        draw = torch.Generator().manual_seed(seed)
        mixed = torch.randn(directions, steps.units, generator=draw, dtype=like.dtype)
        mixed = (mixed / math.sqrt(directions)).to(like.device)
    return [
        one[:, None].expand(-1, rows, -1).contiguous() for one in mixed.split(steps.sizes, dim=1)
    ]
