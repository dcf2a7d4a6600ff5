"""The ends of a training that is not finished, on the command line: signals and the time limit."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatewright.cli.options import new_run
from gatewright.cli.wording import on_screen
from gatewright.errors import AlreadyFinished, GatewrightError, Suspended

#: The exit code at the time limit: `EX_TEMPFAIL` of sysexits.h, to be tried again later.
SUSPENDED = 75
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def run_directory(data: str, out: Path | None, *, resume: bool) -> tuple[Path, bool]:
    """The directory of a run: --out, or DATA where a run is resumed without --out, or a new one.

    Also whether it is the library's `out`: DATA is not.

    Raises:
        DataError: if there are no such data for a new run. It is called before torch is imported,
            which takes two seconds.
    """
    if not resume:
        from gatewright.data.reading import check_exists

        check_exists(data)
    if out is not None:
        return out, True
    return (Path(data), False) if resume else (new_run(data), True)


def data_of(directory: Path) -> str | None:
    """The data of the unfinished run in a directory, or None if there is none."""
    from gatewright.training.run import read_record

    try:
        _, record = read_record(directory)
    except GatewrightError:  # reported by the run itself
        return None
    return None if record is None else record.data


@contextmanager
def suspendable(command: str, directory: Path) -> Iterator[None]:
    """Let SIGTERM end a run with a checkpoint too, and print how to resume after every such end.

    Schedulers send SIGTERM and soon kill: nothing is measured or drawn after it. The same holds for
    the time limit. A run that is finished already is a success.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except AlreadyFinished as finished:
        _print(str(finished))
    except Suspended:
        _print("the time limit is over", command, directory)
        sys.exit(SUSPENDED)
    except KeyboardInterrupt:
        _print("stopped by Ctrl-C", command, directory)
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if end.code == TERMINATED:
            _print("stopped by SIGTERM", command, directory)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: Any) -> None:
    sys.exit(TERMINATED)


def _print(line: str, command: str = "", directory: Path | None = None) -> None:
    """Print on the error stream, with the way to resume if there is something to resume."""
    from gatewright.training.record import how_to_resume
    from gatewright.training.run import is_begun

    hint = how_to_resume(directory, command) if directory and is_begun(directory) else ""
    text = ". ".join(filter(None, [line, hint]))
    if text:
        print(on_screen(text), file=sys.stderr)
