"""A warning before training: the data are of use farther back than the network can learn from."""

from __future__ import annotations

from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.probes.horizon import gradient_horizon
from gatewright.probes.lags import said
from gatewright.probes.useful_lag import useful_lag

#: Rows and steps from which a network's horizon is measured.
ROWS, STEPS = 8, 400
#: A network is warned of where more than this share of what history brings lies beyond its
#: horizon. What a class shows at every step is of use farther back too, but only to be surer:
#: of the bundled vowels a network that starts with 8 steps loses an eighth, and learns them.
BEYOND = 0.25


def memory_warning(
    layer: Recurrent,
    x: Tensor,
    target: Tensor,
    lengths: Tensor | None = None,
    *,
    each: bool = False,
    given: Tensor | None = None,
    ordered: bool = False,
    hint: str = "start it with gw.init.horizon_(layer, {steps})",
) -> str | None:
    """What to say where a fresh layer's horizon is shorter than the data's useful lag.

    The horizon is where 1 % of the state is left (`gradient_horizon`), over the first steps
    of rows that are long enough; the useful lag is `useful_lag`'s. There is nothing to warn of
    where what lies beyond the horizon is less than a quarter of what history brings.

    >>> import torch, gatewright as gw
    >>> x = torch.randn(300, 4, 2)
    >>> late = x.roll(30, 0)[..., :1]
    >>> print(memory_warning(gw.LSTM(2, 8), x, late, each=True))  # doctest: +ELLIPSIS
    the data are of use 34 steps back, and 1 % of this network's state is left after ...

    Args:
        layer: As it starts, before training; its first layer is looked at.
        x: Events as the layer reads them, `(T, B, I)` whatever the layer's `batch_first`.
        target, lengths, each, given, ordered: As for `useful_lag`.
        hint: What to do about it, with `{steps}` for how many steps to start for.

    Returns:
        A sentence with the hint, or None where there is nothing to warn of.
    """
    found = useful_lag(x, target, lengths, each=each, given=given, ordered=ordered)
    useful = found.steps
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
    lost = found.lost(reach)
    if reach >= useful or lost <= BEYOND:
        return None
    return (
        f"the data are of use {useful} steps back, and 1 % of this network's state is left "
        f"after {said(reach, lags)}; {100 * lost:.0f} % of what a linear model makes of the "
        f"past lies beyond: {hint.format(steps=2 * useful)}, or it may not learn to look that far"
    )
