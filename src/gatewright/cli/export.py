"""`gatewright export`: a trained model as C, JavaScript, NumPy or ONNX."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.cli.wording import on_screen
from gatewright.deploy.endings import COMPANIONS, ENDINGS, language
from gatewright.errors import ArgumentError
from gatewright.escaping import printable
from gatewright.names import did_you_mean


@command
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
        typer.Option("--network-only", help="Leave out the counts that a text is mixed with."),
    ] = False,
    values: Annotated[
        bool, typer.Option("--values", help="Of js and python: show every gate of a step.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Of html: a file or a bundled data set whose sequences the page shows.",
            show_default="made-up ones",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32, or int8: a quarter of the bytes, products in integers.")
    ] = "float32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a model as a program that runs without this package."""
    name = language(to)
    if name is None:
        raise ArgumentError(
            f"--to is {to}; {did_you_mean(to, ENDINGS)}expected {', '.join(ENDINGS)}"
        )
    from gatewright.deploy.export import export as run
    from gatewright.layers.saving import load

    path = Path(f"{model}{ENDINGS[name]}") if out is None else out
    if path.suffix != ENDINGS[name]:
        hint = COMPANIONS.get(path.suffix, f"a file of {name} ends in {ENDINGS[name]}")
        raise ArgumentError(f"--out is {path}; {hint}")
    files = run(
        load(model),
        path,
        streaming=streaming,
        network_only=network_only,
        values=values,
        data=data,
        precision=precision,
        overwrite=overwrite,
    )
    sizes = {str(file): file.stat().st_size for file in files}
    if as_json:
        print(json.dumps({"files": [{"path": p, "bytes": size} for p, size in sizes.items()]}))
        return
    for file, size in sizes.items():
        print(printable(file))
        print(on_screen(f"{size:,} bytes"), file=sys.stderr)
