"""Logs of every epoch, without doubled ones after a training was resumed; curves of the losses."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import TextColumn

from gatewright.errors import ArgumentError, TrainingError
from gatewright.training.history import Epoch, History
from gatewright.training.job import TrainingJob
from gatewright.training.logs import check_kinds, open_logs
from gatewright.training.processes import progress
from gatewright.training.processes.chart import HEIGHT, can_draw, loss_chart
from gatewright.training.processes.progress import TrainingBar, progress_bar
from resumed import small_job
from tables import write_tables

KINDS = ["csv", "jsonl", "tensorboard"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    folder = tmp_path_factory.mktemp("data")
    write_tables(folder)
    return small_job(folder, "classes.csv", epochs=6)[0]


def epoch(number: int, seconds: float = 1.0) -> Epoch:
    return Epoch(number, 1.0 / number, 2.0 / number, {"accuracy": 0.1 * number}, 0.01, seconds)


def log(kinds: list[str], folder: Path, job: TrainingJob, numbers: range) -> None:
    with open_logs(kinds, folder) as logs:
        for number in numbers:
            for write in logs:
                write("trainings", job, epoch(number))


def read_back(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """By kind of log: (epoch, validation loss) of each line, in its order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = list(csv.DictReader(io.StringIO((folder / "epochs.csv").read_text())))
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    (directory,) = (folder / "tensorboard").iterdir()
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    scalars = events.Scalars("loss/validation")
    return {
        "csv": [(int(row["epoch"]), float(row["validation_loss"])) for row in rows],
        "jsonl": [(row["epoch"], row["validation_loss"]) for row in lines],
        "tensorboard": [(scalar.step, pytest.approx(scalar.value)) for scalar in scalars],
    }


@pytest.mark.filterwarnings("default")  # of TensorBoard itself
def test_a_log_goes_on_after_its_last_epoch(job: TrainingJob, tmp_path: Path) -> None:
    log(KINDS, tmp_path, job, range(1, 4))
    for name in ("epochs.csv", "epochs.jsonl"):  # a process that was killed while it wrote
        with open(tmp_path / name, "a") as file:
            file.write('{"half a li')
    log(KINDS, tmp_path, job, range(2, 6))  # its checkpoint was that of the first epoch
    expected = [(number, 2.0 / number) for number in range(1, 6)]
    assert all(expected == values for values in read_back(tmp_path).values())
    line = json.loads((tmp_path / "epochs.jsonl").read_text().splitlines()[-1])
    assert line == {
        "trainings": "trainings",
        "network": "gru",
        "seed": 0,
        "training": job.key,
        "epoch": 5,
        "epochs": 6,
        "train_loss": 0.2,
        "validation_loss": 0.4,
        "validation_accuracy": 0.5,
        "learning_rate": 0.01,
        "seconds": 1.0,
    }


def test_trainings_are_told_apart(job: TrainingJob, tmp_path: Path) -> None:
    log(["csv", "jsonl"], tmp_path, job, range(1, 3))
    log(["csv", "jsonl"], tmp_path, replace(job, seed=1), range(1, 3))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "epochs.csv").read_text())))
    assert [(row["seed"], row["epoch"]) for row in rows] == [
        ("0", "1"),
        ("0", "2"),
        ("1", "1"),
        ("1", "2"),
    ]


def test_standard_output_gets_one_line_of_json_for_each_epoch(
    job: TrainingJob, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_logs("stdout", None) as (write,):
        write("trainings", job, epoch(1))
        write("trainings", job, epoch(2))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]


def test_logs_that_cannot_be_are_refused(
    job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError, match="log is 'tensorbord'; did you mean tensorboard"):
        check_kinds("tensorbord")
    assert check_kinds(["csv", "csv", "jsonl"]) == ["csv", "jsonl"]
    for name, text in (("epochs.jsonl", "mine\n"), ("epochs.csv", "a,b\n1,2\n")):
        (tmp_path / name).write_text(text)
        kind = name.partition(".")[2]
        with pytest.raises(TrainingError, match="is not a log that this run wrote"):
            log([kind], tmp_path, job, range(1, 2))
        assert (tmp_path / name).read_text() == text
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write the log: File exists"):
        log(["csv"], tmp_path / "file", job, range(1, 2))
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ArgumentError, match=r"pip install 'gatewright\[tensorboard\]'"):
        check_kinds("tensorboard")


# The terminal.
def terminal(**options: Any) -> Console:
    settings: dict[str, Any] = {"force_terminal": True, "width": 80, "height": 30, **options}
    return Console(file=io.StringIO(), **settings)


def test_the_chart_has_each_curve_in_its_style() -> None:
    falling = [(number, 1.0 / number) for number in range(1, 9)]
    text = loss_chart([("cyan", falling), ("yellow", [(n, v + 1.0) for n, v in falling])], 10, 20)
    lines = text.plain.split("\n")
    assert len(lines) == HEIGHT and {len(line) for line in lines} == {len("0.125 ") + 20}
    assert lines[0].startswith("    2 ") and lines[-1].startswith("0.125 ")
    assert {"cyan", "yellow"} <= {str(span.style) for span in text.spans}
    # The falling curve begins above its end, and leaves the epochs to come empty.
    assert lines[0][6] != "⠀" and lines[-1][6] == "⠀" and all(line[-2:] == "⠀⠀" for line in lines)
    assert loss_chart([("cyan", [])], 10).plain == ""
    assert loss_chart([("cyan", [(1, 0.5), (2, float("nan"))])], 1).plain.count("\n") == HEIGHT - 1


def test_a_chart_is_drawn_where_the_terminal_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert can_draw(terminal())
    assert not can_draw(terminal(height=10))
    assert not can_draw(terminal(force_terminal=False))
    assert not can_draw(Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), force_terminal=True))
    monkeypatch.setenv("TERM", "dumb")
    assert not can_draw(terminal())


def test_the_bar_counts_epochs_and_trainings_and_draws_the_last_one(job: TrainingJob) -> None:
    console = terminal()
    live = progress._LiveProgress(
        TextColumn("{task.fields[ended]} {task.fields[loss]}"), console=console
    )
    bar = TrainingBar([job, replace(job, seed=1)], {"gru": 2.0}, live)
    bar.on_epoch(job, epoch(1))
    bar.on_epoch(job, epoch(2))
    assert live.tasks[0].completed == 4.0 and live.tasks[0].total == 24.0
    bar.on_end(replace(job, seed=1), History(train_loss=[0.5]))  # it had ended in an earlier run
    assert live.tasks[0].completed == 16.0 and live.tasks[0].fields["ended"] == 1
    console.print(*live.get_renderables())
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search("[⠁-⣿]", printed) and "loss of gru, seed 0: " in printed


def test_nothing_is_shown_where_no_bar_is_asked_for(
    job: TrainingJob, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar([job], {"gru": 1.0}, shown=False) as bar:
        bar.on_epoch(job, epoch(1))
        bar.on_end(job, History())
    assert capsys.readouterr() == ("", "")
