"""The application that the commands register with."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="gatewright",
    help="Inspect, train and compare recurrent cells that are written as their gates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
