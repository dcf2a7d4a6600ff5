"""`gatewright train`, `compare`, `predict` and `sample`: make a model of a file, and use it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options
from gatewright.cli.app import app
from gatewright.cli.options import new_run, reads_data
from gatewright.cli.wording import on_screen
from gatewright.errors import ArgumentError
from gatewright.escaping import printable
from gatewright.names import comma_separated

if TYPE_CHECKING:
    from gatewright.training.results import Comparison


@app.command()
@reads_data
def train(
    data: options.Data,
    cell: options.Cell = "gru",
    out: options.Out = None,
    budget: options.Budget = "normal",
    seeds: options.FewSeeds = None,
    epochs: options.Epochs = None,
    design: options.Design = None,
    streaming: options.Streaming = False,
    layers: options.Layers = None,
    bidirectional: options.Bidirectional = None,
    readout: options.Readout = None,
    front: options.Front = None,
    segment: options.Segment = None,
    hidden: options.Hidden = None,
    memory: options.Memory = None,
    distil: Annotated[
        bool,
        typer.Option("--distil", help="Keep one network that the mean of all seeds has taught."),
    ] = False,
    chunk: options.Chunk = None,
    page: Annotated[
        bool,
        typer.Option("--page", help="Write look.html too, which runs the model in the browser."),
    ] = False,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
    **reading: Any,
) -> None:
    """Train one network on your data; Ctrl-C keeps the best model so far."""
    if "," in cell:
        raise ArgumentError(f"--cell is {cell}; train takes one cell, and compare takes several")
    if page and cell == "window":
        raise ArgumentError("--page shows gates and memories, and the window network has none")
    from gatewright.training.train import train as run

    out = out or new_run(data)
    trained = run(
        data,
        cell=cell,
        out=out,
        budget=budget,
        seeds=seeds,
        epochs=epochs,
        design=options.design(design, layers, bidirectional, readout, front, segment),
        streaming=streaming,
        hidden_size=hidden,
        memory=memory,
        distil=distil,
        chunk=chunk,
        progress=progress and not as_json,
        say=_report,
        **reading,
    )
    if page:
        _write_page(out, data)
    _show(trained, out, as_json)


@app.command()
@reads_data
def compare(
    data: options.Data,
    out: options.Out = None,
    cells: Annotated[str | None, options.cells_option("the lesson's")] = None,
    budget: options.Budget = "normal",
    seeds: options.Seeds = 5,
    epochs: options.Epochs = None,
    design: options.Design = None,
    streaming: options.Streaming = False,
    layers: options.Layers = None,
    bidirectional: options.Bidirectional = None,
    readout: options.Readout = None,
    front: options.Front = None,
    segment: options.Segment = None,
    parameters: Annotated[
        int | None,
        typer.Option(
            min=1, help="Parameters that each network may have.", show_default="the task's"
        ),
    ] = None,
    hidden: options.Hidden = None,
    memory: options.Memory = None,
    chunk: options.Chunk = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="A time limit: fewer seeds and epochs, and no slow baselines.",
            show_default="none; the time is estimated first",
        ),
    ] = None,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
    **reading: Any,
) -> None:
    """Compare networks with each other and with simple methods.

    Ctrl-C keeps the trainings that are finished.
    """
    from gatewright.training.train import compare as run

    out = out or new_run(data)
    comparison = run(
        data,
        out=out,
        cells=None if cells is None else comma_separated(cells),
        seeds=seeds,
        epochs=epochs,
        budget=budget,
        design=options.design(design, layers, bidirectional, readout, front, segment),
        streaming=streaming,
        parameters=parameters,
        hidden_size=hidden,
        memory=memory,
        chunk=chunk,
        minutes=minutes,
        progress=progress and not as_json,
        say=_report,
        **reading,
    )
    _show(comparison, out, as_json)


@app.command()
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
    ignore: options.Ignore = None,
    fill: options.Fill = None,
    decimal: options.Decimal = None,
    thousands: options.Thousands = None,
    encoding: options.Encoding = None,
    timezone: options.Timezone = None,
    as_json: options.AsJson = False,
) -> None:
    """Apply a trained model to new data; the result is a table."""
    from gatewright.training.predict import predict as run

    reading = options.reading(
        ignore=ignore,
        fill=fill,
        decimal=decimal,
        thousands=thousands,
        encoding=encoding,
        timezone=timezone,
    )
    predicted = run(
        model,
        data,
        out=out,
        overwrite=overwrite,
        horizon=horizon,
        unknown=unknown,  # type: ignore[arg-type]  # checked there
        **reading,
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


@app.command()
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
    as_json: options.AsJson = False,
) -> None:
    """Write text with a model that was trained on text."""
    from gatewright.training.predict import sample as run

    text = run(model, prompt, symbols=symbols, temperature=temperature, seed=seed)
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


def _show(comparison: Comparison, out: Path, as_json: bool) -> None:
    if as_json:
        print(comparison.to_json())
        return
    from rich.console import Console

    console = Console()
    console.print(comparison.table(console=console))
    print(on_screen(comparison.verdict()))
    for note in comparison.remarks:
        print(on_screen(note))
    print(printable(f"the best model is in {out}; open {out / 'report.html'}"))
