"""The useful lag of data, for data with a known lag."""

from __future__ import annotations

import math

import pytest
import torch

import gatewright as gw
from gatewright.errors import ArgumentError, SizeError
from gatewright.memory import TASKS
from gatewright.probes import UsefulLag, memory_warning, useful_lag


@pytest.mark.parametrize(("lag", "steps"), [(0, 1), (4, 5), (10, 13), (50, 55)])
def test_the_lag_of_an_echo(lag, steps):
    """The smallest number in the series of tried ones that reaches the repeated step."""
    torch.manual_seed(0)
    x = torch.randn(300, 5, 2)
    target = x.roll(lag, 0)[..., :1] + 0.1 * torch.randn(300, 5, 1)
    target[:lag] = 0.0
    useful = useful_lag(x, target, each=True, longest=100)
    assert useful.steps == steps
    assert useful.errors[0] == 1.0 and min(useful.errors) < 0.2


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_useful_lag(seed):
    torch.manual_seed(seed)
    assert useful_lag(torch.randn(60, 10, 3), torch.randn(60, 10), each=True, seed=seed).steps == 0
    assert useful_lag(torch.randn(20, 300, 3), torch.randint(4, (300,))).steps == 0


@pytest.mark.parametrize("lag", [3, 20])
def test_one_class_for_each_row(lag):
    """Delayed recall needs the first of lag + 1 steps."""
    examples = TASKS["recall"](lag=lag, distractors=True).examples(400, seed=1)
    useful = useful_lag(examples.inputs, examples.targets[-1])
    assert lag + 1 <= useful.steps <= 1.7 * lag
    assert max(useful.errors[: useful.histories.index(useful.steps)]) > 0.9


def test_padding_is_ignored():
    torch.manual_seed(0)
    x, lengths = torch.randn(30, 300, 1), torch.randint(5, 31, (300,))
    target = x[lengths - 3, torch.arange(300), 0]
    beyond = torch.arange(30)[:, None] >= lengths
    noisy = torch.where(beyond[..., None], torch.full_like(x, 1e6), x)
    useful = useful_lag(noisy, target, lengths)
    assert useful.steps == 3 and min(useful.errors) < 0.05
    assert useful == useful_lag(torch.where(beyond[..., None], 0.0, x), target, lengths)


@pytest.mark.slow(instead="test_memory_start.py::test_data_whose_lag_is_known")
def test_a_warning_where_the_data_reach_farther_than_the_network():
    torch.manual_seed(0)
    x = torch.randn(300, 4, 2)
    late, now = x.roll(30, 0)[..., :1], x[..., :1]
    layer = gw.LSTM(2, 8)
    warning = memory_warning(layer, x, late, each=True)
    assert warning and "34 steps back" in warning and "horizon_(layer, 68)" in warning
    assert memory_warning(gw.init.horizon_(layer, 68), x, late, each=True) is None
    assert memory_warning(gw.LSTM(2, 8), x, now, each=True) is None
    batch_first = gw.LSTM(2, 8, batch_first=True)
    lengths = torch.tensor([300, 120, 90, 40])
    assert "34 steps" in (memory_warning(batch_first, x, late, lengths, each=True) or "")


def test_history_has_to_improve_on_known_numbers():
    """First the target is known except for an echo of 4 steps ago, then completely."""
    torch.manual_seed(0)
    x, known = torch.randn(20, 300, 1), torch.randn(300, 2)
    echo, rest = x[-5, :, 0], 3.0 * known[:, 0]
    blind, informed = useful_lag(x, rest + echo), useful_lag(x, rest + echo, known=known)
    assert informed.steps == 5 and informed.errors[4] < 0.05
    assert blind.errors[4] > 0.8
    assert useful_lag(x, rest, known=known).steps == 0
    with pytest.raises(SizeError, match="expected 300 rows"):
        useful_lag(x, rest, known=known[:5])


def test_rows_that_overlap_are_held_out_together():
    """A window of a random walk is recognised by its neighbours, which is not useful history."""
    torch.manual_seed(0)
    walk = torch.randn(600).cumsum(0)
    x = walk.unfold(0, 60, 1).T[:, :500, None]
    target = torch.randn(50).repeat_interleave(10)
    assert useful_lag(x, target).steps > 1
    assert useful_lag(x, target, ordered=True).steps == 0


def test_the_improvement_that_is_lost_with_fewer_steps():
    useful = UsefulLag(5, (0, 1, 3, 5, 8), (1.0, 1.1, 0.6, 0.2, 0.3))
    assert [useful.lost(k) for k in (0, 1, 2, 3, 4, 5, 8, math.inf)] == pytest.approx(
        [1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0]
    )
    assert UsefulLag(0, (0, 1), (1.0, 1.2)).lost(0) == 0.0


def test_refusals():
    with pytest.raises(SizeError, match="time, batch"):
        useful_lag(torch.zeros(3, 4), torch.zeros(4))
    with pytest.raises(SizeError, match="target has shape"):
        useful_lag(torch.zeros(3, 4, 1), torch.zeros(3))
    with pytest.raises(ArgumentError, match="at least 20"):
        useful_lag(torch.zeros(3, 4, 1), torch.zeros(4))
