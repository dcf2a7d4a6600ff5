"""The application that the commands register with."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="gatewright",
    help="Recurrent cells, written as their gates: look at them, train them, compare them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
