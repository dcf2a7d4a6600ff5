"""`check_cell` passes all cells that ship, and catches broken cells and broken backends."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable

import pytest
import torch

import gatewright as gw
from gatewright import linear, log, sqrt, tanh, where
from gatewright.backends import choose, reference
from gatewright.backends.run import Result, Run
from gatewright.cells.gru import GRU
from gatewright.cells.lstm import LSTM, PeepholeLSTM
from gatewright.cells.rnn import ElmanRNN
from odd_cells import CLASSIC


@pytest.mark.parametrize("name", gw.CELLS)
def test_every_cell_that_ships_keeps_the_laws(name: str):
    # Compiling takes a second a cell; other tests compare all kernels with the reference.
    gw.check_cell(name, backend="auto" if name in CLASSIC else "reference")


@pytest.mark.parametrize(
    "cell",
    [
        ElmanRNN("relu"),
        LSTM(projection=4),
        GRU("before"),
        PeepholeLSTM("full"),
        PeepholeLSTM("diagonal", ("f",), "old"),
        PeepholeLSTM("full", ("o", "i"), "old"),
        PeepholeLSTM(gates=()),
    ],
    ids=repr,
)
def test_so_do_their_options(cell: gw.Cell):
    gw.check_cell(cell)


class Large(gw.Cell):
    """A correct cell with more operations than a diagram can show."""

    def step(self, x, h):
        for _ in range(210):
            h = 0.5 * h + 0.1 * tanh(h)
        return gw.state(h=h + 0.1 * linear(x))


@pytest.mark.slow(instead="test_every_cell_that_ships_keeps_the_laws")
def test_a_cell_that_is_too_large_for_a_diagram_keeps_the_laws():
    with pytest.raises(gw.ArgumentError, match="figures to draw"):
        Large().svg()
    gw.check_cell(Large(), backend="reference")


class Everything(gw.Cell):
    """Heads, a further input, noise, states of different sizes, and an output of its own."""

    initial = {"m": float("-inf"), "h": gw.parameter(start=0.3)}  # noqa: RUF012  (as users write it)

    def step(self, x, h, m, n, s, *, dt):
        i = linear(x, h, heads=3)
        m1 = gw.maximum(m, i)
        n = gw.exp(m - m1) * gw.exp(-dt) * n + gw.exp(i - m1) * tanh(linear(x))
        s = 0.5 * s + 0.1 * x
        keep = gw.noise(0.2, per="sequence")
        rising = n > 0
        h = where(rising, gw.layer_norm(n, heads=3), 0.1 * n) + keep * h
        return gw.state(h=h, m=m1, n=n, s=s, output=linear(h, s, size=2))


@pytest.mark.slow(instead="test_every_cell_that_ships_keeps_the_laws")
def test_a_cell_that_uses_the_whole_language_keeps_them():
    gw.check_cell(Everything())


class LogOfTheStart(gw.Cell):
    def step(self, x, h):
        return gw.state(h=log(h * h) + linear(x))


class SteepAtTheStart(gw.Cell):
    def step(self, x, h):
        h = sqrt(abs(h)) + tanh(linear(x, h))
        return gw.state(h=h)


class Random(gw.Cell):
    def step(self, x, h):
        h = tanh(linear(x, h)) * random.random()
        return gw.state(h=h)


class Counting(gw.Cell):
    count = itertools.count()

    def step(self, x, h):
        h = tanh(linear(x, h, name=f"product{next(self.count)}"))
        return gw.state(h=h)


@pytest.mark.parametrize(
    ("cell", "law", "seen"),
    [
        (LogOfTheStart, "finite values", "the output is not finite when it runs from its start"),
        (SteepAtTheStart, "finite values", "the gradient of the start of h is not finite"),
        (Random, "reading", "read twice"),
        (Counting, "reading", "read twice"),
    ],
)
def test_a_broken_cell_is_caught(cell: type[gw.Cell], law: str, seen: str):
    with pytest.raises(gw.CellError, match=cell.__name__) as caught:
        gw.check_cell(cell)
    assert f"  {law}: {seen}" in str(caught.value)


# Each backend breaks one law. The laws must notice it, or kernels would go unchecked.
def mix_rows(task: Run) -> Result:
    result = reference.run(task)
    if len(set(task.rows)) == 1 and task.rows and task.rows[0] > 1:
        return dataclasses.replace(result, output=result.output + 0.01 * result.output.mean())
    return result


def forget_the_states(task: Run) -> Result:
    zero = {name: torch.zeros_like(one) for name, one in task.states.items()}
    return reference.run(dataclasses.replace(task, states=zero))


def ignore_restarts(task: Run) -> Result:
    return reference.run(dataclasses.replace(task, restart=None))


def ignore_the_direction(task: Run) -> Result:
    return reference.run(dataclasses.replace(task, reverse=False))


def wrong_final_states(task: Run) -> Result:
    result = reference.run(task)
    return dataclasses.replace(result, states={k: v * 1.001 for k, v in result.states.items()})


def not_a_number(task: Run) -> Result:
    result = reference.run(task)
    return dataclasses.replace(result, output=result.output * float("nan"))


def other_in_training(task: Run) -> Result:
    result = reference.run(task)
    return dataclasses.replace(result, output=result.output * (1 + 0.01 * torch.is_grad_enabled()))


def other_gradients(task: Run) -> Result:
    result = reference.run(task)
    moved = result.output.detach() + 1.1 * (result.output - result.output.detach())
    return dataclasses.replace(result, output=moved)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (other_in_training, "training and inference"),
        (other_gradients, "training and inference"),
        (mix_rows, "batch independence"),
        (forget_the_states, "split and carry"),
        (ignore_restarts, "restarts"),
        (ignore_the_direction, "split and carry"),
        (wrong_final_states, "split and carry"),
        (not_a_number, "finite values"),
    ],
)
def test_a_broken_backend_is_caught(
    broken: Callable[[Run], Result], law: str, monkeypatch: pytest.MonkeyPatch
):
    backend = choose.Backend(broken, lambda task: None)
    monkeypatch.setitem(choose.BACKENDS, "broken", backend)
    with pytest.raises(gw.CellError) as caught:
        gw.check_cell("lstm", backend="broken")
    assert f"  {law}: " in str(caught.value)
    assert ": raised " not in str(caught.value)


def test_a_wrong_derivative_is_caught(monkeypatch: pytest.MonkeyPatch):
    from gatewright.graph import adjoint

    class OfThisTest(gw.Cell):
        """Schedules and kernels with the wrong derivative are kept, so no other test has it."""

        def step(self, x, h):
            h = 0.9371 * tanh(linear(x, h))
            return gw.state(h=h)

    monkeypatch.setenv("GATEWRIGHT_CACHE", "")
    monkeypatch.setitem(adjoint.RULES, "tanh", lambda g, y, a: (g * (1.0 - y),))
    with pytest.raises(gw.CellError, match="gradients: the gradient of"):
        gw.check_cell(OfThisTest())


def test_sizes_can_be_given_and_must_fit():
    class Heads(gw.Cell):
        def step(self, x, h):
            h = tanh(linear(x, h, heads=7))
            return gw.state(h=h)

    gw.check_cell(Heads(), input_size=7, hidden_size=14)
    gw.check_cell(Heads())  # finds sizes that fit by itself
    with pytest.raises(gw.CellError, match="no small sizes fit Heads"):
        gw.check_cell(Heads(), input_size=5, hidden_size=14)
