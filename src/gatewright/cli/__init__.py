"""The command line: each command parses, then calls one function of the library.

`gatewright --help` must answer at once, so this module imports nothing heavy: what a
command needs (torch above all) it imports inside.

Exit codes: 0 done; 1 the self-test of `doctor` failed; 2 the request cannot be met, with
`error: ...` on stderr and nothing changed; 130 stopped by Ctrl-C. Anything else is a bug and
shows its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from gatewright.cli import bench, cells, doctor, memory, training
from gatewright.cli.app import app
from gatewright.cli.wording import on_screen
from gatewright.errors import GatewrightError

#: Errors of an output that takes no more.
UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)

__all__ = ["app", "bench", "cells", "doctor", "main", "memory", "training"]


def main() -> None:
    """Run the command line; the one place where an error becomes a message."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what is still held back is written, or fails, here
    except GatewrightError as error:
        print(f"error: {on_screen(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITTEN:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is tried
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gatewright {version('gatewright')}")
        raise typer.Exit()


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Options that stand before the command."""
