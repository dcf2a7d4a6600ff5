"""`gatewright train`, `compare`, `predict` and `sample`: make a model of a file, and use it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.cli.options import LONG, READING, READING_AGAIN, TRAINING, by_all_ranks, takes
from gatewright.cli.suspending import data_of, run_directory, suspendable
from gatewright.cli.wording import on_screen
from gatewright.errors import ArgumentError
from gatewright.escaping import printable
from gatewright.names import comma_separated

if TYPE_CHECKING:
    from gatewright.training.results import Comparison


@command
@takes(TRAINING, LONG, READING)
@by_all_ranks
def train(
    data: options.Data,
    cell: options.Cell = None,
    out: options.Out = None,
    config: options.Config = None,
    seeds: options.FewSeeds = None,
    distil: options.Distil = False,
    page: Annotated[
        bool,
        typer.Option("--page", help="Write look.html too, which runs the model in the browser."),
    ] = False,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
    **settings: Any,
) -> None:
    """Train one network on your data.

    Ctrl-C keeps the best model so far, and --resume goes on from there.
    """
    if cell is not None and "," in cell:
        raise ArgumentError(f"--cell is {cell}; train takes one cell, and compare takes several")
    if page and cell == "window":
        raise ArgumentError("--page shows gates and memories, and the window network has none")
    directory, is_named = run_directory(data, out, resume="resume" in settings)
    from gatewright.training.config import read_config
    from gatewright.training.train import train as run

    file_settings = {} if config is None else read_config(config)
    arguments = options.arguments(settings, file_settings.get("design"))
    source = data_of(directory) or data if page else data
    with suspendable("train", directory):
        trained = run(
            data,
            cell=cell,
            out=directory if is_named else None,
            config=file_settings,
            seeds=seeds,
            distil=distil,
            progress=progress and not as_json,
            say=_report,
            **arguments,
        )
        if page:
            _write_page(directory, source)
        _show(trained, directory, as_json, arguments.get("log", ()))
        _show_end(trained)


@command
@takes(TRAINING, LONG, READING)
@by_all_ranks
def compare(
    data: options.Data,
    out: options.Out = None,
    cells: Annotated[str | None, options.cells_option("the lesson's")] = None,
    seeds: options.Seeds = 5,
    parameters: options.Parameters = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="A time limit: fewer seeds and epochs, and no slow baselines.",
            show_default="none; the time is estimated first",
        ),
    ] = None,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
    **settings: Any,
) -> None:
    """Compare networks with each other and with simple methods.

    Ctrl-C keeps the trainings that are finished, and --resume does the others.
    """
    directory, is_named = run_directory(data, out, resume="resume" in settings)
    from gatewright.training.train import compare as run

    arguments = options.arguments(settings)
    with suspendable("compare", directory):
        comparison = run(
            data,
            out=directory if is_named else None,
            cells=None if cells is None else comma_separated(cells),
            seeds=seeds,
            parameters=parameters,
            minutes=minutes,
            progress=progress and not as_json,
            say=_report,
            **arguments,
        )
        _show(comparison, directory, as_json, arguments.get("log", ()))
        _show_end(comparison)


@command
@takes(READING_AGAIN)
def predict(
    model: Annotated[
        Path, typer.Argument(help="The directory of a model that train or compare wrote.")
    ],
    data: options.Data,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv or .parquet file to write.", show_default="print CSV"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out if it exists.")
    ] = False,
    horizon: Annotated[int | None, options.horizon_option("the model's")] = None,
    unknown: Annotated[
        str,
        typer.Option(help="A new category in a static column: refuse it, or forecast it as other."),
    ] = "refuse",
    device: options.Device = None,
    as_json: options.AsJson = False,
    **reading: Any,
) -> None:
    """Apply a trained model to new data; the result is a table."""
    from gatewright.training.predict import predict as run

    predicted = run(
        model,
        data,
        out=out,
        overwrite=overwrite,
        horizon=horizon,
        unknown=unknown,  # type: ignore[arg-type]  # checked there
        device=device or "auto",
        **options.arguments(reading),
    )
    for remark in predicted.remarks:
        _report(f"note: {remark}")
    if as_json:
        table = {"columns": predicted.written, "remarks": predicted.remarks}
        print(json.dumps(table, allow_nan=False))
    elif out is None:
        table_text = predicted.to_csv()
        print(printable(table_text, keep="\n\t") if sys.stdout.isatty() else table_text, end="")
    else:
        _report(f"{len(next(iter(predicted.columns.values())))} rows in {out}")


@command
def sample(
    model: Annotated[Path, typer.Argument(help="The directory of a model trained on text.")],
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    symbols: Annotated[int, typer.Option(min=1, help="Symbols to write.")] = 400,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0, help="0 takes the likeliest symbol, 1 draws by the model's probabilities."
        ),
    ] = 0.8,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    device: options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Write text with a model that was trained on text."""
    from gatewright.training.predict import sample as run

    text = run(
        model, prompt, symbols=symbols, temperature=temperature, seed=seed, device=device or "auto"
    )
    if as_json:
        print(json.dumps({"prompt": prompt, "text": text}))
    else:  # control characters go to a file as they are, and never to a terminal
        written = prompt + text
        print(printable(written, keep="\n\t") if sys.stdout.isatty() else written)


def _report(line: str) -> None:
    """Print on the error stream, so that standard output holds only the result."""
    print(on_screen(line), file=sys.stderr)


def _write_page(out: Path, data: str) -> None:
    """Write the page of a trained model next to its report."""
    from gatewright.deploy.page import page_of
    from gatewright.files import write_file
    from gatewright.layers.saving import load

    written = page_of({out.resolve().name: load(out)}, data)
    write_file(out / "look.html", written.html.encode())
    _report(f"{out / 'look.html'} runs the model in the browser")


def _show_end(comparison: Comparison) -> None:
    """Print how to go on with a run that Ctrl-C ended, below everything else."""
    if comparison.to_resume:
        sys.stdout.flush()
        _report(comparison.to_resume)


def _show(comparison: Comparison, out: Path, as_json: bool, log: Sequence[str]) -> None:
    if as_json:
        text = comparison.to_json()
        # After lines of JSON, one for each epoch, the result is the last line.
        print(json.dumps(json.loads(text)) if "stdout" in log else text)
        return
    from rich.console import Console

    console = Console()
    console.print(comparison.table(console=console))
    print(on_screen(comparison.verdict()))
    for line in (*comparison.advice, *comparison.remarks):
        print(on_screen(line))
    print(printable(f"the best model is in {out}; open {out / 'report.html'}"))
