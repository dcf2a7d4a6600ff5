"""Data of a wrong type, task or content are refused with what the model takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gatewright as gw
from gatewright.data import Reading, Recordings, Tagged
from gatewright.deploy.page import document_of
from gatewright.errors import ArgumentError, DataError

STORED = Path(__file__).parent / "stored"
TAKES = {
    "classes": "takes Recordings of gw.read, or a list of arrays",
    "tags": "takes Tagged data of gw.read, or a list of arrays",
    "hours": "takes a Series of gw.read",
    "fox": "takes a Text of gw.read, or a string",
}


def other_data(name: str) -> Any:
    """Data of another task than that of a stored model."""
    x = (np.ones((4, 2), np.float32), np.ones((5, 2), np.float32))
    if name == "classes":
        return Tagged(x, (np.arange(4) % 2, np.arange(5) % 2), ("a", "b"))
    return Recordings(x, np.arange(2), ("a", "b"))


@pytest.mark.parametrize("name", TAKES)
def test_data_of_a_wrong_type_are_refused(name: str) -> None:
    model, other = gw.load(STORED / name), other_data(name)
    reading = Reading(other, "classify", "that was asked for", "it")
    wrong = [(None, "give data like"), (3, "give data like"), ({}, "give data like")]
    wrong += [(pd.DataFrame({"a": [1.0]}), "read it first")]
    wrong += [(reading, "give its .data or .test"), (other, "give data like")]
    wrong += [] if name == "fox" else [("new.csv", "read the file first"), (b"x", "give data")]
    for data, hint in wrong:
        with pytest.raises(DataError, match=f"{TAKES[name]}.*: {hint}"):
            model.predict(data)
    for use in (gw.predict, gw.input_arrays, lambda m, data: document_of({"m": m}, data)):
        for data in (reading, other):
            if name != "classes" or use is not gw.predict:
                with pytest.raises(DataError):
                    use(model, data)
    with pytest.raises(ArgumentError, match="type NoneType; expected a path"):
        gw.predict(model, None)


def test_inputs_are_those_of_a_model() -> None:
    with pytest.raises(ArgumentError, match=r"a GRU is no model of gatewright.train"):
        gw.input_arrays(gw.GRU(3, 4), np.ones((1, 2, 3)))
    with pytest.raises(DataError, match="no sequences; expected at least one"):
        gw.input_arrays(gw.load(STORED / "tags"), [])
    two = np.ones((2, 4, 2), np.float32)
    assert gw.input_arrays(gw.load(STORED / "tags"), two)["x"].shape == two.shape


def test_a_column_that_nobody_typed_is_not_blamed_on_an_option(tmp_path: Path) -> None:
    text, model = tmp_path / "words.txt", gw.load(STORED / "hours")
    text.write_text("a quick brown fox\n" * 9)
    for use in (gw.predict, lambda m, data: document_of({"m": m}, data)):
        with pytest.raises(DataError, match=r"the model reads a column when; words.txt is read as"):
            use(model, text)
    with pytest.raises(ArgumentError, match=r"time='t' was given, but words.txt is read as a text"):
        gw.predict(model, text, time="t")


@pytest.mark.parametrize("name", ["tags", "classes"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"x"', "new.json, record 1, column b: 'x' is not a number"),
        ("null", "new.json, record 1, column b"),
    ],
)
def test_a_channel_that_is_no_number_is_named_with_its_row(
    name: str, value: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "new.json"
    path.write_text(f'[{{"id": "r", "a": 1, "b": {value}}}, {{"id": "r", "a": 2, "b": {value}}}]')
    with pytest.raises(DataError, match=message):
        gw.predict(STORED / name, path)
