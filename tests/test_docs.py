"""The documentation: what the script makes of the code, and links that lead somewhere."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

import gatewright as gw

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "science" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
CODE = re.compile(r"(?s)```.*?```|`[^`\n]+`")
LINK = re.compile(r'\]\(([^()\s]+)\)|src="([^"]+)"')
SIZES = {"input": 5, "hidden": 5}


@cache
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))  # it has a module of its own beside it
        return importlib.import_module("make_cells")


def test_the_pages_are_what_the_code_says():
    made = script().made()
    there = {*DOCS.glob("cells/*"), *DOCS.glob("images/cells/*"), DOCS / "README.md"}
    stale = [
        path.relative_to(ROOT).as_posix()
        for path in sorted({*made, *there})
        if not path.is_file() or path.read_text(encoding="utf-8") != made.get(path)
    ]
    assert stale == [], "run `python docs/make_cells.py`, and remove what it does not make"


def test_every_cell_is_said_when_to_use():
    assert script().WHEN.keys() == gw.CELLS.keys()


@pytest.mark.parametrize("name", gw.CELLS)
def test_the_facts_are_those_of_a_layer(name: str):
    cell = gw.CELLS[name]()
    layer = gw.Recurrent(cell, 5, 5, backend="reference")
    assert script().evaluated(cell, SIZES) == sum(one.numel() for one in layer.parameters())
    # The formula is read as it is printed, with a sign where letters stand side by side.
    formula = script().formula(cell).replace("²", " ** 2")
    product = re.sub(r"(?<=[\dHI)]) (?=[(HI])", " * ", formula)
    assert eval(product, {"H": 5, "I": 5}) == script().evaluated(cell, SIZES)
    inputs = {one: torch.ones(2, 1, 5) for one in cell.equations.inputs}
    if cell.equations.sizes:
        inputs = {one: torch.ones(2, 1, 1) for one in inputs}
    traced = script().facts(cell).partition("In a trace: ")[2]
    assert re.findall(r"`([^`]+)`", traced) == list(layer.trace(torch.ones(2, 1, 5), **inputs))


def anchors(page: Path) -> set[str]:
    """What a Git host calls the headings of a page."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    prose = CODE.sub("", page.read_text(encoding="utf-8"))
    found = LINK.findall(prose)
    assert found
    dead = []
    for link in (one or other for one, other in found):
        path, _, anchor = link.partition("#")
        if path.startswith("http"):
            continue
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []
