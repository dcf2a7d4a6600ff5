"""Learning memory tasks, and the behavioural horizon."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import gatewright as gw
from gatewright.errors import ArgumentError, TrainingError
from gatewright.memory import NETWORKS, TASKS, Budget, StepReader, behavioural_horizon, learn
from gatewright.memory.tasks import Examples, MemoryTask

QUICK = Budget(steps=300, rate=1e-2)


def reader(name: str, units: int = 16):
    return lambda task: NETWORKS[name].reader(task, units)


def shuffled(task: MemoryTask) -> MemoryTask:
    """The same inputs, with the answers of other rows."""

    def draw(count: int, generator: torch.Generator) -> Examples:
        examples = task.draw(count, generator)
        order = torch.randperm(count, generator=generator)
        return replace(examples, targets=examples.targets[:, order])

    return replace(task, draw=draw)


@pytest.mark.parametrize("name", ["rnn", "lstm", "lesson_lstm", "peephole_lstm", "gru"])
def test_every_network_learns_a_short_lag(name):
    task = TASKS["recall"](lag=3)
    result = learn(task, reader(name), QUICK)
    assert result.score > 0.9 and result.loss < 0.5
    assert result.steps == len(result.losses) < QUICK.steps  # it stopped early


def test_shuffled_answers_are_not_learnt():
    """So only the inputs have the answer, and no network sees the targets."""
    # By chance 32 of 256 are right; five standard deviations above that is 58.
    assert learn(shuffled(TASKS["recall"](lag=3)), reader("lstm"), QUICK).score < 58 / 256


@pytest.mark.slow(instead="test_memory_comparison.py::test_lags_learnt_and_shares_left")
def test_only_a_chrono_start_learns_a_long_lag():
    """The cell and the budget are the same; the chrono start makes the difference."""
    task, budget = TASKS["recall"](lag=40), Budget(steps=250, rate=1e-2)
    assert learn(task, reader("chrono_lstm", 24), budget).score > 0.9
    assert learn(task, reader("lstm", 24), budget).score < 0.3


def test_a_window_sees_its_width_and_nothing_else():
    assert learn(TASKS["recall"](lag=9), reader("window"), QUICK).score > 0.9
    assert learn(TASKS["recall"](lag=10), reader("window"), QUICK).score < 58 / 256
    x = torch.randn(25, 2, 4)
    window = NETWORKS["window"].build(4, 8)
    moved = x.clone()
    moved[5] += 1.0
    changed = (window(x)[0] != window(moved)[0]).any(-1).any(-1)
    assert changed.nonzero().flatten().tolist() == list(range(5, 15))


@pytest.mark.parametrize("kind", ["adding", pytest.param("embedded_reber", marks=pytest.mark.slow)])
def test_values_and_sets_are_learnt_too(kind):
    """A small budget suffices for the sum, and for the grammar without its long lag."""
    task = TASKS[kind](steps=4) if kind == "adding" else TASKS[kind]()
    result = learn(task, reader("gru", 24), replace(QUICK, steps=250))
    assert result.score > (0.9 if kind == "adding" else 0.4)


def test_a_seed_decides_all_and_the_callers_random_state_stays():
    task, budget = TASKS["recall"](lag=2), Budget(steps=20, check=7)
    torch.manual_seed(11)
    first, second = (learn(task, reader("rnn"), budget, seed=4) for _ in range(2))
    assert first.losses == second.losses and len(first.losses) == 20
    assert learn(task, reader("rnn"), budget, seed=5).losses != first.losses
    number = torch.rand(())
    torch.manual_seed(11)
    assert torch.equal(number, torch.rand(()))


class Broken(nn.Module):
    """Its output is not a number from the third step on."""

    def __init__(self, task: MemoryTask) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(task.inputs, task.outputs), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * (torch.nan if self.calls >= 3 else 1.0)


def test_a_loss_that_is_not_finite_stops_with_its_step():
    with pytest.raises(TrainingError, match=r"recall\(lag=2.*step 3 \(seed 6\)"):
        learn(TASKS["recall"](lag=2), Broken, QUICK, seed=6)


class Keeps(nn.Module):
    """Knows the answer to delayed recall up to a lag, and guesses beyond it."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach, self.unused = reach, nn.Parameter(torch.zeros(()))

    def forward(self, x):
        answer = x[:1, :, :8] * (len(x) - 1 <= self.reach)
        return answer.expand(len(x), -1, -1) * 9 + self.unused


def test_the_horizon_is_the_longest_lag_that_is_learnt():
    seen = []
    budget = Budget(steps=2, check=1)
    result = behavioural_horizon(
        lambda task: Keeps(20),
        lags=(5, 20, 40, 60, 80),
        seeds=(0, 1),
        budget=budget,
        on_learnt=lambda lag, seed, result: seen.append((lag, seed)),
    )
    assert result.horizon == 20 and result.middle(20) == 1.0 and result.middle(80) is None
    assert max(result.scores[40]) < 0.5 and result.chance == 1 / 8
    # After two lags that no seed learns, longer ones are not tried.
    assert seen == [(lag, seed) for lag in (5, 20, 40, 60) for seed in (0, 1)]
    assert behavioural_horizon(lambda task: Keeps(0), lags=(2,), budget=budget).horizon == 0
    with pytest.raises(ArgumentError, match="rising"):
        behavioural_horizon(lambda task: Keeps(0), lags=(5, 2))


def test_any_layer_can_be_read():
    layer = gw.Recurrent("peephole_lstm", 4, 6, num_layers=2)
    assert StepReader(layer, 6, 3)(torch.zeros(7, 2, 4)).shape == (7, 2, 3)
