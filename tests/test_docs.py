"""The documentation: generated pages are fresh, links lead somewhere, the code runs."""

from __future__ import annotations

import importlib
import re
import runpy
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

import gatewright as gw
from in_process import training_here

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


#: The scripts that make pages, and the files that belong to nobody else.
SCRIPTS = {
    "make_cells": {*DOCS.glob("cells/*"), *DOCS.glob("images/cells/*")},
    "make_kernels": set(),
    "make_architecture": set(),
    "make_figures": set(),
}


@cache
def script(name: str = "make_cells") -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))  # it imports modules from its own folder
        return importlib.import_module(name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_pages_are_those_of_the_code(name: str):
    pages = script(name).pages()
    stale = [
        path.relative_to(ROOT).as_posix()
        for path in sorted({*pages, *SCRIPTS[name]})
        if not path.is_file() or path.read_text(encoding="utf-8") != pages.get(path)
    ]
    assert stale == [], f"run `python docs/{name}.py`, and remove what it does not make"


def test_a_figure_is_between_its_marks():
    blocks = script("figures.blocks")
    page = "<!-- t: made by docs/x.py -->\nold\n<!-- end of t -->\nIt takes <!--n-->1<!--/--> s.\n"
    fresh = blocks.filled(page, "x", {"t": lambda: "new\n", "n": lambda: "2"})
    assert fresh == page.replace("old", "new").replace("-->1<", "-->2<")
    with pytest.raises(ValueError, match="no figure has the name n, t"):
        blocks.filled(page, "x", {})
    with pytest.raises(ValueError, match="put a word in front of n"):
        blocks.filled("<!--n-->1<!--/--> s", "x", {"n": lambda: "2"})
    with pytest.raises(ValueError, match="expected the lines <!-- t: made by"):
        blocks.between(page, "t", "y", "new")


def test_the_figures_of_a_dtype_are_those_measured_in_it():
    speed = script("figures.speed")
    single, half = (speed.layer_means(dtype) for dtype in ("float32", "bfloat16"))
    key = ("lstm", "torch", "training", 1)
    assert single[key].path != half[key].path
    assert not {peer for _, peer, *_ in single} & {"float32"}


def test_equal_results_share_their_rank():
    ranking = script("figures.ranking")
    ranks = ranking.mean_ranks([{"b": 1.0, "a": 1.0, "c": 0.5}, {"b": 2.0, "a": 1.0, "c": 3.0}])
    assert ranks == {"a": 1.75, "c": 2.0, "b": 2.25}
    assert ranking.critical_difference(6, 19) == pytest.approx(1.73, abs=0.005)


def test_every_cell_has_advice_when_to_use_it():
    assert script().WHEN.keys() == gw.CELLS.keys()


# The architecture.
@pytest.mark.parametrize("walk", ["layer", "training"])
def test_the_functions_of_a_diagram_are_called_in_its_order(walk: str):
    architecture = script("make_architecture")
    steps = architecture.walks()[walk]
    assert architecture.faults(steps) == []
    # A diagram in another order, or with a function that is not called, is refused.
    first, second = steps[:2]
    assert architecture.faults([replace(second, caller=first.caller), *steps])
    assert architecture.faults([replace(first, caller="gatewright.files:user_path"), *steps[1:]])


def test_calls_are_read_in_the_order_in_which_they_are_made():
    path = f"{__name__}:made_calls"
    assert script("make_architecture").calls(path) == ["len", "str", "print", "strip"]


def made_calls() -> None:
    print(str(len("")))
    "".strip()


# The README.
def test_the_readme_is_short_and_shows_the_installation_first():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    screen = "\n".join(text.splitlines()[:45])
    assert "pip install" in screen and "x = torch.randn" in screen


TRAINS = pytest.mark.slow(
    instead="test_onnx_models.py::test_a_trained_model_has_the_same_answers_in_onnx"
)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/layers.md",
        "docs/convert.md",
        "docs/recompute.md",
        "docs/long-sequences.md",
        pytest.param("docs/onnx.md", marks=TRAINS),
    ],
)
def test_code_with_imports_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As programs, in this process: most of a process of its own is the start of torch."""
    blocks = re.findall(r"(?s)```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"))
    if page == "README.md":  # a later block goes on with the values of the first one
        blocks = ["\n".join(blocks)]
    complete = [block for block in blocks if "import gatewright" in block]
    assert complete
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(complete):
        file = tmp_path / f"block{number}.py"
        file.write_text(block, encoding="utf-8")
        with training_here(), warnings.catch_warnings():
            warnings.simplefilter("default")  # as for a user; torch warns of its own internals
            runpy.run_path(str(file), run_name="__main__")


@pytest.mark.parametrize("name", gw.CELLS)
def test_the_facts_are_those_of_a_layer(name: str):
    cell = gw.CELLS[name]()
    layer = gw.Recurrent(cell, 5, 5, backend="reference")
    assert script().evaluated(cell, SIZES) == sum(weight.numel() for weight in layer.parameters())
    # The formula is read as it is printed, with a * between letters that follow each other.
    formula = script().formula(cell).replace("²", " ** 2")
    product = re.sub(r"(?<=[\dHI)]) (?=[(HI])", " * ", formula)
    assert eval(product, {"H": 5, "I": 5}) == script().evaluated(cell, SIZES)
    inputs = {key: torch.ones(2, 1, 5) for key in cell.equations.inputs}
    if cell.equations.sizes:
        inputs = {key: torch.ones(2, 1, 1) for key in inputs}
    traced = script().facts(cell).partition("In a trace: ")[2]
    assert re.findall(r"`([^`]+)`", traced) == list(layer.trace(torch.ones(2, 1, 5), **inputs))


def anchors(page: Path) -> set[str]:
    """The anchors that a Git host makes of the headings of a page."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    prose = CODE.sub("", page.read_text(encoding="utf-8"))
    links = LINK.findall(prose)
    assert links
    dead = []
    for link in (target or image for target, image in links):
        path, _, anchor = link.partition("#")
        if path.startswith("http"):
            continue
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []
