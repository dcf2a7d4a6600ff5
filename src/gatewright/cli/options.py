"""The options of the command line. An option has the same name and meaning in every command."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewright.names import comma_separated

Data = Annotated[
    str,
    typer.Argument(
        help="A file (.csv, .tsv, .parquet, .json, .jsonl, .ts, .tsf, any text), or a bundled "
        "data set: vowels, weather, prose.",
        show_default=False,
    ),
]
# A command with one cell takes --cells too, and one with several takes --cell.
Cell = Annotated[
    str | None,
    typer.Option(
        "--cell",
        "--cells",
        help="A cell that ships, or your own: my.py:MyCell.",
        show_default="gru",
    ),
]


def cells_option(default: str) -> Any:
    """The option for several cells; `default` is the text for its default."""
    return typer.Option(
        "--cells",
        "--cell",
        help="Cells, comma-separated: rnn,lstm,my.py:MyCell.",
        show_default=default,
    )


Out = Annotated[
    Path | None,
    typer.Option(help="A new directory for the result.", show_default="runs/DATA-DATE-TIME"),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="A .json or .toml file of settings, as gatewright tune writes. Other options win.",
        show_default="none",
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Train each network this many times.")]
FewSeeds = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Train this many networks; their mean is the model.",
        show_default="the budget's",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="How much to try and to train: quick, normal or thorough.", show_default="normal"
    ),
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes over the data.", show_default="the task's")
]
Hidden = Annotated[
    int | None,
    typer.Option(min=1, help="Units of each network.", show_default="from --parameters"),
]
Memory = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Start the networks with a memory of this many steps (gw.init.horizon_). "
        "To set how far a forecast looks ahead, use --horizon.",
        show_default="the cell's own start",
    ),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Read long sequences in chunks of this many steps: states are carried on, gradients "
        "end at each.",
        show_default="for tags only where they are long, for texts 128",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:N or mps; auto is a GPU, if there is one that is fast for the cell.",
        show_default="auto",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="Of the products while learning: float32, bfloat16 or float16.",
        show_default="float32",
    ),
]
_LONG = "Long runs"


def _long(*names: str, help: str, default: str | bool = False, **limits: Any) -> Any:
    return typer.Option(*names, help=help, show_default=default, rich_help_panel=_LONG, **limits)


Resume = Annotated[
    bool,
    _long("--resume", help="Go on with the run in --out; without --out, DATA is its directory."),
]
CheckpointEvery = Annotated[
    int | None,
    _long(help="Write a checkpoint after so many steps, too.", default="after epochs", min=1),
]
TimeLimit = Annotated[
    str | None,
    _long(help="Suspend the run after this time: 90s, 30m, 2h, 1d. Exit code 75.", default="none"),
]
Log = Annotated[
    str | None,
    _long(
        help="Log each epoch, comma-separated: csv, jsonl, tensorboard (in OUT/logs), stdout.",
        default="none",
    ),
]

_SHAPE = "Shape of the network"


def _shape(*names: str, help: str, default: str = "chosen on validation", **limits: Any) -> Any:
    return typer.Option(*names, help=help, show_default=default, rich_help_panel=_SHAPE, **limits)


Design = Annotated[
    str | None,
    _shape(help="A named shape: plain, untrained, both-ways or convolutional; see the docs."),
]
Streaming = Annotated[
    bool,
    typer.Option(
        "--streaming",
        help="Try only shapes that answer step by step.",
        rich_help_panel=_SHAPE,
    ),
]
Layers = Annotated[int | None, _shape(help="Recurrent layers.", min=1)]
Bidirectional = Annotated[
    bool | None,
    _shape("--bidirectional/--one-way", help="Read sequences from both ends."),
]
Readout = Annotated[
    str | None,
    _shape(help="What sums up the steps, comma-separated: last, mean, max, share, attention."),
]
Front = Annotated[
    str | None, _shape(help="Before the recurrent layers: convolution, dilated or none.")
]
Segment = Annotated[int | None, _shape(help="Steps that are read at once, as one event.", min=1)]


def design(
    name: str | None,
    layers: int | None,
    bidirectional: bool | None,
    readout: str | None,
    front: str | None,
    segment: int | None,
    base: Any = None,
) -> Any:
    """The `Design` of the options above, or None where none was given.

    Args:
        base: The design that they change, unless one is named; the plain one by default.
    """
    changes: dict[str, Any] = {
        "layers": layers,
        "bidirectional": bidirectional,
        "readout": None if readout is None else tuple(comma_separated(readout)),
        "front": front,
        "segment": segment,
    }
    changes = {field: value for field, value in changes.items() if value is not None}
    if name is None and not changes:
        return None
    from gatewright.designs.design import find_design

    return replace(find_design(name or base or "plain"), **changes)


Progress = Annotated[bool, typer.Option(help="Show a progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _reading(help: str, default: str) -> Any:
    return typer.Option(help=help, show_default=default, rich_help_panel="Reading the data")


Task = Annotated[str | None, _reading("forecast, classify, tag or next symbol.", "inferred")]
Target = Annotated[str | None, _reading("Columns to forecast, comma-separated.", "all")]
Time = Annotated[str | None, _reading("The column of times.", "inferred")]
Id = Annotated[str | None, _reading("The column that names the series of a row.", "inferred")]
Label = Annotated[str | None, _reading("The column of classes.", "inferred")]
Known = Annotated[str | None, _reading("Columns whose future is known, comma-separated.", "none")]
Static = Annotated[
    str | None, _reading("Columns that do not change over time, comma-separated.", "none")
]
Ignore = Annotated[str | None, _reading("Columns to leave out, comma-separated.", "none")]
Text = Annotated[str | None, _reading("Read a text as characters, bytes or pairs.", "characters")]
Fill = Annotated[
    str | None,
    _reading("How to fill missing values: linear, previous or drop.", "refuse them"),
]
Decimal = Annotated[str | None, _reading("The decimal mark: . or ,", "inferred")]
Thousands = Annotated[
    str | None, _reading("The mark between thousands: . or , or ' or a space.", "inferred")
]
Encoding = Annotated[
    str | None, _reading("The encoding of the file: utf-8, cp1252, ...", "inferred")
]
Timezone = Annotated[
    str | None,
    _reading(
        "The time zone of the times, if they observe summer time: Europe/Berlin, ...", "inferred"
    ),
]


def horizon_option(default: str) -> Any:
    """The option for the steps of a forecast; `default` is the text for its default."""
    return typer.Option(min=1, help="Steps that a forecast looks ahead.", show_default=default)


Horizon = Annotated[int | None, horizon_option("a season, or 8")]
Window = Annotated[
    int | None,
    typer.Option(min=1, help="Steps that a forecast reads.", show_default="4 horizons"),
]

#: The options that say how to read data and for which task, by their names in Python.
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
#: Those that take several names.
SEVERAL = ("target", "known", "static", "ignore")


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Add all options of `READING` to a command, which gets them as its `**reading`."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in READING.items()
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = {name: values.pop(name) for name in READING}
        command(**values, **reading(**options))

    # typer reads the options from the signature and the annotations.
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return run


def by_all_ranks(command: Callable[..., None]) -> Callable[..., None]:
    """Let the processes of torchrun perform a command together: the first one leads."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            command(**values)
            return
        from gatewright.training.ranks.jobs import joined

        with joined() as leads:
            if leads:
                command(**values)

    return run


def reading(**options: Any) -> dict[str, Any]:
    """The options above that were given, as arguments of `gatewright.data.read`."""
    return {
        name: comma_separated(value) if name in SEVERAL else value
        for name, value in options.items()
        if value is not None
    }


def new_run(name: str) -> Path:
    """The directory of a result for which no --out was given."""
    return Path("runs") / f"{Path(name).stem}-{datetime.now():%Y%m%d-%H%M%S}"
