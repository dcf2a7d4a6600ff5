"""The command line: each command parses its options, then calls one function of the library.

`gatewright --help` must answer at once, so nothing heavy is imported here: a command imports
what it needs, torch above all, when it runs.

Exit codes: 0 done; 1 the self-test of `doctor` failed, or a kernel with `doctor --gpu`; 2 the
request cannot be met: `error: ...` on stderr, and nothing is changed; 75 a training reached its
--time-limit and can be resumed; 130 stopped by Ctrl-C; 143 stopped by SIGTERM. Anything else is a
bug and shows its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from gatewright.cli import bench, cells, doctor, export, look, memory, serve, stream, training, tune
from gatewright.cli.app import app
from gatewright.cli.wording import on_screen
from gatewright.errors import GatewrightError

#: Errors of an output that is full or broken.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)

__all__ = [
    "app",
    "bench",
    "cells",
    "doctor",
    "export",
    "look",
    "main",
    "memory",
    "serve",
    "stream",
    "training",
    "tune",
]


def main() -> None:
    """Run the command line. Only here does an error become a message."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # the buffered rest is written, or fails, here
    except GatewrightError as error:
        print(f"error: {on_screen(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        # The interpreter would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        print(f"gatewright {version('gatewright')}")
        raise typer.Exit()


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """The options in front of a command."""
