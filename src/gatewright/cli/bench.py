"""`gatewright bench`: how fast cells are beside their peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli.app import app


@app.command()
def bench(
    what: Annotated[
        str, typer.Option(help="What to measure: layers, build, memory, curves or stream.")
    ] = "layers",
    cells: Annotated[
        str | None, typer.Option(help="Parted by commas: lstm,my.py:MyCell.", show_default="four")
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(help="torch,loop,plain,torchrecurrent,onnxruntime,jax", show_default="all"),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Batch, time, input, hidden: 32x100x64x64.", show_default="the grid"),
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads: 1,2.", show_default="1,2")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Time for each pair.", show_default="2")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Ours, by name.", show_default="auto")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The smallest sizes alone.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A directory for the raw figures, as a new file.")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Time cells beside their peers, each verified first; or builds, memory, growth."""
    from gatewright.bench.run import bench as run
    from gatewright.bench.run import finish

    results = run(
        what,
        progress=progress and not as_json,
        cells=cells,
        peers=peers,
        sizes=sizes,
        threads=threads,
        seconds=seconds,
        backend=backend,
        quick=quick,
    )
    finish(results, out=out, as_json=as_json)
