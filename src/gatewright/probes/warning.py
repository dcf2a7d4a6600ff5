"""Warn before training if the data are useful farther back than the network can learn."""

from __future__ import annotations

from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.probes.horizon import gradient_horizon
from gatewright.probes.lags import steps_text
from gatewright.probes.useful_lag import useful_lag

#: The largest numbers of rows and steps for measuring a network's horizon.
ROWS, STEPS = 8, 400
#: The share of the improvement by history beyond the horizon from which there is a warning. A
#: sequence whose every step shows its class has some too, but a network learns it without: on
#: the bundled vowels a network with a horizon of 8 steps loses an eighth, and learns them.
BEYOND = 0.25


def memory_warning(
    layer: Recurrent,
    x: Tensor,
    target: Tensor,
    lengths: Tensor | None = None,
    *,
    each: bool = False,
    known: Tensor | None = None,
    ordered: bool = False,
    hint: str = "start it with gw.init.horizon_(layer, {steps})",
) -> str | None:
    """Warn if the horizon of a fresh layer is shorter than the useful lag of the data.

    The horizon is the lag at which 1 % of the state is left (`gradient_horizon`), over the first
    steps of rows that are long enough. There is no warning if less than a quarter of the
    improvement by history (`useful_lag`) comes from beyond the horizon.

    >>> import torch, gatewright as gw
    >>> x = torch.randn(300, 4, 2)
    >>> late = x.roll(30, 0)[..., :1]
    >>> print(memory_warning(gw.LSTM(2, 8), x, late, each=True))  # doctest: +ELLIPSIS
    the data are of use 34 steps back, and 1 % of this network's state is left after ...

    Args:
        layer: A layer before training; its first layer is examined.
        x: Events as the layer reads them, always `(T, B, I)`, even with `batch_first`.
        target, lengths, each, known, ordered: As for `useful_lag`.
        hint: A suggestion, with `{steps}` for the number of steps to initialise for.

    Returns:
        A sentence with the hint, or None if there is nothing to warn of.
    """
    lag = useful_lag(x, target, lengths, each=each, known=known, ordered=ordered)
    useful = lag.steps
    longest = len(x) if lengths is None else int(lengths.max())
    lags = min(2 * useful, longest - 1, STEPS)
    if useful <= 1:
        return None
    rows = (
        range(x.shape[1])
        if lengths is None
        else (lengths > lags).nonzero().flatten().tolist() or [int(lengths.argmax())]
    )
    events = x[: lags + 1, list(rows)[:ROWS]].detach()
    events = events.transpose(0, 1) if layer.batch_first else events
    reach = gradient_horizon(layer, events, lags=lags, ends=1).horizon
    lost = lag.lost(reach)
    if reach >= useful or lost <= BEYOND:
        return None
    return (
        f"the data are of use {useful} steps back, and 1 % of this network's state is left "
        f"after {steps_text(reach, lags)}; {100 * lost:.0f} % of what a linear model gains from "
        f"the past is beyond that: {hint.format(steps=2 * useful)}, or it may not learn to look "
        "that far"
    )
