"""The application that the commands register with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: The commands in the order of --help, by panel.
PANELS = {
    "From data to a model": ("train", "compare", "tune"),
    "Use a model": ("predict", "sample", "stream", "serve", "export"),
    "Look inside": ("look", "cells", "memory"),
    "This machine": ("doctor", "bench"),
}


def _flags_without_type(parameters: list[Any]) -> list[Any]:
    """Let --help show no type for flags: `--json <bool>` looks as if it took a value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


class FlagCommand(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments."""
        return _flags_without_type(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """All commands, in the order of `PANELS`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options in front of a command."""
        return _flags_without_type(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return [name for names in PANELS.values() for name in names]


app = typer.Typer(
    name="gatewright",
    cls=CommandGroup,
    help="Inspect, train and compare recurrent cells that are written as their gates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a function as the command of its name."""
    panel = next(panel for panel, names in PANELS.items() if function.__name__ in names)
    return app.command(cls=FlagCommand, rich_help_panel=panel)(function)
