"""The files for people who come to the project: they are true, and agree with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest

from test_docs import CODE, LINK

yaml = pytest.importorskip("yaml", reason="PyYAML reads the files of the repository's host")

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md")
CHAPTERS = ("A cell", "An operation", "A task", "A backend")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.usefixtures("forked_python")
def test_the_worked_examples_of_contributing_run(tmp_path: Path):
    """Every chapter has a block; they run in order, in one process, as a reader would."""
    chapters = re.split(r"^## ", text_of("CONTRIBUTING.md"), flags=re.MULTILINE)
    blocks = {}
    for chapter in chapters:
        blocks[chapter.splitlines()[0]] = re.findall(r"(?s)```python\n(.*?)```", chapter)
    assert [name for name, code in blocks.items() if code] == list(CHAPTERS)
    file = tmp_path / "examples.py"
    file.write_text("\n".join(block for code in blocks.values() for block in code), "utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "z * h + (1 - z) * n" in done.stdout  # the cell's equations
    assert "'distance':" in done.stdout  # the task's metric
    rounding = float(done.stdout.split("rounding: ")[1])
    assert 0 < rounding < 1e-6  # the backend ran, in another precision


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_pages_lead_somewhere(page: str):
    targets = [a or b for a, b in LINK.findall(CODE.sub("", text_of(page)))]
    for target in targets:
        path = target.split("#")[0]
        if path and not path.startswith("https://"):
            assert (ROOT / path).exists(), f"{page} links to {target}"
    assert page == "CHANGELOG.md" or targets


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["version"] == version and citation["license"] == PROJECT["license"]
    first = re.search(r"^## \[(.+?)\] - (\S+)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert first and first[1] == version
    if first[2] == "Unreleased":
        assert "date-released" not in citation
    else:
        assert citation["date-released"] == date.fromisoformat(first[2])
    minor = version.rpartition(".")[0]
    assert re.search(rf"^## From \S+ to {minor}$", text_of("docs/upgrading.md"), re.MULTILINE)
    assert citation["repository-code"] == PROJECT["urls"]["Source"]


def test_the_matrix_has_the_versions_of_python_that_are_declared():
    jobs = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]
    matrix = jobs["newest"]["strategy"]["matrix"]
    prefix = "Programming Language :: Python :: 3."
    declared = [c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)]
    assert matrix["python"] == [f"3.{minor}" for minor in declared]
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert matrix["python"][0] == lowest
    assert {row["os"].split("-")[0] for row in matrix["include"]} == {"macos", "windows"}
    assert all(row["allowed-to-fail"] for row in matrix["include"])
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    for command in commands:
        program = command.split()[0]
        assert program == "python" or (ROOT / program).is_file()
        if program == "./dev":
            assert f"    {command.split()[1]}) setup;" in text_of("dev")


def test_pre_commit_formats_with_the_version_of_the_lock():
    (repository,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert f"ruff=={repository['rev'].removeprefix('v')}\n" in text_of("requirements.lock")
    assert {hook["id"] for hook in repository["hooks"]} == {"ruff-check", "ruff-format"}


def test_issue_forms_ask_for_what_is_needed():
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("*.yml")}
    assert forms.keys() == {"bug", "idea", "config"}
    for name in ("bug", "idea"):
        form = forms[name]
        assert form["name"] and form["description"]
        labels = [field["attributes"]["label"] for field in form["body"]]
        assert len(labels) == len(set(labels)) >= 2
    assert "gatewright doctor" in str(forms["bug"]) and "SECURITY.md" in str(forms["config"])


def test_the_python_files_keep_the_rules_of_the_editors():
    assert "max_line_length = 100" in text_of(".editorconfig")
    lint = tomllib.loads(text_of("pyproject.toml"))["tool"]["ruff"]
    assert lint["line-length"] == 100
