"""The command line: each command parses, then calls one function of the library.

`gatewright --help` must answer at once, so this module imports nothing heavy: what a
command needs (torch above all) it imports inside.

Exit codes: 0 done; 2 the request cannot be met, with `error: ...` on stderr and nothing
changed; 130 stopped by Ctrl-C. Anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from gatewright.cli import bench, cells, memory, training
from gatewright.cli.app import app
from gatewright.cli.wording import in_options
from gatewright.errors import GatewrightError

__all__ = ["app", "bench", "cells", "main", "memory", "training"]


def main() -> None:
    """Run the command line; the one place where an error becomes a message."""
    try:
        app()
    except GatewrightError as error:
        print(f"error: {in_options(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)


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
