"""The gradient horizon: the influence of the state k steps ago on the state now."""

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
from gatewright.probes.steps import RunSteps


@dataclass(frozen=True, slots=True)
class Path:
    """Norms over lags 0 to K of the gradient with respect to one state.

    Attributes:
        total: By every path, `(K + 1,)`; 1 at lag 0.
        carried: Only by the additive path: at each step the state times its factor, such as
            the forget gate.
        gates: By all other paths: the norm of the difference.
        units: The total of each unit of the state, `(K + 1, size)`.
    """

    total: Tensor
    carried: Tensor
    gates: Tensor
    units: Tensor

    def carried_share(self, lag: int) -> float:
        """The share of the gradient at a lag that came by the additive path, 0 to 1."""
        carried, gates = self.carried[lag].item(), self.gates[lag].item()
        return carried / (carried + gates) if carried + gates else math.nan


@dataclass(frozen=True, slots=True)
class GradientHorizon:
    """The dependence of a layer's state on its past.

    Attributes:
        state: The norm of dS_t / dS_{t-k} for k = 0 to K, where S is all states together,
            divided by the root of their number so that it starts at 1: `(K + 1,)`.
        each: The same for each end step and row, `(K + 1, E, B)`; `state` is its mean.
        paths: The gradients with respect to each state, by name.
        inputs: The norm of dS_t / dx_{t-k} for each input channel, `(K + 1, I)`.
        exact: All units were followed; otherwise random directions estimate the norms.
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
    """Measure how much the state depends on the state k steps ago, and by which path.

    It is the product of the steps' Jacobians along a real run, which vanishes or explodes
    (Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013). The additive path
    is read off the cell's graph (`RunSteps.step`).

    >>> import torch, gatewright as gw
    >>> layer = gw.LSTM(3, 8)
    >>> horizon = gw.probes.gradient_horizon(layer, torch.randn(40, 2, 3))
    >>> horizon.state.shape, horizon.half_life < 3
    (torch.Size([21]), True)

    Args:
        x: Sequences of equal length, in the layer's form.
        lags: The longest lag K; half the length by default.
        ends: The number of steps to look back from: the last step, and others spread evenly
            down to step K.
        place: The layer and direction, as an index into `layer.places`.
        directions: The largest number of units that are followed exactly; larger states are
            estimated with this many random directions.
        hold: Named values to fix, as in `layer.trace`.
        inputs: Further arguments of the layer: `hx`, `starts`, and inputs of the cell.

    Raises:
        ArgumentError: if the sequences are too short for the lags.
    """
    steps = RunSteps(layer, x, place=place, hold=hold, **inputs)
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
    norms, totals, carries, gates, by_unit, by_channel = [], [], [], [], [], []
    # `upstream` is the gradient of the end states with respect to the states `lag` steps earlier,
    # one row for each direction that is followed; each turn goes one step further back.
    for lag in range(lags + 1):
        squares = [up.square().sum(0) for up in upstream]  # (E * B, size), over directions
        norms.append((torch.cat(squares, -1).sum(-1) / steps.units).sqrt().view(shape))
        totals.append(_norms(upstream))
        carries.append(_norms(carried))
        gates.append(_norms([a - b for a, b in zip(upstream, carried, strict=True)]))
        by_unit.append([square.sqrt().mean(0) for square in squares])
        chosen = last - lag
        states, event = steps.leaves(chosen)
        *upstream, through_event = steps.back(
            steps.step(chosen, states, event), [*states, event], upstream, chosen
        )
        by_channel.append(through_event.square().sum(0).sqrt().mean(0))
        after = steps.step(chosen, states, event, carried=True)
        carried = steps.back(after, states, carried, chosen)
    each = torch.stack(norms)
    paths = {
        name: Path(
            total=torch.stack([by_state[index] for by_state in totals]),
            carried=torch.stack([by_state[index] for by_state in carries]),
            gates=torch.stack([by_state[index] for by_state in gates]),
            units=torch.stack([by_state[index] for by_state in by_unit]),
        )
        for index, name in enumerate(steps.names)
    }
    return GradientHorizon(each.mean((1, 2)), each, paths, torch.stack(by_channel), exact)


def _norms(upstream: list[Tensor]) -> list[Tensor]:
    """For each state the norm over directions and units, as a mean over rows; 1 at lag 0."""
    return [(up.square().sum((0, 2)) / up.shape[2]).sqrt().mean() for up in upstream]


def _upstream(steps: RunSteps, directions: int, rows: int, seed: int) -> list[Tensor]:
    """The gradients at the end steps: one for every unit, or random mixtures of the units.

    The squared norm of a mixture is right on average, since E[v v'] is the identity.
    """
    like = next(iter(steps.before.values()))
    if steps.units <= directions:
        mixed = torch.eye(steps.units, dtype=like.dtype, device=like.device)
    else:
        draw = torch.Generator().manual_seed(seed)
        mixed = torch.randn(directions, steps.units, generator=draw, dtype=like.dtype)
        mixed = (mixed / math.sqrt(directions)).to(like.device)
    return [
        part[:, None].expand(-1, rows, -1).contiguous() for part in mixed.split(steps.sizes, dim=1)
    ]
