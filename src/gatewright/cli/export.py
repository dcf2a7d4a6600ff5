"""`gatewright export`: a trained model as C, JavaScript, NumPy or ONNX."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli.app import app
from gatewright.cli.wording import on_screen
from gatewright.errors import ArgumentError
from gatewright.escaping import printable
from gatewright.names import did_you_mean

#: The ending of the file, by the name of the language.
ENDINGS = {"c": ".c", "js": ".js", "python": ".py", "onnx": ".onnx"}


@app.command()
def export(
    model: Annotated[
        Path, typer.Argument(help="The directory of a model that train, compare or gw.save wrote.")
    ],
    to: Annotated[str, typer.Option(help=f"The language: {', '.join(ENDINGS)}.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="MODEL with the ending")
    ] = None,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Of onnx: one step at a time, states in and out.")
    ] = False,
    network_only: Annotated[
        bool,
        typer.Option("--network-only", help="Of a text model in onnx: leave the counts out."),
    ] = False,
    values: Annotated[
        bool, typer.Option("--values", help="Of js and python: show every gate of a step.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
) -> None:
    """Write a model as a program that runs without this package."""
    if to not in ENDINGS:
        raise ArgumentError(
            f"--to is {to}; {did_you_mean(to, ENDINGS)}expected {', '.join(ENDINGS)}"
        )
    from gatewright.deploy.export import export as run
    from gatewright.layers.saving import load

    path = Path(f"{model}{ENDINGS[to]}") if out is None else out
    if path.suffix != ENDINGS[to]:
        raise ArgumentError(f"--out is {path}; a file of {to} ends in {ENDINGS[to]}")
    files = run(
        load(model),
        path,
        streaming=streaming,
        network_only=network_only,
        values=values,
        overwrite=overwrite,
    )
    for file in files:
        print(printable(str(file)))
        print(on_screen(f"{file.stat().st_size:,} bytes"), file=sys.stderr)
