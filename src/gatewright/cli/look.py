"""`gatewright look`: the page of a model, in the browser."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.cli.wording import on_screen


@command
def look(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL [MODEL2] [DATA]",
            help="The directory of a trained model, or a cell such as lstm; a second one to "
            "compare it with; then a file or a bundled data set, whose sequences the page shows.",
            show_default=False,
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the page.", show_default="a free one")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    as_json: options.AsJson = False,
) -> None:
    """Look inside a network while it runs: gates, memories and predictions, in the browser.

    The page is served to this machine only, until Ctrl-C. To write it as one file, use
    gatewright export MODEL --to html.
    """
    import webbrowser

    from gatewright.deploy.page import look_at
    from gatewright.page.server import PageServer

    with PageServer(look_at(names), port) as server:
        try:
            print(json.dumps({"url": server.url}) if as_json else server.url, flush=True)
            print(on_screen("Ctrl-C ends it"), file=sys.stderr)
            if browser and not webbrowser.open(server.url):
                print(on_screen("no browser was found: open the address above"), file=sys.stderr)
            server.serve_forever()
        except KeyboardInterrupt:
            print(on_screen("stopped: the page is no longer served"), file=sys.stderr)
