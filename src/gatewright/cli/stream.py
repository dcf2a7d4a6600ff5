"""`gatewright stream`: a trained model in a pipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.cli.wording import on_screen


@command
def stream(
    model: Annotated[
        Path, typer.Argument(help="The directory of a model that train or compare wrote.")
    ],
    as_json: options.AsJson = False,
) -> None:
    """Read events from standard input, a line each, and answer each at once.

    A line is numbers separated by commas, or by semicolons (then a comma may be the decimal mark),
    or a list or an object of JSON; a first line may name the columns, and an empty line begins a
    new sequence. For a model of texts a line is its text.
    --json prints the probabilities of all classes.
    """
    from gatewright.serve.lines import answer_lines

    if sys.stdin.isatty():
        print(on_screen("reading events, one a line; Ctrl-D ends it"), file=sys.stderr)
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    answers = answer_lines(model, sys.stdin)
    for count, answer in enumerate(answers):
        if as_json:
            print(answer.as_json(), flush=True)
            continue
        if count == 0:
            print("step,predicted,probability")
        predicted = answer.predicted
        print(f"{answer.step},{_cell(predicted)},{answer.probabilities[predicted]:.6g}", flush=True)


def _cell(text: str) -> str:
    """A text as a field of CSV, in one line."""
    import csv
    import io

    field = io.StringIO()
    shown = text.replace("\r", "\\r").replace("\n", "\\n")
    csv.writer(field, lineterminator="").writerow([shown])
    return field.getvalue()
