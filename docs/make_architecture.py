"""Draw the diagrams of `docs/architecture.md` from `architecture.toml`, checked against the code.

python docs/make_architecture.py

A step of a walk is one call in the body of a function. The calls are read from the source, so a
diagram cannot show a function that is not called, or in another order.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from pathlib import Path

from figures.blocks import between

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "architecture.md"
PACKAGE = "../src"


@dataclass(frozen=True)
class Step:
    """One step of a walk.

    Attributes:
        stage: The stage of the walk that it belongs to.
        caller: The function in whose body it is, as "module:name".
        call: The last name of the call there, such as `run_on` or the `unpack` of `x.unpack()`.
        callee: The function that is called, as "module:name".
        does: A sentence on it.
    """

    stage: str
    caller: str
    call: str
    callee: str
    does: str


def walks() -> dict[str, list[Step]]:
    """The steps of each walk, by its name."""
    stored = tomllib.loads((DOCS / "architecture.toml").read_text(encoding="utf-8"))
    return {
        name: [Step(s["stage"], s["in"], s["call"], s["is"], s["does"]) for s in steps]
        for name, steps in stored.items()
    }


def function(path: str) -> Callable[..., object]:
    """The function of a path such as "gatewright.backends.choose:run_on"."""
    module, _, name = path.partition(":")
    target = reduce(getattr, name.split("."), importlib.import_module(module))
    assert callable(target), path
    return inspect.unwrap(target)


def calls(path: str) -> list[str]:
    """The last names of the calls in a function's body, in the order in which they are made."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function(path))))
    names: list[str] = []

    class Visitor(ast.NodeVisitor):
        def visit_Call(self, node: ast.Call) -> None:
            self.generic_visit(node)  # arguments are computed before the call
            target = node.func
            name = target.attr if isinstance(target, ast.Attribute) else None
            name = target.id if isinstance(target, ast.Name) else name
            if name is not None:
                names.append(name)

    Visitor().visit(tree)
    return names


def last_name(path: str) -> str:
    """The name of the function of a path, without its class."""
    return path.rpartition(":")[2].rpartition(".")[2]


def faults(steps: list[Step]) -> list[str]:
    """The steps that the code does not have, or not in this order."""
    wrong = []
    remaining: dict[str, list[str]] = {}  # by caller, its calls after those of the steps so far
    entered: set[str] = set()  # functions that a step has called

    def advance(caller: str, call: str) -> bool:
        if call not in remaining[caller]:
            return False
        remaining[caller] = remaining[caller][remaining[caller].index(call) + 1 :]
        return True

    for step in steps:
        function(step.callee)  # fails if there is none
        if step.call != last_name(step.callee):
            wrong.append(f"{step.call} is not the name of {step.callee}")
        if step.caller not in remaining:
            # A function is entered by a step, or by a call of a function above it.
            by_call = any(advance(above, last_name(step.caller)) for above in remaining)
            if remaining and step.caller not in entered and not by_call:
                wrong.append(f"{step.caller} is called by no function above it")
            remaining[step.caller] = calls(step.caller)
        if not advance(step.caller, step.call):
            wrong.append(f"{step.caller} does not call {step.call} at this point")
        entered.add(step.callee)
    return wrong


def diagram(steps: list[Step]) -> str:
    """The steps as a flow chart, with a box around each stage."""
    lines = ["```mermaid", "flowchart LR"]
    for number, (stage, group) in enumerate(groupby(enumerate(steps), key=lambda s: s[1].stage)):
        lines.append(f'    subgraph stage{number}["{stage}"]')
        lines += [f'        step{position}["{step.call}"]' for position, step in group]
        lines.append("    end")
    path = " --> ".join(f"step{position}" for position in range(len(steps)))
    return "\n".join([*lines, f"    {path}", "```"])


def table(steps: list[Step]) -> str:
    """The steps with their functions and files."""
    rows = ["| stage | function | what it does |", "| --- | --- | --- |"]
    stage = ""
    for step in steps:
        module, _, name = step.callee.partition(":")
        file = inspect.getsourcefile(importlib.import_module(module)) or ""
        path = re.sub(r".*/gatewright/", "gatewright/", file)
        first = step.stage if step.stage != stage else ""
        rows.append(f"| {first} | [`{name}`]({PACKAGE}/{path}) | {step.does} |")
        stage = step.stage
    return "\n".join(rows)


def pages() -> dict[Path, str]:
    """The page, with fresh diagrams between its markers."""
    text = PAGE.read_text(encoding="utf-8")
    for name, steps in walks().items():
        text = between(text, name, "make_architecture", f"{diagram(steps)}\n\n{table(steps)}\n")
    return {PAGE: text}


def main() -> None:
    """Write the page."""
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
