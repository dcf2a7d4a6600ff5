"""The directory of a run: the settings that it was begun with, and the files of its trainings.

While a run is not finished, `DIR/unfinished` is in the directory that the user named, since that
is the one that is mounted, copied or looked at:

    unfinished/run.json                      data, settings and decisions, with a checksum
    unfinished/gru-seed0-KEY.safetensors     one file a training: its state, later its outcome

DIR is a model only when it has config.json; at the end of the run `unfinished` is removed. One
process at a time has the run: a lock that ends with that process and those that train for it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from gatewright.errors import AlreadyFinished, ArgumentError
from gatewright.files import check_vacant, open_lock, remove_file, replace_file, sweep, user_path
from gatewright.layers.saving import CONFIG, RUN, UNFINISHED, leftover
from gatewright.training.job import TrainingJob
from gatewright.training.record import RunRecord, check_same, how_to_resume

#: Seconds to wait for the processes of a run that was just killed to write their last checkpoint.
PATIENCE_S = 10.0


class OpenRun:
    """A run that is not finished, in its directory.

    Args:
        target: The directory that the user named.
        lock: The descriptor of the lock that this process holds; None where there are no locks.
        every: Steps after which a training writes a checkpoint inside an epoch.
    """

    def __init__(
        self, target: Path, command: str, lock: int | None, every: int | None = None
    ) -> None:
        self.target = target
        self.command = command
        self.lock = lock
        self.every = every

    @property
    def folder(self) -> Path:
        """The folder of what is not finished."""
        return self.target / UNFINISHED

    def file_of(self, job: TrainingJob) -> Path:
        """The file of a training's state or outcome."""
        return self.folder / f"{job.network}-seed{job.seed}-{job.key}.safetensors"

    def how_to_resume(self) -> str:
        """A sentence for the user."""
        return how_to_resume(self.target, self.command)

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Add to the error of a result that cannot be written how to go on from the trainings.

        Raises:
            ArgumentError: with both.
        """
        try:
            yield
        except ArgumentError as error:
            raise ArgumentError(
                f"{str(error).rstrip('.')}. The trainings are kept. {self.how_to_resume()}"
            ) from error

    def finish(self) -> None:
        """Remove what is not needed any more: the directory holds a finished model."""
        # First the record: without it nothing can be resumed by half.
        remove_file(self.folder / RUN)
        shutil.rmtree(self.folder, ignore_errors=True)


def is_begun(directory: Path) -> bool:
    """Tell if a directory holds an unfinished run."""
    return (directory / UNFINISHED / RUN).exists()


def read_record(directory: str | os.PathLike[str]) -> tuple[Path, RunRecord | None]:
    """The resolved directory, and the record of its run; None if nothing was begun there.

    Raises:
        AlreadyFinished: if the directory holds a finished model.
        ModelError: if the record is damaged.
        ArgumentError: if the directory holds something else.
    """
    target = Path(os.path.realpath(user_path(directory)))
    if is_begun(target):
        return target, RunRecord.read(target / UNFINISHED / RUN)
    if (target / CONFIG).exists():
        _remove_checkpoints(target / UNFINISHED)  # a kill left them, after their record
        raise AlreadyFinished(
            f"{os.fspath(directory)} is finished: it holds a trained model, and nothing is left "
            "to be resumed"
        )
    return target, None


def _remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that is finished, and their folder if it is empty then."""
    with suppress(OSError):
        sweep(folder)
        for path in folder.glob("*.safetensors"):
            path.unlink()
        folder.rmdir()


def check_no_run(directory: str | os.PathLike[str]) -> Path:
    """Return the resolved path where a new run can begin.

    Raises:
        ArgumentError: if it is not vacant, and how to go on if it holds an unfinished run.
    """
    target = Path(os.path.realpath(user_path(directory)))
    try:
        holds_run = is_begun(target)
        if not holds_run and (target / UNFINISHED).is_dir():
            # What is left where a run was killed while it began.
            sweep(target / UNFINISHED)
            with suppress(OSError):
                (target / UNFINISHED).rmdir()
        is_left_over = (target / UNFINISHED).is_dir() and not (target / CONFIG).exists()
    except OSError:
        holds_run = is_left_over = False  # `check_vacant` names the reason
    if holds_run:
        command = RunRecord.read(target / UNFINISHED / RUN).command
        raise ArgumentError(
            f"{os.fspath(directory)} holds an unfinished training. "
            f"{how_to_resume(target, command)}, or name another directory"
        )
    if is_left_over and not holds_run:
        raise ArgumentError(leftover(target))
    return check_vacant(directory)


@contextmanager
def open_run(
    target: Path, record: RunRecord | None, now: RunRecord, every: int | None
) -> Iterator[OpenRun]:
    """Begin a run in a vacant directory, or open one that was begun earlier; hold its lock.

    A run that begins, and fails before anything is kept, leaves nothing.

    Args:
        record: That of the earlier run, or None to begin one.
        now: The record of what is to be done.

    Raises:
        ArgumentError: if another process has the run, if it was begun with other data or settings,
            or if nothing can be written there.
    """
    folder = target / UNFINISHED
    was_there = target.exists()
    with ExitStack() as stack:
        try:
            if record is None:
                folder.mkdir(parents=True, exist_ok=True)
                lock = _lock(stack, target)
                replace_file(folder / RUN, now.to_bytes())
            else:
                check_same(record, now, target)
                lock = _lock(stack, target)
                if record.data != now.data:  # the next resumption finds them by the new name
                    moved = replace(record, data=now.data)
                    replace_file(folder / RUN, moved.to_bytes())
                sweep(folder)
                sweep(target)
        except OSError as error:
            raise ArgumentError(f"cannot write in {folder}: {error.strerror or error}") from error
        run = OpenRun(target, now.command, lock, every)
        try:
            yield run
        except BaseException:
            if record is None and not any(folder.glob("*.safetensors")):
                with suppress(ArgumentError):  # the first error is the one to report
                    run.finish()  # nothing was kept
                if not was_there:
                    with suppress(OSError):  # the user may have put something there
                        target.rmdir()
            raise


def _lock(stack: ExitStack, target: Path) -> int | None:
    """The descriptor of the lock on a run, held until the stack ends; None without locks."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        attempt = stack.enter_context(ExitStack())
        taken, descriptor = attempt.enter_context(open_lock(target / UNFINISHED))
        if taken or taken is None:
            return descriptor
        attempt.close()
        if time.monotonic() > deadline:
            raise ArgumentError(
                f"{target} is in use: another process trains there. Wait for its end, or stop it"
            )
        time.sleep(0.05)
