"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[
    str,
    typer.Argument(
        help="A file (.csv, .tsv, .parquet, .json, .jsonl, .ts, .tsf, any text), or a bundled "
        "data set: "
        "vowels, weather, prose.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="A new directory for the result.", show_default="runs/DATA-DATE-TIME"),
]
Seeds = Annotated[int, typer.Option(min=1, help="Train each network this many times.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes over the data.", show_default="the task's")
]
Hidden = Annotated[
    int | None,
    typer.Option(min=1, help="Units of each network.", show_default="from a budget"),
]
Memory = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps back that a network starts to remember (gw.init.horizon_); "
        "--horizon is how far ahead a forecast looks.",
        show_default="as its cell starts",
    ),
]
Progress = Annotated[bool, typer.Option(help="Show a progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def _column(help: str) -> Any:
    return typer.Option(help=help, show_default="found", rich_help_panel="Reading the data")


def _columns(help: str) -> Any:
    return typer.Option(
        help=f"{help}, parted by commas.", show_default="none", rich_help_panel="Reading the data"
    )


Task = Annotated[str | None, _column("forecast, classify, tag or next symbol.")]
Target = Annotated[
    str | None,
    typer.Option(
        help="Columns to forecast, parted by commas.",
        show_default="all",
        rich_help_panel="Reading the data",
    ),
]
Time = Annotated[str | None, _column("The column of times.")]
Id = Annotated[str | None, _column("The column that tells series apart.")]
Label = Annotated[str | None, _column("The column of classes.")]
Known = Annotated[str | None, _columns("Columns whose future is known")]
Static = Annotated[str | None, _columns("Columns that do not change over time")]
Ignore = Annotated[str | None, _columns("Columns to leave out")]
Text = Annotated[str | None, _column("Read a text as characters or as bytes.")]
Fill = Annotated[
    str | None,
    typer.Option(
        help="What to do about what is missing: linear, previous or drop.",
        show_default="refuse it",
        rich_help_panel="Reading the data",
    ),
]


def _form(help: str) -> Any:
    return typer.Option(help=help, show_default="found", rich_help_panel="Reading the data")


Decimal = Annotated[str | None, _form("The decimal mark: . or a comma.")]
Thousands = Annotated[str | None, _form("The mark between thousands: . or , or a space or '.")]
Encoding = Annotated[str | None, _form("The encoding of the file: utf-8, cp1252, ...")]
Timezone = Annotated[
    str | None, _form("The zone whose clock, with summer time, the times show: Europe/Berlin, ...")
]

Horizon = Annotated[
    int | None,
    typer.Option(min=1, help="Of a forecast: steps to tell.", show_default="a season, or 8"),
]
Window = Annotated[
    int | None,
    typer.Option(min=1, help="Of a forecast: steps to read.", show_default="4 horizons"),
]

#: The options that say how to read data and for what, by their names in Python.
READING: dict[str, Any] = {
    "horizon": Horizon,
    "window": Window,
    "task": Task,
    "target": Target,
    "time": Time,
    "id": Id,
    "label": Label,
    "known": Known,
    "static": Static,
    "ignore": Ignore,
    "text": Text,
    "fill": Fill,
    "decimal": Decimal,
    "thousands": Thousands,
    "encoding": Encoding,
    "timezone": Timezone,
}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """A command with all options of `READING`, which arrive as its `**reading` where given."""
    own = inspect.signature(command, eval_str=True)
    plain = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in READING.items()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        asked = {name: given.pop(name) for name in READING}
        command(**given, **reading(**asked))

    run.__signature__ = own.replace(parameters=[*plain, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*plain, *more)}
    return run


def reading(**given: Any) -> dict[str, Any]:
    """What was given of the options above, as arguments of `gatewright.data.read`."""
    several = ("target", "known", "static", "ignore")
    return {
        name: parted(value) if name in several else value
        for name, value in given.items()
        if value is not None
    }


def parted(names: str) -> list[str]:
    """Names that were given parted by commas."""
    return [name for part in names.split(",") if (name := part.strip())]


def new_run(name: str) -> Path:
    """Where a result goes that was given no place."""
    return Path("runs") / f"{Path(name).stem}-{datetime.now():%Y%m%d-%H%M%S}"
