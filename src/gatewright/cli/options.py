"""The options of the command line. An option has the same name and meaning in every command."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from gatewright.errors import ArgumentError
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
_TRAINING = "Training"
Distil = Annotated[
    bool,
    typer.Option(
        "--distil",
        help="Keep one network that the mean of all seeds has taught.",
        rich_help_panel=_TRAINING,
    ),
]
Memory = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Start the networks with a memory of this many steps (gw.init.horizon_). "
        "To set how far a forecast looks ahead, use --horizon.",
        show_default="the cell's own start",
        rich_help_panel=_TRAINING,
    ),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps that gradients reach back. Long sequences are read in chunks: states are "
        "carried from one to the next, gradients are not.",
        show_default="all; 128 for texts, 500 for long tagged sequences",
        rich_help_panel=_TRAINING,
    ),
]
Recompute = Annotated[
    str | None,
    typer.Option(
        metavar="STEPS",
        help="Keep the state after every so many steps, and compute what is between again for the "
        "gradients: little memory for long sequences. auto is the square root of the steps.",
        show_default="keep all",
        rich_help_panel=_TRAINING,
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
        help="The numbers in matrix products while learning: float32, bfloat16 or float16.",
        show_default="float32",
        rich_help_panel=_TRAINING,
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
    _long(help="Also write a checkpoint after every so many steps.", default="after epochs", min=1),
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
Hidden = Annotated[int | None, _shape(help="Units of each network.", default="the task's", min=1)]
Parameters = Annotated[
    int | None,
    _shape(help="Parameters that each network may have.", default="the task's", min=1),
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


#: The options that make a `Design`, by its fields; "design" is its name.
SHAPE: dict[str, Any] = {
    "design": Design,
    "layers": Layers,
    "bidirectional": Bidirectional,
    "readout": Readout,
    "front": Front,
    "segment": Segment,
}
#: The options that say how gradients are computed, and where.
COMPUTING: dict[str, Any] = {
    "chunk": Chunk,
    "recompute": Recompute,
    "device": Device,
    "precision": Precision,
}
#: The options of the networks and of their training that train and compare share.
TRAINING: dict[str, Any] = {
    "budget": Budget,
    "epochs": Epochs,
    **SHAPE,
    "streaming": Streaming,
    "hidden": Hidden,
    "memory": Memory,
    **COMPUTING,
}
#: The options of long runs.
LONG: dict[str, Any] = {
    "resume": Resume,
    "checkpoint_every": CheckpointEvery,
    "time_limit": TimeLimit,
    "log": Log,
}


def design(values: Mapping[str, Any], base: Any = None) -> Any:
    """The `Design` of the options of `SHAPE`, or None where none of them was set.

    Args:
        values: The options that were set, by name.
        base: The design that they change, unless one is named; the plain one by default.
    """
    changes = {name: values[name] for name in SHAPE if values.get(name) is not None}
    if not changes:
        return None
    from gatewright.designs.design import find_design

    name = changes.pop("design", None)
    if "readout" in changes:
        changes["readout"] = tuple(comma_separated(changes["readout"]))
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
    _reading("How to fill missing values: linear, previous or drop.", "interpolate a few"),
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


def horizon_option(default: str, panel: str | None = None) -> Any:
    """The option for the steps of a forecast; `default` is the text for its default."""
    return typer.Option(
        min=1,
        help="Steps that a forecast looks ahead.",
        show_default=default,
        rich_help_panel=panel,
    )


_FORECASTS = "Forecasts"
Horizon = Annotated[int | None, horizon_option("a season, or 8", _FORECASTS)]
Window = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps that a forecast reads.",
        show_default="4 horizons",
        rich_help_panel=_FORECASTS,
    ),
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
#: Those of new data, which are read like the data that a model was trained on.
READING_AGAIN = {
    name: READING[name]
    for name in ("ignore", "fill", "decimal", "thousands", "encoding", "timezone")
}
#: The options that take several names.
SEVERAL = ("target", "known", "static", "ignore", "log")


def takes(*groups: Mapping[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add all options of some groups to a command.

    It gets those that were set as its `**options`, and `arguments` turns them into arguments of
    the library.
    """
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if get_args(option)[0] is bool else None,
            annotation=option,
        )
        for group in groups
        for name, option in group.items()
    ]
    names = [parameter.name for parameter in added]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            values_set = {name: values.pop(name) for name in names}
            # False is "not asked for", but for an option that has a word for it: --one-way.
            command(
                **values,
                **{
                    name: value
                    for name, value in values_set.items()
                    if value is not None and (value is not False or name == "bidirectional")
                },
            )

        # typer reads the options from the signature and the annotations.
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *added]
        )
        run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
        return run

    return decorate


def arguments(options: Mapping[str, Any], base: Any = None) -> dict[str, Any]:
    """The options that a command `takes`, as arguments of the library.

    Args:
        options: Those that were set.
        base: The design that the options of a shape change; see `design`.
    """
    values = {name: value for name, value in options.items() if name not in SHAPE}
    for name in SEVERAL:
        if name in values:
            values[name] = comma_separated(values[name])
    if "recompute" in values:
        values["recompute"] = _recompute(values["recompute"])
    if "hidden" in values:
        values["hidden_size"] = values.pop("hidden")
    shape = design(options, base)
    return values if shape is None else {**values, "design": shape}


def _recompute(text: str) -> int:
    """The number of steps, or True for "auto".

    Raises:
        ArgumentError: if it is neither.
    """
    if text == "auto":
        return True
    try:
        steps = int(text)
    except ValueError:  # no number, or one of thousands of digits
        steps = 0
    if steps < 1:
        raise ArgumentError(f"--recompute is {text}; expected a number of steps from 1, or auto")
    return steps


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


def new_run(name: str) -> Path:
    """The directory of a result for which no --out was given."""
    return Path("runs") / f"{Path(name).stem}-{datetime.now():%Y%m%d-%H%M%S}"
