"""Logs of every epoch: as CSV, as lines of JSON, for TensorBoard, and on standard output.

A log that is opened again goes on after its last epoch of each training: a resumed training
repeats the epochs after its checkpoint, to the bit, and they are not logged twice.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from gatewright.errors import ArgumentError, TrainingError
from gatewright.names import did_you_mean
from gatewright.training.history import Epoch
from gatewright.training.job import TrainingJob
from gatewright.training.session import Log

#: The folder of the logs in the directory of a run.
LOGS = "logs"
KINDS = ("csv", "jsonl", "tensorboard", "stdout")


def check_kinds(kinds: str | Sequence[str]) -> list[str]:
    """The kinds of logs that are asked for.

    Raises:
        ArgumentError: if there is no such kind, or TensorBoard is not installed.
    """
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    for name in names:
        if name not in KINDS:
            raise ArgumentError(
                f"log is {name!r}; {did_you_mean(name, KINDS)}expected {', '.join(KINDS)}"
            )
    if "tensorboard" in names:
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise ArgumentError(
                "log is tensorboard, which is not installed; pip install 'gatewright[tensorboard]'"
            ) from None
    return list(dict.fromkeys(names))


@contextmanager
def open_logs(kinds: str | Sequence[str], folder: Path | None) -> Iterator[list[Log]]:
    """Open logs in a folder, to be called after every epoch.

    Raises:
        TrainingError: where a log cannot be read or written.
    """
    names = check_kinds(kinds)
    with ExitStack() as stack:
        try:
            logs = [stack.enter_context(_opened(name, folder)) for name in names]
        except OSError as error:
            raise _unwritten(error) from error
        yield [_reported(log) for log in logs]


def row_of(what: str, job: TrainingJob, epoch: Epoch) -> dict[str, Any]:
    """The fields of a log's line."""
    return {
        "trainings": what,
        "network": job.network,
        "seed": job.seed,
        "training": job.key,
        "epoch": epoch.number,
        "epochs": job.recipe.epochs,
        "train_loss": epoch.train_loss,
        "validation_loss": epoch.validation_loss,
        **{f"validation_{name}": value for name, value in epoch.validation.items()},
        "learning_rate": epoch.learning_rate,
        "seconds": epoch.seconds,
    }


def _opened(name: str, folder: Path | None) -> Any:
    if name == "stdout":
        return _open_stdout()
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    return {"csv": _open_csv, "jsonl": _open_jsonl, "tensorboard": _open_tensorboard}[name](folder)


def _reported(log: Log) -> Log:
    """The same log, whose failure to write is reported as an error of the training."""

    def write(what: str, job: TrainingJob, epoch: Epoch) -> None:
        try:
            log(what, job, epoch)
        except OSError as error:
            raise _unwritten(error) from error

    return write


def _unwritten(error: OSError) -> TrainingError:
    return TrainingError(f"cannot write the log: {error.strerror or error}")


@contextmanager
def _open_stdout() -> Iterator[Log]:
    stream = sys.stdout  # before a progress bar puts its own in its place

    def write(what: str, job: TrainingJob, epoch: Epoch) -> None:
        print(json.dumps(row_of(what, job, epoch)), file=stream, flush=True)

    yield write


@contextmanager
def _open_lines(path: Path) -> Iterator[tuple[IO[str], str]]:
    """Open a file to append whole lines; yields it and its lines so far."""
    with open(path, "a+", encoding="utf-8", newline="") as file:
        file.seek(0)
        text = file.read()
        whole = text[: text.rfind("\n") + 1]  # a process that was killed may leave half a line
        file.seek(0)
        file.truncate(len(whole.encode()))
        yield file, whole


class _Logged:
    """The last epoch that was logged of each training."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self.last: dict[str, int] = {}
        for row in rows:
            self.last[row["training"]] = int(row["epoch"])

    def is_new(self, job: TrainingJob, epoch: Epoch) -> bool:
        """Note an epoch; False if it was logged before."""
        if epoch.number <= self.last.get(job.key, 0):
            return False
        self.last[job.key] = epoch.number
        return True


@contextmanager
def _open_jsonl(folder: Path) -> Iterator[Log]:
    path = folder / "epochs.jsonl"
    with _open_lines(path) as (file, text):
        try:
            logged = _Logged(json.loads(line) for line in text.splitlines())
        except (ValueError, KeyError, TypeError) as error:
            raise _foreign(path) from error

        def write(what: str, job: TrainingJob, epoch: Epoch) -> None:
            if logged.is_new(job, epoch):
                file.write(json.dumps(row_of(what, job, epoch)) + "\n")
                file.flush()

        yield write


@contextmanager
def _open_csv(folder: Path) -> Iterator[Log]:
    path = folder / "epochs.csv"
    with _open_lines(path) as (file, text):
        reader = csv.DictReader(io.StringIO(text))
        try:
            logged = _Logged(reader)
        except (ValueError, KeyError, TypeError) as error:
            raise _foreign(path) from error
        columns = list(reader.fieldnames or ())

        def write(what: str, job: TrainingJob, epoch: Epoch) -> None:
            if not logged.is_new(job, epoch):
                return
            row = row_of(what, job, epoch)
            is_first = not columns
            if is_first:
                columns.extend(row)
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            if is_first:
                writer.writeheader()
            writer.writerow(row)
            file.flush()

        yield write


def _foreign(path: Path) -> TrainingError:
    return TrainingError(f"{path} is not a log that this run wrote; move it away")


@contextmanager
def _open_tensorboard(folder: Path) -> Iterator[Log]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, Any] = {}
    last: dict[str, int] = {}

    def opened(job: TrainingJob) -> Any:
        directory = folder / "tensorboard" / f"{job.network}-seed{job.seed}-{job.key[:6]}"
        if directory.is_dir():
            earlier = EventAccumulator(str(directory), size_guidance={"scalars": 1})
            earlier.Reload()
            if "loss/validation" in earlier.Tags()["scalars"]:
                last[job.key] = earlier.Scalars("loss/validation")[-1].step
        return SummaryWriter(str(directory))

    def write(what: str, job: TrainingJob, epoch: Epoch) -> None:
        if job.key not in writers:
            writers[job.key] = opened(job)
        if epoch.number <= last.get(job.key, 0):
            return
        writer = writers[job.key]
        writer.add_scalar("loss/training", epoch.train_loss, epoch.number)
        for name, value in epoch.validation.items():
            writer.add_scalar(f"validation/{name}", value, epoch.number)
        writer.add_scalar("learning rate", epoch.learning_rate, epoch.number)
        # The last, by which an epoch counts as logged.
        writer.add_scalar("loss/validation", epoch.validation_loss, epoch.number)
        writer.flush()

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()
