"""Print the pages on the cells from the code: `docs/cells`, their pictures, and the list.

python docs/make_cells.py

A cell's docstring, equations, diagram, sizes and weights come from the code; only the advice when
to use it is in `when.toml`. `tests/test_docs.py` fails where the pages are not what this prints.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable
from pathlib import Path

from figures.blocks import between
from parameters import LETTERS, evaluated, formula, size

import gatewright as gw
from gatewright.language.printing import text

DOCS = Path(__file__).resolve().parent
WHEN: dict[str, str] = tomllib.loads((DOCS / "when.toml").read_text(encoding="utf-8"))
HEADER = "<!-- made by docs/make_cells.py: change the cell or when.toml, then run it -->\n"
#: Layers of torch.nn that a cell has a drop-in for.
DROP_INS = {"elman_rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "peephole_lstm": "PeepholeLSTM"}


def main() -> None:
    """Write every page and picture."""
    for path, content in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Every file with its content."""
    families: dict[str, list[str]] = {}
    for name, kind in gw.CELLS.items():
        families.setdefault(kind.__module__.rpartition(".")[2], []).append(name)
    files = {}
    for family, names in families.items():
        files[DOCS / "cells" / f"{family}.md"] = page(family, names)
        for name in names:
            drawn = gw.CELLS[name]().svg(title=False, ground=True)
            files[DOCS / "images" / "cells" / f"{name}.svg"] = drawn + "\n"
    entry = DOCS / "README.md"
    listed = entry.read_text(encoding="utf-8")
    files[entry] = between(listed, "cells", "make_cells", cell_list(families))
    return files


def cell_list(families: dict[str, list[str]]) -> str:
    """All cells, family by family, for the entry page."""
    rows = ["| family | cell | what it is |", "| --- | --- | --- |"]
    for family, names in families.items():
        title = title_of(family)
        for name in names:
            about = gw.CELLS[name]().equations.about
            rows.append(f"| {title} | [`{name}`](cells/{family}.md#{name}) | {about} |")
            title = ""
    return "\n".join(rows) + "\n"


def title_of(family: str) -> str:
    """A family's name: the first line of its file, without the full stop."""
    about = sys.modules[f"gatewright.cells.{family}"].__doc__ or ""
    return about.partition("\n")[0].rstrip(".")


def page(family: str, names: list[str]) -> str:
    """The page of one family."""
    about = inspect.cleandoc(sys.modules[f"gatewright.cells.{family}"].__doc__ or "")
    head = [f"# {title_of(family)}", about.partition("\n")[2].strip()]
    path = f"src/gatewright/cells/{family}.py"
    head.append(
        f"In the code: [{path}](../../{path}). [All cells](../README.md#the-cells) · "
        "[how to read the diagrams and equations](../README.md#how-to-read-these-pages)"
    )
    if len(names) > 1:
        rows = ["| cell | what it is | parameters |", "| --- | --- | --- |"]
        for name in names:
            cell = gw.CELLS[name]()
            rows.append(f"| [`{name}`](#{name}) | {cell.equations.about} | {formula(cell)} |")
        head.append("\n".join(rows))
    return HEADER + "\n\n".join(filter(None, [*head, *(section(name) for name in names)])) + "\n"


def section(name: str) -> str:
    """The section on one cell."""
    cell = gw.CELLS[name]()
    kind = type(cell).__name__
    description, _, attributes = inspect.cleandoc(type(cell).__doc__ or "").partition(
        "\nAttributes:"
    )
    about, _, more = description.partition("\n")
    equations = cell.equations
    drawing = f"../images/cells/{name}.svg"
    has_lesson_words = equations.states[:2] == ("h", "c")
    words = text(equations, names="lesson").partition("\n")[2]
    parts = [
        f"## {name}",
        f"`{kind}`: {about.strip()}",
        f"**When.** {WHEN[name]}",
        re.sub(r"\n+Source: ", "\n\n**Source.** ", more).strip(),
        f"[![Diagram of {kind}; its equations are below]({drawing})]({drawing})",
        fenced("text", str(cell).partition("\n")[2]),
        folded("In mathematical notation", fenced("math", cell.latex())),
        folded("In the lesson's words", fenced("text", words)) if has_lesson_words else "",
        facts(cell),
        fenced("python", usage(name, cell)),
        options(cell, attributes),
    ]
    return "\n\n".join(filter(None, parts))


def fenced(kind: str, lines: str) -> str:
    """A block of code, or of mathematics, without the indentation that its lines share."""
    return f"```{kind}\n{textwrap.dedent(lines)}\n```"


def folded(title: str, content: str) -> str:
    """A section that a click opens."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def facts(cell: gw.Cell) -> str:
    """A list of the states, inputs, parameters and names of a trace."""
    equations, graph = cell.equations, cell.graph
    states = []
    for name, term in graph.states.items():
        start = graph.initial.get(name, 0)
        start = "a learned vector" if not isinstance(start, (int, float)) else f"{start:g}"
        states.append(f"`{name}`: {size(term.size)}, starts at {start}")
    if graph.output is graph.updates[equations.states[0]]:
        states[0] += ", the output"
    else:
        states.append(f"the output is a value of its own: {size(graph.output.size)}")
    lines = [f"- States: {'; '.join(states)}"]
    further = [f"`{name}`: {size(graph.inputs[name].size)}" for name in equations.inputs]
    if further:
        lines.append(f"- Further inputs of each step: {'; '.join(further)}")
    if graph.sizes.agreements:
        lines.append("- Sizes that must be equal: I = H")
    sizes = {"input": input_size(cell), "hidden": 64}
    example = " and ".join(f"{LETTERS[name]} = {number}" for name, number in sizes.items())
    count = f"{evaluated(cell, sizes):,}"
    lines.append(f"- Parameters of a layer: {formula(cell)}; with {example}, {count}")
    lines.append(f"- In a trace: {', '.join(f'`{name}`' for name in equations.names)}")
    return "\n".join(lines)


def input_size(cell: gw.Cell) -> int:
    """The input size of the examples, whose hidden size is 64."""
    return 64 if cell.graph.sizes.agreements else 16


def usage(name: str, cell: gw.Cell) -> str:
    """The code that makes and runs a layer."""
    sizes = f"input_size={input_size(cell)}, hidden_size=64"
    inputs = "".join(f", {key}={key}" for key in cell.equations.inputs)
    states = ", ".join(cell.equations.states)
    states = f"({states})" if len(cell.equations.states) > 1 else states
    lines = [
        f'layer = gw.Recurrent("{name}", {sizes}, batch_first=True)',
        f"output, {states} = layer(x{inputs})",
    ]
    if name in DROP_INS:
        own = DROP_INS[name]
        like = "the same" if name == "peephole_lstm" else f"as torch.nn.{own}, with its two biases"
        lines += ["", f"# {like}", f"layer = gw.{own}(16, 64, batch_first=True)"]
    fields = cell.fields()
    if fields:
        defaults = ", ".join(f"{field}={written(value)}" for field, value in fields.items())
        lines += ["", "# with its options; these are the defaults"]
        lines.append(f'cell = gw.CELLS["{name}"]({defaults})')
        lines.append(f"layer = gw.Recurrent(cell, {input_size(cell)}, 64, batch_first=True)")
    return "\n".join(lines)


def written(value: object) -> str:
    """A field's value in the style of this project's code."""
    return repr(value).replace("'", '"')


def options(cell: gw.Cell, attributes: str) -> str:
    """A table of a cell's fields, with their defaults and descriptions."""
    fields = cell.fields()
    if not fields:
        return ""
    descriptions = {
        name: " ".join(words.split()).replace("|", "\\|")
        for name, words in re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w+: |\Z)", attributes)
    }
    rows: Iterable[str] = (
        f"| `{name}` | `{written(value)}` | {descriptions.get(name, '')} |"
        for name, value in fields.items()
    )
    return "\n".join(["| option | default | what it is |", "| --- | --- | --- |", *rows])


if __name__ == "__main__":
    main()
