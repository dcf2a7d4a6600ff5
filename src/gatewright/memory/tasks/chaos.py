"""The series of Mackey and Glass: a chaotic equation with a delay."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.memory.tasks.task import Examples, MemoryTask, check_lengths

#: Mean and deviation of the series with delay 17, over 200 000 steps after the first 1 000.
MEAN, DEVIATION = 0.9296, 0.2244
#: Integration steps in one unit of time, and units of time before the series begins.
FINE, PAST = 10, 200


def mackey_glass(steps: int = 200, ahead: int = 84, delay: int = 17) -> MemoryTask:
    """Predict the series `ahead` steps ahead, at each step, from its values so far.

    dx/dt = 0.2 x(t - delay) / (1 + x(t - delay)^10) - 0.1 x(t), one value for each unit of
    time, scaled to mean 0 and deviation 1 (for delay 17). It is scored from step 2 delay on,
    when the delayed value has been seen. Chance: the variance, 1.
    Source: Mackey and Glass 1977, "Oscillation and chaos in physiological control systems";
    84 steps ahead as in Gers, Eck and Schmidhuber 2001, "Applying LSTM to time series
    predictable through time-window approaches".
    """
    check_lengths(steps=steps, ahead=ahead, delay=delay)
    first = min(2 * delay, steps - 1)

    def draw(count: int, generator: torch.Generator) -> Examples:
        starts = 0.5 + torch.rand(count, generator=generator, dtype=torch.float64)
        series = integrate(starts, steps + ahead, delay)
        scaled = ((series - MEAN) / DEVIATION).float()[..., None]
        scored = torch.zeros(steps, count, dtype=torch.bool)
        scored[first:] = True
        return Examples.of(scaled[:steps], scaled[ahead:], scored)

    return MemoryTask(
        name=f"mackey_glass(steps={steps}, ahead={ahead}, delay={delay})",
        about=f"Predict Mackey and Glass's chaotic series {ahead} steps ahead.",
        source="Mackey and Glass 1977; Gers, Eck and Schmidhuber 2001",
        kind="value",
        inputs=1,
        outputs=1,
        lag=delay,
        chance=1.0,
        baseline=1.0,
        draw=draw,
    )


def integrate(starts: Tensor, steps: int, delay: int) -> Tensor:
    """The series `(steps, B)` after a constant past, by the Runge-Kutta method of fourth order.

    The delayed value between two grid points is their mean, so the error is of second order
    in the step of 1 / 10.
    """
    h, back = 1.0 / FINE, delay * FINE
    values = [starts] * (back + 1)
    for _ in range((PAST + steps) * FINE):
        x, early, late = values[-1], values[-1 - back], values[-back]
        middle = 0.5 * (early + late)
        k1 = slope(x, early)
        k2 = slope(x + 0.5 * h * k1, middle)
        k3 = slope(x + 0.5 * h * k2, middle)
        k4 = slope(x + h * k3, late)
        values.append(x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return torch.stack(values[back + 1 + PAST * FINE :: FINE])


def slope(x: Tensor, delayed: Tensor) -> Tensor:
    """The derivative dx/dt."""
    return 0.2 * delayed / (1 + delayed**10) - 0.1 * x
