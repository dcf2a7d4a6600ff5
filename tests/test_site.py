"""The site: pages have places, links lead to them, the course runs, references are complete."""

from __future__ import annotations

import ast
import json
import posixpath
import re
import shutil
import sys
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

import gatewright as gw
from gatewright.draw.notebook import Drawing, lines

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CHROMIUM = shutil.which("chromium")
LESSONS = sorted((DOCS / "learn").glob("[0-9]*.md"))
RUN_IN_ORDER = sorted({*DOCS.glob("how-to/*.md"), *DOCS.glob("explanation/*.md")})


@cache
def site(name: str) -> ModuleType:
    """A module of the site, which is below docs/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        return __import__(f"website.{name}", fromlist=[name])


def test_every_page_is_in_the_navigation_once():
    entries = [entry for section in site("pages").sections() for entry in section.pages]
    listed = [re.sub(r".* <(.*)>", r"\1", entry) for entry in entries]
    pages = [site("pages").place(path).removesuffix(".md") for path in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(pages)


def test_a_page_in_a_new_folder_asks_for_a_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pages = site("pages")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(pages, "DOCS", tmp_path / "docs")
    settings = tmp_path / "docs" / "website" / "navigation.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('[titles]\n[[section]]\ntitle = "All"\npages = ["b.md", "*.md"]\n')
    for name in ("a.md", "b.md"):
        (tmp_path / "docs" / name).write_text("# A page\n")
    assert pages.sections()[0].pages == ["b", "a"]
    (tmp_path / "docs" / "new").mkdir()
    (tmp_path / "docs" / "new" / "c.md").write_text("# A page\n")
    with pytest.raises(ValueError, match=r"docs/new/c\.md is in no section"):
        pages.sections()


def test_links_lead_to_places_on_the_site():
    """On the pages of the repository and on the pages that the site has for its files."""
    texts, assets = site("build").linked_pages()
    generated = site("build").made_pages()
    place = site("pages").place
    texts |= {place(DOCS / name): text for name, text in generated.items()}
    places = {*texts, *map(place, assets)}
    dead = []
    for name, text in texts.items():
        prose = site("links").CODE.sub("", text)
        for link in re.findall(r'\]\(([^()\s]+)\)|(?:src|href)="([^"]+)"', prose):
            target = "".join(link).partition("#")[0]
            if target and ":" not in target:
                path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
                dead += [f"{name}: {target}"] if path not in places else []
    assert dead == []


def test_headings_go_down_one_level_at_a_time():
    """Sphinx warns otherwise, and a warning stops the build of the site."""
    texts = site("build").linked_pages()[0]
    texts |= site("build").made_pages()
    for name, text in texts.items():
        levels = [
            len(marks) for marks in re.findall(r"(?m)^(#+) ", site("links").CODE.sub("", text))
        ]
        assert levels[0] == 1, name
        assert all(below <= above + 1 for above, below in pairwise(levels)), name


def test_a_dead_link_is_refused():
    with pytest.raises(ValueError, match=r"docs/page\.md: the link absent\.md leads nowhere"):
        site("links").lead("[x](absent.md)", DOCS / "page.md")


def test_code_is_no_link():
    text = "`[x](absent.md)`\n\n```python\n[x](absent.md)\n```\n"
    assert site("links").lead(text, DOCS / "page.md").text == text


# The course.
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_answers_are_right(path: Path):
    text = path.read_text(encoding="utf-8")
    notebooks = site("notebooks")
    cells = notebooks.run(text, path.name)
    answers = re.findall(r"(?s)<details><summary>Answer</summary>.*?</details>", text)
    assert len(answers) >= 2 and all("\nassert " in answer for answer in answers)
    page, pictures = notebooks.page(text, cells, path.stem)
    assert len(pictures) == sum(bool(cell.svg) for cell in cells)
    assert all(f'src="{name}"' in page for name in pictures)
    whole = json.loads(notebooks.notebook(text, cells))
    code = [cell["source"] for cell in whole["cells"] if cell["cell_type"] == "code"]
    assert code == [cell.code.rstrip() for cell in cells]
    assert not any("<details>" in cell["source"] for cell in whole["cells"])


def test_there_are_eight_notebooks_in_the_order_of_the_course():
    contents = (DOCS / "learn" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in LESSONS] == re.findall(r"^\d\. \[.*\]\((.*)\)", contents, re.M)
    assert len(LESSONS) == 8


def test_a_wrong_answer_fails():
    with pytest.raises(AssertionError):
        site("notebooks").run("```python\nx = 1\nassert x == 2\n```\n", "page")


def test_a_cell_shows_what_a_notebook_shows():
    run = site("notebooks").run
    (first, second) = run("```python\nprint(1)\n2\n```\n\n```python\nx = 3\n```\n", "page")
    assert (first.printed, second.printed) == ("1\n2", "")
    code = "from gatewright.draw.notebook import lines\nlines({'a': [1, 2]})"
    (drawn,) = run(f"```python\n{code}\n```\n", "page")
    assert drawn.svg.startswith("<svg") and drawn.printed == ""


@pytest.mark.parametrize("path", RUN_IN_ORDER, ids=lambda path: path.stem)
def test_code_of_a_page_runs_in_order(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert site("notebooks").run(path.read_text(encoding="utf-8"), path.name)


@pytest.mark.parametrize("curves", [{}, {"empty": []}, {str(k): [1.0] for k in range(8)}])
def test_a_picture_without_lines_is_refused(curves: dict[str, list[float]]):
    with pytest.raises(gw.ArgumentError, match="expected 1 to 7 curves"):
        lines(curves)


def test_a_picture_is_shown_by_notebooks():
    assert Drawing("<svg></svg>")._repr_svg_() == "<svg></svg>"
    drawn = lines({"falls": [1.0, 0.1, 0.0]}, log=True).svg
    assert "falls" in drawn and "nan" not in drawn


# The versions.
def test_the_versions_are_listed_from_the_newest(tmp_path: Path):
    versions = site("versions")
    (tmp_path / "notes").mkdir()  # no version
    for version, date in (("0.9.0", "2026-01-01"), ("0.10.0", "2026-02-01"), ("0.9.0", "x")):
        (tmp_path / version / "learn").mkdir(parents=True, exist_ok=True)
        (tmp_path / version / "learn" / "index.html").write_text(date)
        versions.publish(tmp_path, version, date)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("0.9.0", "0.10.0", "notes", "index.html", "versions.js")
    }
    assert [(v.version, v.date) for v in versions.stored(tmp_path)] == [
        *(("0.10.0", "2026-02-01"), ("0.9.0", "x"))
    ]
    text = (tmp_path / "versions.js").read_text()
    listed = json.loads(text.removeprefix("const gatewrightVersions = ").rstrip(";\n"))
    assert listed[0]["pages"] == ["learn/index.html"]
    assert 'url=0.10.0/index.html"' in (tmp_path / "index.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_switch_leads_to_the_page_of_another_version(tmp_path: Path):
    """From the disk: the template and its script, on pages that have nothing else."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 fills the template")
    website = DOCS / "website"
    template = jinja2.Template((website / "templates" / "versions.html").read_text("utf-8"))
    script = (website / "static" / "versions.js").read_text(encoding="utf-8")
    pages = {"1.0": ("index", "learn/rnn"), "1.1": ("index", "learn/rnn", "learn/new")}
    for version, names in pages.items():
        (tmp_path / version / "learn").mkdir(parents=True)
        (tmp_path / version / "_static").mkdir()
        (tmp_path / version / "_static" / "versions.js").write_text(script)
        for name in names:
            root = "../" * name.count("/") or "./"
            text = template.render(version=version, pagename=name, content_root=root)
            (tmp_path / version / f"{name}.html").write_text(text)
        site("versions").publish(tmp_path, version, "2026-11-28")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_url("**/1.1/index.html")  # the newest
        for start, end in (("rnn", "learn/rnn"), ("new", "index")):
            page.goto((tmp_path / "1.1" / "learn" / f"{start}.html").as_uri())
            page.select_option("select", "1.0")
            page.wait_for_url(f"**/1.0/{end}.html")
        assert page.locator("select").input_value() == "1.0"
        assert page.locator("option").all_inner_texts() == ["1.1 (2026-11-28)", "1.0 (2026-11-28)"]
        browser.close()


def test_the_version_of_the_site_is_that_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    versions = site("versions")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert versions.release()[0] == project["version"]
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Coming\n")
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="expected the first heading"):
        versions.release()


# The references.
def test_the_reference_has_every_public_name():
    pages = site("api").api_pages()
    documented = re.findall(r":\{py:\w+\} ([\w.]+)", "\n".join(pages.values()))
    for name in gw.__all__:
        value = getattr(gw, name)
        if isinstance(value, ModuleType):
            names = [f"{value.__name__}.{member}" for member in value.__all__]
            assert set(names) <= set(documented) and name in pages
        else:
            assert documented.count(f"gatewright.{name}") == 1, name
    assert "gatewright.Recurrent.trace" in documented
    assert "&lt;" not in pages["gatewright"] and "0x" not in pages["gatewright"]


def test_a_docstring_becomes_markdown():
    text = (
        "Do it.\n\nArgs:\n    a: First\n        line.\n    *b: Rest.\n\n>>> f(1)  # doctest: +SKIP"
    )
    parts = [
        "Do it.",
        "**Arguments**",
        "- `a`: First\n      line.\n- `*b`: Rest.",
        "```pycon\n>>> f(1)\n```",
    ]
    assert site("docstrings").markdown(text) == "\n\n".join(parts)


def options() -> dict[str, set[str]]:
    """The options of each command, from the page that the program makes."""
    page = site("commands").command_page()
    sections = re.findall(r"(?ms)^## gatewright (\w+)\n(.*?)(?=^## |\Z)", page)
    return {name: set(re.findall(r"`(--[\w-]+)`", text)) for name, text in sections}


def test_every_documented_command_exists_with_its_options():
    known = options()
    wrong = []
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for block in re.findall(r"(?s)```sh\n(.*?)```", path.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.partition("#")[0]
                for command, rest in re.findall(r"\bgatewright (\w[\w-]*)(.*)", line):
                    unknown = set(re.findall(r"(?<=\s)--[\w-]+", rest)) - known.get(command, set())
                    if command not in known or unknown:
                        wrong.append(f"{path.relative_to(ROOT)}: {line.strip()}")
    assert wrong == []


def test_the_environment_variables_are_those_of_the_source():
    """Written as text in the source, which hides none: a computed name is refused."""
    names = set()
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "environ" in text else ():
            names |= read_variables(node, path)
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (`[^|]+`) \|", page)
    assert names == {name for row in rows for name in re.findall(r"\w+", row)}


def read_variables(node: ast.AST, path: Path) -> set[str]:
    """The variable that an expression reads from `os.environ`, if any."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr="get" | "pop"), args=[key, *_]):
            pass
        case ast.Call(func=ast.Attribute(value=ast.Name("os") as owner, attr="getenv"), args=[key]):
            pass
        case ast.Subscript(value=owner, slice=key):
            pass
        case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[owner]):
            pass
        case _:
            return set()
    if ast.unparse(owner) != "os.environ" and not ast.unparse(node).startswith("os.getenv"):
        return set()
    assert isinstance(key, ast.Constant), f"{path}:{node.lineno}: write the name of the variable"
    return {key.value}


# Measurements.
def test_the_measured_figures_are_those_of_the_raw_results():
    pages = site("measured").measured_pages()
    results = ROOT / "benchmarks" / "results"
    newest = sorted(results.glob("public-forecasts-*.json"))[-1]
    name, row = next(iter(json.loads(newest.read_text(encoding="utf-8")).items()))
    assert f"| {name} | {row['final']:.3g} |" in pages["measured-accuracy.md"]
    science = json.loads((results / "science" / "adding.json").read_text(encoding="utf-8"))
    scores = [run["score"] for run in science.values() if run["entry"] == "GRU"]
    assert f"GRU | {sum(scores) / len(scores):.3g} |" in pages["measured-science.md"]
    for page in pages.values():
        widths = {line.count("|") for line in page.split("\n\n")[-2].splitlines()}
        assert len(widths) == 1  # whole rows


def test_the_newest_measurement_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measured = site("measured")
    for module in (measured, sys.modules["figures.raw"]):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules["figures.raw"], "RESULTS", tmp_path)
    monkeypatch.setattr(measured, "steps", measured.steps.__wrapped__)  # without its cache
    for day, ours in (("20260101", 1e-6), ("20260102", 2e-6)):
        row = {"cell": "lstm", "units": 64, "peer": "torch", "ours": ours, "theirs": 4e-6}
        (tmp_path / f"stream-{day}.json").write_text(json.dumps({"rows": [row]}))
    assert "| `lstm`, 64, torch | 2 | 4 | 2.00 |" in measured.stream_table()
    with pytest.raises(FileNotFoundError, match="serve"):
        measured.server_table()


def test_the_site_adds_to_the_packages_of_the_tests():
    """A package in both locks could be in two versions at once."""
    names = [
        {
            re.sub("[-_.]+", "-", line.partition("==")[0]).lower()
            for line in lock.read_text(encoding="utf-8").splitlines()
            if "==" in line
        }
        for lock in (ROOT / "requirements.lock", DOCS / "requirements.lock")
    ]
    assert names[0] & names[1] == set()
    assert {"sphinx", "furo", "myst-parser"} <= names[1]
