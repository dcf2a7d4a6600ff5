"""`gatewright stream`: the answers of whole sequences, line by line, and refusals of bad lines."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gatewright as gw
from gatewright import cli
from gatewright.errors import ArgumentError, DataError
from gatewright.serve.lines import answer_lines
from served_models import PROSE, rows, saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streamed")


@pytest.fixture(scope="module")
def tag(folder: Path) -> Path:
    return saved("tag", folder)


def events(kind: str = "tag") -> dict[str, list[tuple[float, float]]]:
    """The events of each sequence of `rows`."""
    table = csv.DictReader(rows(kind, seed=5).splitlines())
    sequences: dict[str, list[tuple[float, float]]] = {}
    for row in table:
        sequences.setdefault(row["id"], []).append((float(row["force"]), float(row["angle"])))
    return sequences


def test_the_answers_are_those_of_predict_for_whole_sequences(tag: Path, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text(rows("tag", seed=5))
    expected = [
        [float(row["p_a"]), float(row["p_b"])]
        for row in csv.DictReader(gw.predict(tag, table).to_csv().splitlines())
    ]
    lines = []
    for sequence in events().values():
        lines += [f"{force},{angle}\r\n" for force, angle in sequence] + ["\n"]
    answers = list(answer_lines(tag, lines))
    measured = [[answer.probabilities[name] for name in "ab"] for answer in answers]
    np.testing.assert_allclose(measured, expected, atol=1e-6)
    lengths = [len(sequence) for sequence in events().values()]
    assert [answer.step for answer in answers] == [t + 1 for n in lengths for t in range(n)]


def test_all_forms_of_an_event_are_read_alike(tag: Path) -> None:
    (force, angle), *_ = events()["s0"]
    forms = {
        "numbers": [f"{force}, {angle}"],
        "list": [f"[{force}, {angle}]"],
        "semicolons": [f"{force};{angle}"],
        "decimal commas": [f"{force}; {angle}".replace(".", ",")],
        "names with semicolons": ["time;angle;force", f"7;{angle};{force}".replace(".", ",")],
        "object": [json.dumps({"angle": angle, "force": force})],
        "names": ["\N{BOM}time,angle,force", f"7,{angle},{force}"],
    }
    answers = {name: [a.as_json() for a in answer_lines(tag, form)] for name, form in forms.items()}
    assert len(answers["numbers"]) == 1
    assert all(form == answers["numbers"] for form in answers.values()), answers


def test_an_answer_comes_before_the_next_line_is_read(tag: Path) -> None:
    def lines():
        yield "0.1,0.2"
        raise AssertionError("the second line was read too early")

    assert next(answer_lines(tag, lines())).step == 1


def test_a_text_is_read_line_by_line(folder: Path) -> None:
    model = saved("counted text", folder)
    first, second = PROSE[:20], PROSE[20:50]
    together = list(answer_lines(model, [first + second]))
    *_, last = answer_lines(model, [first, second])
    assert last.step == together[0].step == 50
    assert last.probabilities == pytest.approx(together[0].probabilities, abs=1e-6)


def test_the_command_prints_a_table_or_json(tag: Path) -> None:
    text = "0.4,12.5\n0.6,11.0\n"
    table = CliRunner().invoke(cli.app, ["stream", str(tag)], input=text)
    names, *body = table.stdout.splitlines()
    assert names == "step,predicted,probability"
    result = CliRunner().invoke(cli.app, ["stream", str(tag), "--json"], input=text)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    for line, answer in zip(body, answers, strict=True):
        step, predicted, probability = line.split(",")
        assert (int(step), predicted) == (answer["step"], answer["predicted"])
        assert float(probability) == pytest.approx(max(answer["probabilities"].values()), rel=1e-5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.0", "line 2: it has 1 value; expected 2: force, angle"),
        ("1.0,much", "line 2: angle is 'much'; expected a number"),
        ("1.234,5;1", "line 2: force is '1.234,5'; expected a number without thousands marks"),
        ("nan,1.0", "line 2: the event has NaN; expected finite numbers"),
        ("[1.0]", r"line 2: the event is \[1.0\]; expected a list of 2 numbers"),
        ("[1.0,", "line 2: the message is not JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tag: Path, line: str, message: str) -> None:
    answers = answer_lines(tag, ["0.1,0.2", line])
    next(answers)
    with pytest.raises(DataError, match=message):
        next(answers)


def test_columns_that_are_missing_are_named(tag: Path) -> None:
    with pytest.raises(DataError, match="line 1: it names the columns force, angel; expected"):
        list(answer_lines(tag, ["force,angel"]))


def test_a_model_without_an_answer_after_an_event_is_refused(folder: Path) -> None:
    with pytest.raises(ArgumentError, match=r"whole window of past steps.*gatewright predict"):
        list(answer_lines(saved("forecast", folder), ["1.0"]))
