"""Tables in files as offices and instruments write them: with lines and marks of other kinds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gatewright.data import Reading, Recordings, Series, Tagged, Text, read
from gatewright.errors import DataError

DAYS = [f"2024-01-{k:02d}" for k in range(1, 25)]
VALUES = [round(10.0 + 3.0 * np.sin(k / 3.0), 2) for k in range(24)]
ROWS = [f"{day},{value}" for day, value in zip(DAYS, VALUES, strict=True)]
TABLE = ["day,rain", *ROWS]
Load = Callable[..., Reading]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(lines: list[str], name: str = "table.csv") -> Reading:
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read(tmp_path / name)

    return load


def noted(reading: Reading, pattern: str) -> bool:
    return any(re.search(pattern, note) for note in reading.notes)


def series(reading: Reading) -> list[float]:
    assert isinstance(reading.data, Series)
    return [round(float(value), 2) for value in reading.data.values[0][:, 0]]


@pytest.mark.parametrize(
    ("lines", "note"),
    {
        "title": (["Rain in Kew", *TABLE], "first line comes before the header"),
        "comments": (["# Station, Kew", "# mm, a day", *TABLE], "first 2 lines come before"),
        "properties": (["Station,12", "Height,40", "", *TABLE], "first 3 lines come before"),
        "units": ([TABLE[0], ",mm", *ROWS], r"units .*row below .*\(mm\)"),
        "units of all": ([TABLE[0], "UTC,%", *ROWS], r"units .*\(UTC, %\)"),
        "names of two levels": (
            ["Price,Close", "Ticker,ABC", "Date,", *ROWS],
            r"in the 2 rows below .*Ticker, ABC, Date",
        ),
        "names of rows": ([TABLE[0], *(f"{k},{row}" for k, row in enumerate(ROWS))], "column 1"),
        "total": ([*TABLE, f"Total,{sum(VALUES)}"], "last row, Total, sums up others"),
        "notes": ([*TABLE, "", "Source: Office", "Note: provisional"], "last 2 lines are no"),
        "note": ([*TABLE, "* provisional"], "last line is no row"),
        "empty cells": ([*TABLE, ",", ","], "column day is the time"),
    }.values(),
)
def test_lines_around_a_table_are_left_out(lines: list[str], note: str, load: Load):
    reading = load(lines)
    assert series(reading) == VALUES
    assert noted(reading, note)


def test_rows_are_counted_as_an_editor_counts_them(load: Load):
    lines = ["Rain in Kew", "", "day,rain", ",mm", *ROWS]
    lines[10] = "2024-01-07,much"
    with pytest.raises(DataError, match="row 11, column rain: 'much' is not a number"):
        load(lines)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*TABLE[:9], "", *TABLE[9:]], "row 10 is empty"),
        ([*TABLE[:9], "2024-01-09", *TABLE[9:]], "row 10 has 1 cell; expected 2"),
        ([*TABLE, "2024-01-25,1,2"], "row 26 has 3 cells"),
        ([*TABLE[:9], "total,5", *TABLE[9:]], "row 10, column day: 'total' is not a time"),
    ],
)
def test_lines_that_may_be_rows_are_refused(lines: list[str], message: str, load: Load):
    with pytest.raises(DataError, match=message):
        load(lines)


def test_a_number_far_from_all_others_marks_a_missing_value(load: Load):
    values = [*map(str, VALUES)]
    values[5] = "-999"
    rows = [f"{day},{value}" for day, value in zip(DAYS, values, strict=True)]
    reading = load(["day,rain", *rows])
    assert noted(reading, "column rain: -999 is read as a missing value")
    assert series(reading)[5] == pytest.approx((VALUES[4] + VALUES[6]) / 2, abs=0.01)
    gains = [f"{day},{-999 if k == 5 else 400 * (-1) ** k}" for k, day in enumerate(DAYS)]
    assert series(load(["day,gain", *gains]))[5] == -999.0


def test_negative_numbers_in_brackets(load: Load):
    cells = [f"({-value:.0f})" if value < 0 else f"{value:.0f}" for value in range(-12, 12)]
    rows = [f"{day},{cell}" for day, cell in zip(DAYS, cells, strict=True)]
    assert series(load(["day,profit", *rows])) == [float(value) for value in range(-12, 12)]


@pytest.mark.parametrize(
    "times",
    [
        [f"{month}-{year}" for year in (22, 23) for month in ("Jan", "Mar", "May", "Jul")],
        [f"{month}/15/{year}" for year in (22, 23) for month in (1, 3, 5, 7)],
    ],
)
def test_columns_named_by_times_with_short_years(times: list[str], load: Load):
    reading = load(
        [
            f"shop,{','.join(times)}",
            *(f"s{k},{','.join(map(str, VALUES[k : k + 8]))}" for k in (0, 8)),
        ]
    )
    assert isinstance(reading.data, Series) and reading.data.ids == ("s0", "s8")
    assert str(reading.data.times[0][0])[:7] == "2022-01"


def test_recordings_in_rows_with_a_name_for_each(load: Load):
    steps = ",".join(f"t{k}" for k in range(12))
    rows = [f"r{k},{','.join(map(str, VALUES[k : k + 12]))},{'ab'[k % 2]}" for k in range(12)]
    reading = load([f"name,{steps},class", *rows])
    assert isinstance(reading.data, Recordings)
    assert [x.shape for x in reading.data.sequences] == [(12, 1)] * 12


def test_a_state_of_each_row_is_a_label(load: Load):
    rows = [f"{row},{int(k > 20)}" for k, row in enumerate(ROWS)]
    assert isinstance(load(["day,rain,fault", *rows]).data, Tagged)
    counts = [f"{row},{k % 4}" for k, row in enumerate(ROWS)]
    assert isinstance(load(["day,rain,fault", *counts]).data, Series)


def test_objects_in_records_are_columns(load: Load):
    records = [{"time": day, "values": {"rain": x}} for day, x in zip(DAYS, VALUES, strict=True)]
    reading = load([json.dumps(record) for record in records], "table.jsonl")
    assert isinstance(reading.data, Series) and reading.data.channels[0] == "values.rain"
    assert series(reading) == VALUES


def test_a_text_that_is_a_table_is_read_as_such(load: Load):
    for separator in ("\t", "   ", ";"):
        lines = [line.replace(",", separator) for line in TABLE]
        reading = load(lines, "table.txt")
        assert series(reading) == VALUES and noted(reading, "it is read as a table")
    verses = [f"Of all that was, of all that is, {k} was it." for k in range(40)]
    assert isinstance(load(verses, "verses.txt").data, Text)
