"""`gatewright serve`: a trained model that answers over HTTP and WebSockets."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.errors import ArgumentError


@command
def serve(
    model: Annotated[
        Path, typer.Argument(help="The directory of a model that train or compare wrote.")
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen on; any but the loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="GATEWRIGHT_TOKEN",
            help="A secret that requests have to send. Set the variable rather than the option, "
            "which other users of the machine can see.",
            show_default="none",
        ),
    ] = None,
    states: Annotated[
        Path | None,
        typer.Option(
            help="A folder to save the streams in, and to continue them from.",
            show_default="not saved",
        ),
    ] = None,
    save_every: Annotated[
        float, typer.Option(help="Seconds between two savings of the streams.")
    ] = 30.0,
    max_streams: Annotated[int, typer.Option(min=1, help="Streams that may be open.")] = 1024,
    keep: Annotated[float, typer.Option(help="Seconds for which a stream can be resumed.")] = 300.0,
    max_body: Annotated[
        float, typer.Option(help="The longest request that is read, in MiB.")
    ] = 8.0,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of a computation; more help with large tables.")
    ] = 1,
    as_json: options.AsJson = False,
) -> None:
    """Answer requests with a trained model; Ctrl-C stops it.

    It prints its URL. GET /docs shows what can be requested.
    """
    from gatewright.serve.limits import Limits
    from gatewright.serve.server import run

    for option, value in (
        ("--keep", keep),
        ("--max-body", max_body),
        ("--save-every", save_every),
    ):
        if not 0.0 < value < math.inf:  # also refuses NaN
            raise ArgumentError(f"{option} is {value:g}; expected a finite number above 0")
    limits = Limits(max_streams=max_streams, keep_s=keep, max_body=math.ceil(max_body * 2**20))

    def say(url: str) -> None:
        print(json.dumps({"url": url}) if as_json else url, flush=True)

    run(
        model,
        host=host,
        port=port,
        token=token,
        limits=limits,
        states=states,
        save_every_s=save_every,
        threads=threads,
        say=say,
    )
