"""The lesson's pages, run: the same text is a page for Git's hosts, a page of the site, a notebook.

A page is Markdown whose blocks of `python` are the cells of a notebook. They run in order, in one
process and one namespace, without Jupyter; a cell shows what it prints and, as in a notebook, the
value of its last expression.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from dataclasses import dataclass
from typing import Any

CELL = re.compile(r"(?ms)^```python\n(.*?)^```\n")
#: Tags that fold an answer on a page; a notebook has none.
FOLD = re.compile(r"(?m)^</?details>.*\n?")


@dataclass(frozen=True)
class Cell:
    """A cell that was run.

    Attributes:
        code: Its code.
        printed: The text that it printed, and the value of its last expression.
        svg: The picture that is its value, or nothing.
    """

    code: str
    printed: str
    svg: str


def run(text: str, name: str) -> list[Cell]:
    """Run the cells of a page and return them with their output."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [
        run_cell(match[1], f"{name}, cell {number}", namespace)
        for number, match in enumerate(CELL.finditer(text), 1)
    ]


def run_cell(code: str, name: str, namespace: dict[str, Any]) -> Cell:
    """Run the code of a cell; an exception names the cell as its file."""
    tree = ast.parse(code, name)
    last = tree.body[-1] if tree.body else None
    printed = io.StringIO()
    value: Any = None
    with contextlib.redirect_stdout(printed):
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    svg = value._repr_svg_() if hasattr(value, "_repr_svg_") else ""
    shown = "" if value is None or svg else repr(value)
    return Cell(code, printed.getvalue() + shown, svg)


def page(text: str, cells: list[Cell], name: str) -> tuple[str, dict[str, str]]:
    """Return the page with the output below each cell, and its pictures by name."""
    pictures: dict[str, str] = {}
    numbered = iter(enumerate(cells, 1))

    def shown(match: re.Match[str]) -> str:
        number, cell = next(numbered)
        parts = [match[0]]
        if cell.printed:
            parts.append(
                f"```{{code-block}} text\n:class: output\n\n{cell.printed.rstrip()}\n```\n"
            )
        if cell.svg:
            pictures[f"{name}-{number}.svg"] = cell.svg
            parts.append(
                f'<p><img class="output" alt="Output: a chart" src="{name}-{number}.svg"></p>\n'
            )
        return "\n".join(parts)

    title, _, rest = CELL.sub(shown, text).partition("\n")
    download = f'<p><a href="{name}.ipynb" download>Download this page as a notebook</a></p>'
    return f"{title}\n\n{download}\n{rest}", pictures


def notebook(text: str, cells: list[Cell]) -> str:
    """Return the page as a Jupyter notebook with its output."""
    parts: list[dict[str, Any]] = []
    end = 0
    for match, cell in zip(CELL.finditer(text), cells, strict=True):
        add_prose(parts, text[end : match.start()])
        outputs: list[dict[str, Any]] = []
        if cell.printed:
            outputs.append({"output_type": "stream", "name": "stdout", "text": cell.printed})
        if cell.svg:
            data = {"image/svg+xml": cell.svg}
            outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
        code = {"cell_type": "code", "source": cell.code.rstrip(), "outputs": outputs}
        parts.append({**code, "id": f"cell-{len(parts)}", "metadata": {}, "execution_count": None})
        end = match.end()
    add_prose(parts, text[end:])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": parts, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def add_prose(parts: list[dict[str, Any]], text: str) -> None:
    """Append a cell of prose, if there is any."""
    source = FOLD.sub("", text).strip()
    if source:
        prose = {"cell_type": "markdown", "metadata": {}, "source": source}
        parts.append({**prose, "id": f"cell-{len(parts)}"})
