"""Networks in continuous time: each step reads how much time has passed."""

from __future__ import annotations

from typing import Any, ClassVar

from gatewright.language.cell import Cell
from gatewright.language.functions import (
    Update,
    diagonal,
    exp,
    linear,
    parameter,
    relu,
    sigmoid,
    state,
    tanh,
    where,
)


class LeakyRNN(Cell):
    """Leaky integrators: each unit moves towards its target at its own learned rate.

    The step is the exact solution of dh/dt = rate * (target - h) for a target that is constant
    between two events, so it is stable for any `dt`.

    Source: Jaeger, Lukosevicius, Popovici and Siewert 2007, "Optimization and applications of
    echo state networks with leaky-integrator neurons", eq. 1, with a = 1 and rate = 1 / c.

    Further inputs: `dt`, the time since the last event, one number for each step.
    """

    sizes: ClassVar = {"dt": 1}

    def step(self, x: Any, h: Any, *, dt: Any) -> Update:
        rate = exp(parameter())
        keep = exp(-rate * dt)
        target = tanh(linear(x, h))
        h = keep * h + (1 - keep) * target
        return state(h=h)


class CfC(Cell):
    """Closed-form continuous-time: as time passes, a gate goes from a near to a far answer.

    Source: Hasani et al. 2022, "Closed-form continuous-time neural networks", the model with
    a shared backbone. Its f, g and h are called rate, near and far here, and its gate is 1 - s.

    Further inputs: `dt`, the time since the last event, one number for each step.

    Attributes:
        backbone: Units of the layer that rate, near and far share: "hidden" or a number.
    """

    backbone: int | str = "hidden"
    sizes: ClassVar = {"dt": 1}

    def step(self, x: Any, h: Any, *, dt: Any) -> Update:
        shared = tanh(linear(x, h, size=self.backbone))
        rate = linear(shared)
        near = tanh(linear(shared))
        far = tanh(linear(shared))
        s = sigmoid(rate * dt)
        h = (1 - s) * near + s * far
        return state(h=h)


class GRUD(Cell):
    """GRU for missing values: the last observed value fades to the mean, and h fades too.

    Source: Che et al. 2018, "Recurrent neural networks for multivariate time series with
    missing values", eqs. 10 to 16. The state `last` is the last observed value minus the mean,
    so its start 0 means the mean. z keeps the old memory, as in `GRU`; the paper writes 1 - z.

    Further inputs, each of the event's size: `mask`, 1 where the value was observed and 0
    where it is missing (a missing value is never read and may be NaN); `delta`, the time since
    each value was last observed.

    The parameter `mean` starts at 0, the mean of standardised data. In the paper it is fixed:
    `layer.weights("mean")["mean"] = means`, then `layer.freeze("mean")`.
    """

    def step(self, x: Any, h: Any, last: Any, *, mask: Any, delta: Any) -> Update:
        mean = parameter(size="input")
        seen = mask > 0
        last = where(seen, x - mean, last)
        fade_x = exp(-relu(diagonal(delta) + parameter(name="fade_x_bias")))
        fade_h = exp(-relu(linear(delta)))
        x_hat = where(seen, x, mean + fade_x * last)
        h_hat = fade_h * h
        r = sigmoid(linear(x=x_hat, h=h_hat, mask=mask))
        z = sigmoid(linear(x=x_hat, h=h_hat, mask=mask))
        n = tanh(linear(x=x_hat, h=r * h_hat, mask=mask))
        h = (1 - z) * n + z * h_hat
        return state(h=h, last=last)
