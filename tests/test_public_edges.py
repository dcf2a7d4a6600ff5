"""Refusals at the public edge that no other test reaches: the argument, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence

import gatewright as gw
from gatewright.cli.app import app
from gatewright.data.containers.series import Series
from gatewright.data.containers.text import Text
from gatewright.designs import Design
from gatewright.errors import ArgumentError, CellError, DataError, SizeError
from gatewright.estimators import SequenceClassifier
from gatewright.memory.compare import compare_memory

X = torch.zeros(5, 2, 3)
LSTM = gw.LSTM(3, 4)


def weights_of(layer: gw.Recurrent) -> dict[str, Any]:
    return {product: dict(layer.weights(product)) for product in ("i", "f", "g", "o")}


def step(**changes: Any) -> Any:
    """A step by hand of an LSTM, with a change of its weights or of an argument."""
    x, h, c = torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 4)
    weights = weights_of(LSTM)
    weights["f"] |= changes.pop("f", {})
    if changes.pop("without_source", False):
        del weights["f"]["h"]
    return gw.CELLS["lstm"]()(changes.pop("x", x), h, c, weights=weights, **changes)


def packed(sizes: list[int], order: list[int], inverse: list[int]) -> PackedSequence:
    rows = torch.zeros(sum(sizes), 3)
    return PackedSequence(rows, torch.tensor(sizes), torch.tensor(order), torch.tensor(inverse))


def with_fixed(weights: Any) -> gw.Recurrent:
    """A layer of a cell with fixed weights."""

    class Fixed(gw.Cell):
        @property
        def fixed(self) -> Any:
            return weights

        def step(self, x: Any, h: Any) -> Any:
            return gw.state(h=gw.tanh(gw.linear(x, h, name="A")))

    return gw.Recurrent(Fixed(), 3, 4)


LAYERS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "peephole": (
        lambda: gw.PeepholeLSTM(3, 4, peephole="round"),  # type: ignore[arg-type]
        ArgumentError,
        'peephole=.*; give "diagonal" or "full"',
    ),
    "a state of integers": (
        lambda: step(x=torch.zeros(2, 3, dtype=torch.int64)),
        ArgumentError,
        "x has dtype torch.int64; give floating-point",
    ),
    "an input that the cell does not read": (
        lambda: step(mask=torch.ones(2, 1)),
        ArgumentError,
        r"further inputs \['mask'\] were given; .* reads \[\]",
    ),
    "no weight of a source": (
        lambda: step(without_source=True),
        ArgumentError,
        r"weights\['f'\] has no 'h', only \['x'\]",
    ),
    "a weight of another shape": (
        lambda: step(f={"h": (torch.zeros(4, 5), None)}),
        SizeError,
        r"weights\['f'\]\['h'\]: the \w+ has shape \(4, 5\); expected \(4, 4\)",
    ),
    "starts of numbers": (
        lambda: LSTM(X, starts=torch.zeros(5, 2)),
        ArgumentError,
        "starts is torch.float32; give a boolean tensor",
    ),
    "an input of one axis": (
        lambda: LSTM(torch.zeros(3)),
        SizeError,
        r"input has shape \(3,\); expected \(time, batch, input\)",
    ),
    "a further input": (
        lambda: LSTM(X, mask=torch.ones(5, 2, 1)),
        ArgumentError,
        r"further inputs \['mask'\] were given",
    ),
    "a held value that does not fit": (
        lambda: LSTM.trace(X, hold={"f": torch.zeros(7)}),
        SizeError,
        r"hold\['f'\] has shape \(7,\); expected one that broadcasts to",
    ),
    "packed rows that grow": (
        lambda: LSTM(packed([1, 2], [0], [0])),
        ArgumentError,
        "batch_sizes are .*; expected numbers from 1 that never grow",
    ),
    "a packed row that is named twice": (
        lambda: LSTM(packed([2, 1], [0, 0], [0, 1])),
        ArgumentError,
        "sorted_indices do not name each of 2 rows once",
    ),
    "packed orders that disagree": (
        lambda: LSTM(packed([3, 1], [1, 2, 0], [1, 2, 0])),
        ArgumentError,
        "sorted_indices and unsorted_indices disagree",
    ),
    "a stepper's precision": (
        lambda: LSTM.stepper(precision="int4"),  # type: ignore[arg-type]
        ArgumentError,
        "precision is 'int4'; .*expected float32",
    ),
    "a stepper's further input": (
        lambda: LSTM.stepper().step(np.zeros(3, np.float32), mask=np.ones(1)),
        ArgumentError,
        r"further inputs \['mask'\] were given",
    ),
    "times of no length": (
        lambda: gw.init.time_constants_(gw.LSTM(3, 2), torch.tensor([0.0, 5.0])),
        ArgumentError,
        "expected numbers above 0",
    ),
    "a fixed weight that fails": (
        lambda: with_fixed({"A": {"h": lambda rows, columns: 1 / 0}}),
        ArgumentError,
        "fixed weight A.* raised ZeroDivisionError",
    ),
    "a fixed weight that is not finite": (
        lambda: with_fixed({"A": {"h": lambda *shape: np.full(shape, np.nan)}}),
        ArgumentError,
        "returned not finite",
    ),
    "a fixed weight of another shape": (
        lambda: with_fixed({"A": {"h": lambda *shape: np.zeros((2, 2))}}),
        SizeError,
        r"has shape \(2, 2\); expected \(4, 4\)",
    ),
    "fixed weights that are no mapping": (
        lambda: with_fixed([1]),
        CellError,
        "fixed is",
    ),
    "a fixed weight without its source": (
        lambda: with_fixed({"A": np.zeros((4, 4))}),
        CellError,
        r"fixed\['A'\] is",
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_names_what_does_not_fit(case: str):
    call, error, message = LAYERS[case]
    with pytest.raises(error, match=message):
        call()


OTHERS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "seeds": (lambda: compare_memory(seeds=0), ArgumentError, "seeds=0, .*give 1 or more"),
    "one step of adding": (
        lambda: gw.memory.TASKS["adding"](1),
        ArgumentError,
        "give at least 2",
    ),
    "no examples": (
        lambda: gw.memory.TASKS["adding"](8).examples(0, 1),
        ArgumentError,
        "count=0",
    ),
    "lags beyond the sequence": (
        lambda: gw.probes.gradient_horizon(LSTM, X, lags=9),
        ArgumentError,
        "lags=9, .*allow lags from 1 to 4",
    ),
    "a place that is not there": (
        lambda: gw.probes.gradient_horizon(LSTM, X, place=3),
        ArgumentError,
        r"place=3; the layer has 1: \(layer, reverse\)",
    ),
    "another attribute": (
        lambda: gw.memory.nothing,  # type: ignore[attr-defined]
        AttributeError,
        "gatewright.memory has no attribute",
    ),
    "a decimal mark": (
        lambda: gw.read("table.csv", decimal="x"),
        ArgumentError,
        "decimal is 'x'; expected '.' or ','",
    ),
    "a unit of text": (
        lambda: Text(np.zeros(1, np.uint8), ("a",), unit="words"),
        ArgumentError,
        "unit is 'words'",
    ),
    "a symbol twice": (
        lambda: Text(np.zeros(1, np.uint8), ("a", "a")),
        DataError,
        "has a symbol twice",
    ),
    "a code without a symbol": (
        lambda: Text(np.array([0, 7], np.uint8), ("a", "b")),
        DataError,
        "codes from 0 to 7; expected 0 to 1",
    ),
    "an ending to export to": (
        lambda: gw.export(LSTM, "layer.exe"),
        ArgumentError,
        "the ending of layer.exe is '.exe'; .*expected",
    ),
    "an ending to convert": (
        lambda: gw.convert("layer.exe"),
        ArgumentError,
        "the ending of .*layer.exe is '.exe'; .*expected",
    ),
    "a budget": (
        lambda: gw.train("vowels", budget="huge", out=None),  # type: ignore[arg-type]
        ArgumentError,
        "budget is 'huge'; .*expected quick",
    ),
    "a precision of training": (
        lambda: gw.train("vowels", precision="int8"),  # type: ignore[arg-type]
        ArgumentError,
        "precision is 'int8'; expected",
    ),
    "checkpoints without a directory": (
        lambda: gw.train("vowels", checkpoint_every=2),
        ArgumentError,
        "checkpoint_every is 2; give out= too",
    ),
    "a log without a directory": (
        lambda: gw.train("vowels", log=["csv"]),
        ArgumentError,
        "log is csv; give out= too",
    ),
    "a pruner": (
        lambda: gw.tune("vowels", out="study", pruner="axe"),  # type: ignore[arg-type]
        ArgumentError,
        "pruner is 'axe'; expected",
    ),
    "a readout": (lambda: Design(readout=()), ArgumentError, r"readout is \(\)"),
    "a scaling": (
        lambda: Design(scaling="huge"),  # type: ignore[arg-type]
        ArgumentError,
        "scaling is 'huge'; expected",
    ),
    "one sample": (
        lambda: SequenceClassifier().fit(np.zeros((1, 4, 1)), [0]),
        DataError,
        "X holds 1 sample",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_function_names_what_was_expected(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("month,sold\n2020-01,1\n2020-02,2\n")
    call, error, message = OTHERS[case]
    with pytest.raises(error, match=message):
        call()
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_the_times_of_a_series_are_dates_or_numbers():
    times, values = np.array(["x", "y"]), np.zeros((2, 1))
    with pytest.raises(DataError, match=r"the times of .* are <U1; expected dates or numbers"):
        Series(("a",), (times,), (values,), ("sold",), ("sold",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cells", "lstm", "--names", "x"], "--names is 'x'; expected lesson"),
        (["export", "model", "--to", "cobol"], "--to is cobol; .*expected"),
        (["export", "model", "--to", "c", "--out", "model.py"], "--out is model.py; "),
    ],
)
def test_a_command_names_the_option(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises((SystemExit, ArgumentError)) as refused:
        app(arguments)
    printed = capsys.readouterr().err + str(refused.value)
    assert re.search(message, printed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds no object"),
    ],
)
def test_a_file_of_settings_holds_an_object(text: str, message: str, tmp_path: Path):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        gw.train("vowels", config=path)


def test_a_file_of_a_cell_names_a_cell_without_arguments(tmp_path: Path):
    path = tmp_path / "my.py"
    path.write_text(
        "import gatewright as gw\n\n\nclass Mine(gw.Cell):\n"
        "    def __init__(self, size):\n        self.size = size\n\n"
        "    def step(self, x, h):\n        return gw.tanh(gw.linear(x, h))\n"
    )
    with pytest.raises(ArgumentError, match=r"Mine needs arguments .*add a line `my_cell = Mine"):
        gw.train("vowels", cell=f"{path}:Mine")
    path.write_text("x = 1\n")
    with pytest.raises(ArgumentError, match=r"has no cell 'Mine': it holds no class that is"):
        gw.train("vowels", cell=f"{path}:Mine")
