"""Memory tasks: an independent solver finds the answers to each from its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.memory.tasks import TASKS, Examples, MemoryTask

SOLVERS: dict[str, Callable[[Tensor], list]] = {}


def solves(name: str):
    """Register a solver from the inputs of a sequence, (T, I), to its answers.

    There is an answer for each step, or None where the task asks nothing.
    """

    def register(solver):
        SOLVERS[name] = solver
        return solver

    return register


def symbols(x: Tensor) -> list[int]:
    """The symbol of each one-hot step, -1 for a step of zeros."""
    return [row.index(1.0) if 1.0 in row else -1 for row in x.tolist()]


@solves("recall")
def recall(x):
    keep = x[:, -2].tolist().index(1.0)
    return [symbols(x[:, :-2])[keep] if question else None for question in x[:, -1].tolist()]


@solves("adding")
def adding(x):
    return [None] * (len(x) - 1) + [[sum(value for value, mark in x.tolist() if mark)]]


@solves("copy")
def copy(x):
    sequence = symbols(x)
    word = [symbol for symbol in sequence if symbol < 8]
    silent = len(sequence) - len(word)
    assert sequence.index(9) == silent - 1  # the delimiter is directly before the answer
    return [8] * silent + word


@solves("selective_copy")
def selective_copy(x):
    sequence = symbols(x)
    word = [symbol for symbol in sequence if symbol < 14]
    return [None] * sequence.index(15) + word


@solves("temporal_order")
def temporal_order(x):
    sequence = symbols(x)
    first, second = (symbol - 4 for symbol in sequence if symbol in (4, 5))
    return [2 * first + second if symbol == 7 else None for symbol in sequence]


#: The arrows of a picture of the Reber grammar: (state, symbol) to the next state.
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
    text = ["BTPSXVE"[symbol] if symbol >= 0 else "" for symbol in symbols(x)]
    state, branch, answers = "first", "", []
    for letter in text:
        if not letter:
            answers.append(None)
            continue
        if state == "first":
            assert letter == "B"
            state, may = "choose", "TP"
        elif state == "choose":
            state, branch, may = "start", letter, "B"
        elif state == "last":
            assert letter == branch
            state, may = "close", "E"
        elif state == "close":
            assert letter == "E"
            state, may = "first", "B"
        else:
            state = ARROWS[state, letter]
            may = "".join(sign for source, sign in ARROWS if source == state)
            if state == "over":
                state, may = "last", branch
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
    bits = [int(bit) for (bit,) in x.tolist()]
    return [sum(bits[: step + 1]) % 2 for step in range(len(bits))]


def counted(x: Tensor, letters: str) -> list:
    signs = f"S{letters}T"
    text = "".join(signs[symbol] for symbol in symbols(x) if symbol >= 0)
    n = text.count("a")
    assert text == "S" + "".join(letter * n for letter in letters) + "T"
    answers = []
    for step in range(len(text) - 1):
        may = {"a"} if step == 0 else {text[step + 1]}
        if text[step] == "a":
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
    for step, (spike,) in enumerate(x.tolist()):
        answers.append([(step - last - 10) / 10] if spike and step else None)
        last = step if spike else last
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
    return [[0.5 - 0.5 * math.cos(2 * math.pi * step / 20)] for step in range(len(x))]


@solves("mackey_glass")
def mackey_glass(x):
    """Integrate each value ahead by Euler's method in steps of 1 / 400."""
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
    """Values between those of a grid, by a cubic through the four nearest values."""
    last, interpolated = len(values) - 1, []
    for point in range(last * fine + 1):
        left = min(max(point // fine - 1, 0), last - 3)
        place = point / fine - left
        interpolated.append(
            sum(
                float(values[left + i])
                * math.prod((place - j) / (i - j) for j in range(4) if j != i)
                for i in range(4)
            )
        )
    return interpolated


#: Tolerances of solvers with an error of their own, such as that of an integration.
NEAR = {"mackey_glass": 0.02}


def perfect(name: str, task: MemoryTask, examples: Examples) -> Tensor:
    """The solver's answers as a network's outputs, with NaN where it has no answer."""
    steps, rows = examples.scored.shape
    outputs = torch.full((steps, rows, task.outputs), math.nan)
    for row in range(rows):
        answers = SOLVERS[name](examples.inputs[:, row])
        assert len(answers) == steps
        for step, answer in enumerate(answers):
            if answer is None:
                continue
            if task.kind == "class":
                outputs[step, row] = torch.eye(task.outputs)[answer] * 20
            else:
                scale = (lambda value: 40 * value - 20) if task.kind == "set" else float
                outputs[step, row] = torch.tensor([scale(value) for value in answer])
    return outputs


@pytest.mark.parametrize("name", TASKS)
def test_the_solver_scores_and_only_scored_steps_count(name):
    task = TASKS[name]()
    examples = task.examples(3 if name == "mackey_glass" else 40, seed=5)
    assert examples.inputs.shape[2] == task.inputs and examples.inputs.dtype == torch.float32
    assert examples.scored.any(0).all()  # each row has a question
    assert (examples.scored | ~examples.judged).all()
    outputs = perfect(name, task, examples)
    if name == "mackey_glass":  # the solver is slow, so it solves only some steps
        solved = examples.scored & ~outputs.isnan().any(-1)
        assert solved.sum() == 9
        examples = Examples.of(examples.inputs, examples.targets, solved)
    # A loss that reads a step which is not scored would be NaN.
    assert task.loss(outputs, examples).item() < max(1e-6, NEAR.get(name, 0.0) ** 2)
    assert task.score(outputs, examples) > 1 - max(1e-6, NEAR.get(name, 0.0) ** 2)
    worse = outputs.flip(1).nan_to_num(0.0)  # another row's answer
    if name != "periodic":  # all its rows are the same
        assert task.score(worse, examples) < 0.9


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_gives_the_same_examples_and_another_does_not(name):
    task = TASKS[name]()
    first, same, other = (task.examples(5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.inputs, same.inputs) and torch.equal(first.targets, same.targets)
    if name != "periodic":
        shapes = first.inputs.shape, other.inputs.shape
        assert shapes[0] != shapes[1] or not torch.equal(first.inputs, other.inputs)


def constant(task: MemoryTask, examples: Examples, answer: list[float]) -> Tensor:
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
    """Blanks up to the delimiter, then uniform probabilities: the loss is 10 log 8 / (T + 20)."""
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
    """With one guess and all else right, half of the embedded strings are right."""
    task = TASKS["embedded_reber"]()
    examples = task.examples(600, seed=0)
    outputs = perfect("embedded_reber", task, examples).nan_to_num(0.0)
    last = examples.scored.sum(0) - 2  # the step whose answer is T or P
    outputs[last, torch.arange(600)] = torch.tensor([-9.0, 9, -9, -9, -9, -9, -9])
    assert task.score(outputs, examples) == pytest.approx(task.chance, abs=0.06)
    task = TASKS["anbn"](longest=10)
    examples = task.examples(600, seed=0)
    now = examples.inputs.argmax(-1)  # the symbols that may follow S, a, b if n is 1
    outputs = torch.tensor([[-9.0, 9, -9, -9], [-9, 9, 9, -9], [-9, -9, -9, 9], [-9.0] * 4])[now]
    assert task.score(outputs, examples) == pytest.approx(task.chance, abs=0.04)


@pytest.mark.parametrize(
    ("name", "lengths", "words"),
    [
        ("recall", {"lag": 0}, "lag=0"),
        ("adding", {"steps": 1}, "at least 2"),
        ("temporal_order", {"steps": 9}, "at least 10"),
        ("anbn", {"shortest": 4, "longest": 3}, "shortest=4"),
        ("measure_spikes", {"shortest": 9, "longest": 9}, "longest must be larger"),
        ("periodic", {"shape": "saw"}, "saw"),
        ("selective_copy", {"steps": 3, "length": 5}, "steps - length"),
    ],
)
def test_refusals(name, lengths, words):
    with pytest.raises(ArgumentError, match=words):
        TASKS[name](**lengths)
