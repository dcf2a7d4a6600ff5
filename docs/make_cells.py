"""The pages on the cells, printed from the code: `docs/cells`, their pictures, and the list.

python docs/make_cells.py

What a cell says of itself (docstring, equations, diagram, sizes, weights) comes from the code;
only when to use it is written beside this file, in `when.toml`. `tests/test_docs.py` fails where
the pages are not what this makes.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable
from pathlib import Path

from parameters import LETTERS, evaluated, formula, size

import gatewright as gw
from gatewright.language.printing import text

DOCS = Path(__file__).resolve().parent
WHEN: dict[str, str] = tomllib.loads((DOCS / "when.toml").read_text(encoding="utf-8"))
MADE = "<!-- made by docs/make_cells.py: change the cell or when.toml, then run it -->\n"
BEGIN, END = "<!-- cells: made by docs/make_cells.py -->\n", "<!-- end of cells -->"
#: Layers of torch.nn that a cell has a drop-in for.
DROP_INS = {"elman_rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "peephole_lstm": "PeepholeLSTM"}


def main() -> None:
    """Write every page and picture."""
    for path, content in made().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def made() -> dict[Path, str]:
    """Each file and what it must hold."""
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
    before, _, rest = entry.read_text(encoding="utf-8").partition(BEGIN)
    files[entry] = before + BEGIN + listed(families) + END + rest.partition(END)[2]
    return files


def listed(families: dict[str, list[str]]) -> str:
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
    return MADE + "\n\n".join(filter(None, [*head, *(section(name) for name in names)])) + "\n"


def section(name: str) -> str:
    """All about one cell."""
    cell = gw.CELLS[name]()
    kind = type(cell).__name__
    said, _, attributes = inspect.cleandoc(type(cell).__doc__ or "").partition("\nAttributes:")
    about, _, more = said.partition("\n")
    equations = cell.equations
    drawing = f"../images/cells/{name}.svg"
    spoken = equations.states[:2] == ("h", "c")
    words = text(equations, names="lesson").partition("\n")[2]
    parts = [
        f"## {name}",
        f"`{kind}`: {about.strip()}",
        f"**When.** {WHEN[name]}",
        re.sub(r"\n+Source: ", "\n\n**Source.** ", more).strip(),
        f"[![Diagram of {kind}; its equations are below]({drawing})]({drawing})",
        fenced("text", str(cell).partition("\n")[2]),
        folded("In mathematical notation", fenced("math", cell.latex())),
        folded("In the lesson's words", fenced("text", words)) if spoken else "",
        facts(cell),
        fenced("python", how(name, cell)),
        options(cell, attributes),
    ]
    return "\n\n".join(filter(None, parts))


def fenced(kind: str, lines: str) -> str:
    """A block of code, or of mathematics, without the indentation that its lines share."""
    return f"```{kind}\n{textwrap.dedent(lines)}\n```"


def folded(title: str, content: str) -> str:
    """What a reader opens to see."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def facts(cell: gw.Cell) -> str:
    """States, inputs, parameters and what a trace holds, as a list."""
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
    sizes = {"input": wide(cell), "hidden": 64}
    at = " and ".join(f"{LETTERS[name]} = {number}" for name, number in sizes.items())
    count = f"{evaluated(cell, sizes):,}"
    lines.append(f"- Parameters of a layer: {formula(cell)}; with {at}, {count}")
    lines.append(f"- In a trace: {', '.join(f'`{one}`' for one in equations.names)}")
    return "\n".join(lines)


def wide(cell: gw.Cell) -> int:
    """The input size of the examples, whose hidden size is 64."""
    return 64 if cell.graph.sizes.agreements else 16


def how(name: str, cell: gw.Cell) -> str:
    """How a layer is made and run."""
    sizes = f"input_size={wide(cell)}, hidden_size=64"
    inputs = "".join(f", {one}={one}" for one in cell.equations.inputs)
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
        given = ", ".join(f"{field}={written(value)}" for field, value in fields.items())
        lines += ["", "# with its options; these are the defaults"]
        lines.append(f'cell = gw.CELLS["{name}"]({given})')
        lines.append(f"layer = gw.Recurrent(cell, {wide(cell)}, 64, batch_first=True)")
    return "\n".join(lines)


def written(value: object) -> str:
    """A field's value as the code of this project writes it."""
    return repr(value).replace("'", '"')


def options(cell: gw.Cell, attributes: str) -> str:
    """The fields of a cell, with their defaults and what their docstring says."""
    fields = cell.fields()
    if not fields:
        return ""
    told = {
        name: " ".join(said.split()).replace("|", "\\|")
        for name, said in re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w+: |\Z)", attributes)
    }
    rows: Iterable[str] = (
        f"| `{name}` | `{written(value)}` | {told.get(name, '')} |"
        for name, value in fields.items()
    )
    return "\n".join(["| option | default | what it is |", "| --- | --- | --- |", *rows])


if __name__ == "__main__":
    main()
