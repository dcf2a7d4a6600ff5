"""`gatewright bench`: the speed of cells next to their peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command


@command
def bench(
    what: Annotated[
        str, typer.Option(help="The measurement: layers, build, memory, curves or stream.")
    ] = "layers",
    cells: Annotated[str | None, options.cells_option("four of them")] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            help="Peers, comma-separated: torch,loop,plain,torchrecurrent,onnxruntime,jax,float32.",
            show_default="all",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Batch, time, input and hidden size: 32x100x64x64.", show_default="the grid"
        ),
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads: 1,2.", show_default="1,2")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Time for each pair.", show_default="2")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="The backend of our layers.", show_default="auto")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16.", show_default="float32")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the smallest sizes.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A directory for a new file with the raw figures.")
    ] = None,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
) -> None:
    """Check cells against their peers and time them; or measure builds, memory or growth."""
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
        dtype=dtype,
        quick=quick,
    )
    finish(results, out=out, as_json=as_json)
