"""Data that cannot be used are refused with the place of the fault and a remedy."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gatewright.data import Series, read
from gatewright.data.formats import csv_file
from gatewright.errors import ArgumentError, DataError, GatewrightError

DAYS = "day,x\n2024-01-01,1\n2024-01-02,2\n"
LABELLED = "id,x,label\n1,5,a\n1,6,a\n2,7,b\n2,8,b\n"


def refused(source: object, **options: object) -> str:
    with pytest.raises(GatewrightError) as raised:
        read(source, **options)
    assert isinstance(raised.value, DataError | ArgumentError)
    return str(raised.value)


FAULTS = {
    "empty file": ("a.csv", b"", "a.csv is empty; expected data"),
    "blank lines": ("a.csv", b"\n\r\n\n", "only empty lines"),
    "only a header": ("a.csv", b"day,x\n", r"header \(day, x\) and no rows; expected data below"),
    "no header": ("a.csv", b"1,2\n3,4\n", "row 1 has 1, 2, which are values.*add a first row"),
    "name twice": ("a.csv", b"x,y,x\n1,2,3\n", "two columns called 'x', number 1 and number 3"),
    "text among numbers": (
        *("a.csv", b"t,x\n1,5\n2,oops\n3,6\n4,7\n"),
        "row 3, column x: 'oops' is not a number",
    ),
    "digits that only Python reads": (
        *("a.csv", b"t,x\n1,5\n2,1_000\n3,6\n"),
        "row 3, column x: '1_000' is not a number",
    ),
    "other digits": ("a.csv", "t,x\n1,5\n2,١٢\n3,6\n".encode(), "row 3, column x: .* not a number"),
    "missing": ("a.csv", b"t,x\n1,5\n2,\n3,6\n", "row 3, column x: the value is missing.*fill="),
    "NaN": ("a.csv", b"t,x\n1,5\n2,NaN\n3,6\n", "row 3, column x: the value is missing.*fill="),
    "infinity": ("a.csv", b"t,x\n1,5\n2,-inf\n", "row 3, column x: -inf is not a finite.*fill="),
    "huge number": (
        "a.csv",
        b"t,x\n1,5\n2,2e30\n",
        "row 3, column x: '2e30' is too large.*1e.30",
    ),
    "endless number": ("a.csv", b"t,x\n1,5\n2,1e999\n", "row 3, column x: '1e999' is too large"),
    "one row": ("a.csv", b"t,x\n1,5\n", "one step in each series; expected at least two"),
    "row too short": ("a.csv", b"t,x\n1,5\n2\n", "row 3 has 1 cell; expected 2, as in the header"),
    "empty row": ("a.csv", b"t,x\n1,5\n\n3,4\n", "row 3 is empty; remove the line"),
    "open quote": ("a.csv", b't,x\n1,5\n2,"6\n', r"row 3 .*check the quotes"),
    "no letter": ("a.csv", b"t,x\n1,5\n2,\x81\n", r"line 3: byte 0x81 at position 10 .*UTF-8"),
    "UTF-16 without its mark": ("a.csv", b"\xe9\x00t\x00", "line 1: byte 0xe9 at position 0 is no"),
    "a workbook": ("a.csv", b"PK\x03\x04\x14\x00\x08\x08\xff", "Excel workbook: save .* as CSV"),
    "duplicate time": (
        *("a.csv", b"day,x\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n"),
        "row 4, column day: 2024-01-02 is in row 3 already; keep one",
    ),
    "unsorted": (
        *("a.csv", b"step,x\n2,1\n1,2\n3,2\n"),
        "row 3, column step: 1 comes after 2 in row 2; sort the rows.*, or .*id=",
    ),
    "several series unnamed": (
        *("a.csv", b"day,town,x\n2024-01-01,a,1\n2024-01-01,b,2\n2024-01-02,a,3\n"),
        r"row 3, column day: .*in row 2 already.*with id= .*\(is it town\?\)",
    ),
    "gap": (
        *("a.csv", b"day,x\n2024-01-01,1\n2024-01-02,2\n2024-01-05,3\n2024-01-06,3\n"),
        r"row 4, column day: 2 steps of 1 day are missing between 2024-01-02 \(row 3\) and "
        "2024-01-05; add the rows, .* fill=",
    ),
    "zones mixed": (
        *("a.csv", b"time,x\n2024-01-01T00:00Z,1\n2024-01-01T01:00,2\n"),
        "row 3, column time: has no time zone and other times have one",
    ),
    "day or month": ("a.csv", b"day,x\n1/2/2024,1\n2/2/2024,2\n", "row 2, .*month/day/year or day"),
    "no such day": (
        *("a.csv", b"day,x\n2024-02-28,1\n2024-02-30,2\n"),
        "row 3, column day: '2024-02-30' is not a time",
    ),
    "date in no known form": ("a.csv", b"date,x\nsoon,1\nlater,2\n", "date .* has 'soon', which"),
    "missing time": ("a.csv", b"day,x\n2024-01-01,1\n,2\n", "row 3, column day: the time is miss"),
    "one class": ("a.csv", b"id,x,label\n1,5,a\n1,6,a\n2,7,a\n2,7,a\n", "only one class, a"),
    "missing label": (
        *("a.csv", b"id,x,label\n1,5,a\n1,6,a\n2,7,b\n2,8,b\n3,1,\n3,1,\n"),
        "row 6, column label: the label of 3 is missing",
    ),
    "text is not UTF-8": ("a.txt", b"abc\nd\x81", "line 2: byte 0x81 at position 5"),
    "text with NUL": ("a.txt", b"a\x00b\x00", "NUL at position 1: it is UTF-16"),
    "no gzip": ("a.csv.gz", b"day,x\n1,2\n", "damaged or not a gzip file"),
    "no Parquet": ("a.parquet", b"day,x\n1,2\n3,4\n", "a.parquet cannot be read as a table"),
    "ts: length zero": (
        "a.ts",
        b"@classLabel true a b\n@data\n1,2::a\n",
        "line 3: channel 2 is emp",
    ),
    "ts: no data": ("a.ts", b"@classLabel true a b\n@data\n", "no case after @data"),
    "ts: no @data": ("a.ts", b"@classLabel true a b\n", "ends without the line @data"),
    "ts: channels": (
        "a.ts",
        b"@dimensions 2\n@data\n1,2:3,4\n1,2\n",
        "line 4 has 1 channels; .* 2",
    ),
    "ts: steps of channels": (
        "a.ts",
        b"@data\n1,2:3\n",
        "line 2: channel 2 has 1 steps and channel",
    ),
    "ts: length": ("a.ts", b"@equalLength true\n@data\n1,2\n1\n", "line 4 has 1 steps; expected 2"),
    "ts: label": (
        "a.ts",
        b"@classLabel true a b\n@data\n1:a\n1:c\n",
        "line 4: the label 'c' is not among",
    ),
    "ts: text": ("a.ts", b"@data\n1,2\n1,x\n", "line 3, channel 1, step 2: 'x' is not a number"),
    "ts: missing": ("a.ts", b"@data\n1,2:3,?\n", "line 2, channel 2, step 2: the value is missing"),
    "ts: one class": ("a.ts", b"@classLabel true a b\n@data\n1:a\n2:a\n", "only one class, a"),
    "ts: unknown tag": ("a.ts", b"@foo\n@data\n1\n", "line 1: the tag @foo is not known"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_message_has_the_place_and_a_remedy(fault: str, tmp_path: Path):
    name, content, expected = FAULTS[fault]
    path = tmp_path / name
    path.write_bytes(content)
    message = refused(path)
    assert re.search(expected, message), message
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (DAYS, {"target": "X"}, "has no column 'X', asked for as target.*: day, x.*mean x?"),
        (DAYS, {"time": "date"}, "has no column 'date', asked for as time"),
        (DAYS, {"target": "x", "known": "x"}, "column x is given as target and as known"),
        (DAYS, {"known": "x"}, "every channel .* is known: nothing is left to forecast"),
        (DAYS, {"ignore": "x"}, "no column of numbers to learn from"),
        (DAYS, {"task": "classify"}, "no column .* looks like a label.* label="),
        (
            DAYS,
            {"task": "clasify"},
            "task is 'clasify'; did you mean classify. expected one of 'forecast'",
        ),
        (DAYS, {"fill": "mean"}, "fill is 'mean'; expected one of"),
        (DAYS, {"time": "x", "target": "day"}, "row 2, column day: '2024-01-01' is not a number"),
        (LABELLED, {"task": "forecast", "label": "label"}, "does not go with the task forecast"),
        (LABELLED, {"label": "label", "target": "x"}, "exclude each other"),
        (LABELLED, {"task": "classify", "ignore": "id"}, "which rows form one sequence.*id="),
        (LABELLED, {"static": "x", "ignore": "label"}, "no column of numbers"),
        (
            "id,t,x,s\n1,1,5,a\n1,2,6,b\n",
            {"static": "s", "time": "t"},
            "row 3, column s: a static column changes within 1",
        ),
        (
            LABELLED.replace("6,a", "6,b"),
            {"task": "classify"},
            "row 3, column label: sequence 1 has the label b here and a in row 2",
        ),
        ("t,x\n1,\n2,5\n", {"fill": "previous"}, "row 2, column x: .*no value before it"),
        ("t,x,y\n1,,2\n2,,3\n", {"fill": "linear", "target": "x"}, "row 2, .*no value at all"),
        ("t,x,y\n1,,2\n2,1,\n", {"fill": "drop"}, "a sequence of length zero"),
        (
            "day,x\n2024-01-01,1\n2024-01-02,1\n2094-01-01,2\n",
            {"fill": "linear"},
            "row 4, .*25566 steps of 1 day are missing.*at most 10 times.*is a time wrong",
        ),
        ("t,x,p\n1,1,1\n2,2,2\n3,,\n", {"known": "p", "target": "x"}, "row 4, .*of the future"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    text: str, options: dict, expected: str, tmp_path: Path
):
    path = tmp_path / "a.csv"
    path.write_text(text)
    message = refused(path, **options)
    assert re.search(expected, message), message


def test_a_fault_far_down_is_found(tmp_path: Path):
    path = tmp_path / "a.csv"
    rows = [f"{at},{at}" for at in range(9000)]
    rows[8765] = "8765,oops"
    path.write_text("t,x\n" + "\n".join(rows))
    assert "row 8767, column x: 'oops' is not a number" in refused(path)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text(DAYS)
    load = csv_file.CsvFile.load

    def load_slowly(self, kinds):
        with open(path, "a") as file:
            file.write("2024-01-03,3\n")
        return load(self, kinds)

    monkeypatch.setattr(csv_file.CsvFile, "load", load_slowly)
    message = refused(path)
    assert "changed while it was read, from 32 to 45 bytes; read it again" in message


def test_sources_that_are_not_files_are_refused(tmp_path: Path):
    assert "there is no file 'wether', and no bundled data set" in refused("wether")
    assert "is a directory; expected a file" in refused(tmp_path)
    fifo = tmp_path / "pipe.csv"
    os.mkfifo(fifo)
    assert "not a regular file" in refused(fifo)
    assert r"there is no file 'a\nb.csv'" in refused("a\nb.csv")
    assert "there is no file" in refused("a\0b.csv")
    assert "are of type int; expected a path" in refused(5)


def test_a_bundled_set_is_for_its_task():
    assert "the task forecast does not go with the bundled data set vowels" in refused(
        "vowels", task="forecast"
    )
    assert "target='x' was given, but the bundled data set prose is a text" in refused(
        "prose", target="x"
    )
    assert "has no column 'temp', asked for as target" in refused("weather", target="temp")


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (pd.DataFrame({"x": [1.0, np.inf, 2.0]}), r"row 1 counted from 0, column x: inf"),
        (pd.DataFrame({"x": [1, 2, None]}), r"row 2 .*column x: the value is missing"),
        (pd.DataFrame({"x": [1.0, 1e300]}), r"row 1 .*column x: 1e\+300 is too large"),
        (pd.DataFrame({"x": []}), "has the columns x and no rows"),
        (pd.DataFrame(), "has no columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "cannot be read as a table|two columns"),
        (
            pd.DataFrame({"t": np.array(["1500-01-01", "2024-01-01"], "M8[s]"), "x": [1, 2]}),
            r"row 0 .*column t: 1500-01-01T00:00:00 is out of range; expected a year from 1678",
        ),
    ],
)
def test_dataframes_are_refused_with_the_same_care(frame: pd.DataFrame, expected: str):
    message = refused(frame)
    assert re.search(expected, message), message


def test_a_series_checks_its_parts():
    good = {
        "ids": ("a",),
        "times": (np.arange(3),),
        "values": (np.ones((3, 2)),),
        "channels": ("x", "y"),
    }
    Series(**good)
    for wrong, expected in [
        ({"values": (np.array([[1, 2], [3, np.nan], [5, 6]]),)}, "nan at step 1, channel 1"),
        ({"values": (np.ones((3, 1)),)}, r"shape \(3, 1\); expected \(time, 2\)"),
        ({"values": (np.ones((4, 2)),)}, "4 steps and times of shape"),
        (
            {"times": (np.array([0, 2, 1]),)},
            "do not increase: step 1 is at 2 and the next one at 1",
        ),
        ({"channels": ("x", "x")}, "the channel x twice"),
        ({"targets": ("z",)}, "no channel z, which is listed as target"),
        ({"known": ("x", "y")}, "nothing is left to forecast"),
        ({"targets": ("x",), "known": ("x",)}, "is a target and its future is known"),
        ({"ids": ("a", "b")}, "2 ids, 1 arrays of times"),
        ({"static": np.ones((2, 1)), "static_names": ("s",)}, r"expected \(1, 1\)"),
        ({"steps_a_season": 0}, "expected at least 1"),
    ]:
        with pytest.raises(DataError, match=expected):
            Series(**{**good, **wrong})


@pytest.mark.parametrize(
    "options",
    [
        {"time": []},
        {"time": 3},
        {"id": {}},
        {"label": ["a"]},
        {"target": 3},
        {"known": [1]},
        {"task": []},
        {"fill": {}},
    ],
    ids=str,
)
def test_options_of_a_wrong_type_are_refused(options: dict, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("t,y\n" + "".join(f"{at},{at % 5}\n" for at in range(30)))
    with pytest.raises(ArgumentError):
        read(file, **options)


def test_an_empty_path_is_not_the_current_directory() -> None:
    with pytest.raises(DataError, match="the path is empty"):
        read("")
