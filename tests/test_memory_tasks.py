"""Memory tasks: each is solved, from its inputs alone, by a solver that shares no code with it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.memory.tasks import TASKS, Examples, Task

SOLVERS: dict[str, Callable[[Tensor], list]] = {}


def solves(name: str):
    """Register a solver: one sequence's inputs (T, I) to its answers, one a step.

    None where it has none to give.
    """

    def register(solver):
        SOLVERS[name] = solver
        return solver

    return register


def symbols(x: Tensor) -> list[int]:
    """The one-hot symbol of each step, -1 where there is none."""
    return [row.index(1.0) if 1.0 in row else -1 for row in x.tolist()]


@solves("recall")
def recall(x):
    keep = x[:, -2].tolist().index(1.0)
    return [symbols(x[:, :-2])[keep] if asked else None for asked in x[:, -1].tolist()]


@solves("adding")
def adding(x):
    return [None] * (len(x) - 1) + [[sum(value for value, mark in x.tolist() if mark)]]


@solves("copy")
def copy(x):
    shown = symbols(x)
    word = [one for one in shown if one < 8]
    silent = len(shown) - len(word)
    assert shown.index(9) == silent - 1  # the delimiter stands just before the answer
    return [8] * silent + word


@solves("selective_copy")
def selective_copy(x):
    shown = symbols(x)
    word = [one for one in shown if one < 14]
    return [None] * shown.index(15) + word


@solves("temporal_order")
def temporal_order(x):
    shown = symbols(x)
    first, second = (one - 4 for one in shown if one in (4, 5))
    return [2 * first + second if one == 7 else None for one in shown]


#: The Reber grammar as a picture of it is read: state by state, what may be said.
ARROWS = {
    ("start", "B"): "1",
    ("1", "T"): "2",
    ("1", "P"): "3",
    ("2", "S"): "2",
    ("2", "X"): "4",
    ("3", "T"): "3",
    ("3", "V"): "5",
    ("4", "X"): "3",
    ("4", "S"): "end",
    ("5", "P"): "4",
    ("5", "V"): "end",
    ("end", "E"): "over",
}


def reber_stream(x: Tensor, again: bool) -> list:
    """Read an embedded string, or strings without end, with a finite automaton."""
    text = ["BTPSXVE"[one] if one >= 0 else "" for one in symbols(x)]
    state, kept, answers = "first", "", []
    for one in text:
        if not one:
            answers.append(None)
            continue
        if state == "first":
            assert one == "B"
            state, may = "choose", "TP"
        elif state == "choose":
            state, kept, may = "start", one, "B"
        elif state == "last":
            assert one == kept
            state, may = "close", "E"
        elif state == "close":
            assert one == "E"
            state, may = "first", "B"
        else:
            state = ARROWS[state, one]
            may = "".join(sign for at, sign in ARROWS if at == state)
            if state == "over":
                state, may = "last", kept
        if state == "first" and not again:
            answers.append(None)
        else:
            answers.append([float(sign in may) for sign in "BTPSXVE"])
    return answers


@solves("embedded_reber")
def embedded_reber(x):
    return reber_stream(x, again=False)


@solves("continual_reber")
def continual_reber(x):
    return reber_stream(x, again=True)


@solves("parity")
def parity(x):
    bits = [int(one) for (one,) in x.tolist()]
    return [sum(bits[: at + 1]) % 2 for at in range(len(bits))]


def counted(x: Tensor, letters: str) -> list:
    signs = f"S{letters}T"
    text = "".join(signs[one] for one in symbols(x) if one >= 0)
    n = text.count("a")
    assert text == "S" + "".join(letter * n for letter in letters) + "T"
    answers = []
    for at in range(len(text) - 1):
        may = {"a"} if at == 0 else {text[at + 1]}
        if text[at] == "a":
            may = {"a", "b"}
        answers.append([float(sign in may) for sign in signs])
    return answers + [None] * (len(x) - len(answers))


@solves("anbn")
def anbn(x):
    return counted(x, "ab")


@solves("anbncn")
def anbncn(x):
    return counted(x, "abc")


@solves("measure_spikes")
def measure_spikes(x):
    answers, last = [], 0
    for at, (spike,) in enumerate(x.tolist()):
        answers.append([(at - last - 10) / 10] if spike and at else None)
        last = at if spike else last
    return answers


@solves("generate_spikes")
def generate_spikes(x):
    answers, waited, spikes = [], 0, 0
    for (share,) in x.tolist():
        waited += 1
        due = waited == round(10 + 10 * share)
        answers.append([float(due)] if spikes < 5 else None)
        waited, spikes = (0, spikes + 1) if due else (waited, spikes)
    return answers


@solves("periodic")
def periodic(x):
    assert x[0] == 1 and not x[1:].any()
    return [[0.5 - 0.5 * math.cos(2 * math.pi * at / 20)] for at in range(len(x))]


@solves("mackey_glass")
def mackey_glass(x):
    """Each value ahead by Euler's method in steps of 1 / 400, from what was seen."""
    series = [0.2244 * value + 0.9296 for (value,) in x.tolist()]
    fine, answers = 400, [None] * 34
    for end in (40, 100, 160):
        answers += [None] * (end - len(answers))
        seen = torch.tensor(series[end - 17 : end + 1], dtype=torch.float64)
        past = cubic(seen, fine)
        for _ in range(84 * fine):
            late = past[-1 - 17 * fine]
            past.append(past[-1] + (0.2 * late / (1 + late**10) - 0.1 * past[-1]) / fine)
        answers.append([(past[-1] - 0.9296) / 0.2244])
    return answers + [None] * (len(x) - len(answers))


def cubic(values: Tensor, fine: int) -> list[float]:
    """Values between those of a grid, by a cubic through the four nearest."""
    last, found = len(values) - 1, []
    for at in range(last * fine + 1):
        left = min(max(at // fine - 1, 0), last - 3)
        place = at / fine - left
        found.append(
            sum(
                float(values[left + i])
                * math.prod((place - j) / (i - j) for j in range(4) if j != i)
                for i in range(4)
            )
        )
    return found


#: How far a solver's numbers may be off: exact but for float32, or for the integration.
NEAR = {"mackey_glass": 0.02}


def perfect(name: str, task: Task, examples: Examples) -> Tensor:
    """The solver's answers as a network's outputs; where it has none, what cannot be right."""
    steps, rows = examples.scored.shape
    outputs = torch.full((steps, rows, task.outputs), math.nan)
    for row in range(rows):
        answers = SOLVERS[name](examples.inputs[:, row])
        assert len(answers) == steps
        for at, answer in enumerate(answers):
            if answer is None:
                continue
            if task.kind == "class":
                outputs[at, row] = torch.eye(task.outputs)[answer] * 20
            else:
                scale = (lambda one: 40 * one - 20) if task.kind == "set" else float
                outputs[at, row] = torch.tensor([scale(one) for one in answer])
    return outputs


@pytest.mark.parametrize("name", TASKS)
def test_the_solver_scores_and_only_scored_steps_count(name):
    task = TASKS[name]()
    examples = task.examples(3 if name == "mackey_glass" else 40, seed=5)
    assert examples.inputs.shape[2] == task.inputs and examples.inputs.dtype == torch.float32
    assert examples.scored.any(0).all()  # something is asked of each row
    assert (examples.scored | ~examples.judged).all()
    outputs = perfect(name, task, examples)
    if name == "mackey_glass":  # only some of its steps are solved, since it takes a while
        given = examples.scored & ~outputs.isnan().any(-1)
        assert given.sum() == 9
        examples = Examples.of(examples.inputs, examples.targets, given)
    # A loss that read a step it should not would be NaN.
    assert task.loss(outputs, examples).item() < max(1e-6, NEAR.get(name, 0.0) ** 2)
    assert task.score(outputs, examples) > 1 - max(1e-6, NEAR.get(name, 0.0) ** 2)
    worse = outputs.flip(1).nan_to_num(0.0)  # another row's answer
    if name != "periodic":  # all its rows are the same
        assert task.score(worse, examples) < 0.9


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_gives_the_same_examples_and_another_does_not(name):
    task = TASKS[name]()
    one, same, other = (task.examples(5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs) and torch.equal(one.targets, same.targets)
    if name != "periodic":
        assert one.inputs.shape != other.inputs.shape or not torch.equal(one.inputs, other.inputs)


def constant(task: Task, examples: Examples, answer: list[float]) -> Tensor:
    return torch.tensor(answer).expand(*examples.scored.shape, task.outputs)


@pytest.mark.parametrize(
    "name",
    ["adding", "measure_spikes", "mackey_glass", "periodic"],
)
def test_chance_of_values_is_their_variance(name):
    task = TASKS[name]()
    examples = task.examples(40 if name == "mackey_glass" else 4000, seed=0)
    mean = examples.targets[examples.scored].mean().item()
    assert mean == pytest.approx({"adding": 1.0, "mackey_glass": 0.0}.get(name, 0.5), abs=0.05)
    outputs = constant(task, examples, [mean])
    assert task.loss(outputs, examples).item() == pytest.approx(task.chance, rel=0.05)
    assert task.score(outputs, examples) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("name", ["recall", "selective_copy", "temporal_order", "parity"])
def test_chance_of_classes(name):
    task = TASKS[name]()
    examples = task.examples(4000, seed=0)
    outputs = constant(task, examples, [0.0] * task.outputs)
    assert task.loss(outputs, examples).item() == pytest.approx(task.baseline, rel=1e-5)
    guess = constant(task, examples, [1.0] + [0.0] * (task.outputs - 1))
    assert task.score(guess, examples) == pytest.approx(task.chance, abs=0.03)


def test_the_memoryless_answer_to_copy():
    """Blank until the delimiter, then all symbols alike: 10 log 8 / (T + 20)."""
    task = TASKS["copy"](delay=30)
    examples = task.examples(500, seed=0)
    outputs = torch.full((*examples.scored.shape, 9), -1e9)
    outputs[:40, :, 8] = 0.0
    outputs[40:, :, :8] = 0.0
    expected = 10 * math.log(8) / 50
    assert task.baseline == pytest.approx(expected)
    assert task.loss(outputs, examples).item() == pytest.approx(expected, rel=1e-5)
    assert task.score(outputs, examples) == pytest.approx(1 / 8, abs=0.03)


def test_chance_of_sets():
    """All right but for one guess: a half of the embedded strings."""
    task = TASKS["embedded_reber"]()
    examples = task.examples(600, seed=0)
    outputs = perfect("embedded_reber", task, examples).nan_to_num(0.0)
    last = examples.scored.sum(0) - 2  # the step whose answer is T or P
    outputs[last, torch.arange(600)] = torch.tensor([-9.0, 9, -9, -9, -9, -9, -9])
    assert task.score(outputs, examples) == pytest.approx(task.chance, abs=0.06)
    task = TASKS["anbn"](longest=10)
    examples = task.examples(600, seed=0)
    now = examples.inputs.argmax(-1)  # S, a, b: what may follow if n were 1
    outputs = torch.tensor([[-9.0, 9, -9, -9], [-9, 9, 9, -9], [-9, -9, -9, 9], [-9.0] * 4])[now]
    assert task.score(outputs, examples) == pytest.approx(task.chance, abs=0.04)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("recall", {"lag": 0}, "lag=0"),
        ("adding", {"steps": 1}, "at least 2"),
        ("temporal_order", {"steps": 9}, "at least 10"),
        ("anbn", {"shortest": 4, "longest": 3}, "shortest=4"),
        ("measure_spikes", {"shortest": 9, "longest": 9}, "must be more"),
        ("periodic", {"shape": "saw"}, "saw"),
        ("selective_copy", {"steps": 3, "length": 5}, "steps - length"),
    ],
)
def test_refusals(name, given, words):
    with pytest.raises(ArgumentError, match=words):
        TASKS[name](**given)
