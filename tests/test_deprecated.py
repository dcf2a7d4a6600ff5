"""Earlier names work, warn with their replacement, and are gone in the version that they name."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import gatewright as gw
from gatewright.deprecated import warn_deprecated
from test_cli import gatewright, refused
from test_packages import PROJECT

PACKAGE = Path(gw.__file__).parent
EARLIER = {"Task": "MemoryTask", "Reader": "StepReader", "Learnt": "LearningResult"}


@pytest.mark.parametrize("name", EARLIER)
def test_an_earlier_name_is_the_same_object_and_warns_where_it_is_used(name: str):
    text = rf"^gw\.memory\.{name} is deprecated and will be removed in Gatewright 0\.\d+; use gw\."
    with pytest.warns(FutureWarning, match=text) as recorded:
        earlier = getattr(gw.memory, name)
    assert earlier is getattr(gw.memory, EARLIER[name])
    assert [warning.filename for warning in recorded] == [__file__]
    with pytest.warns(FutureWarning, match=EARLIER[name]):
        exec(f"from gatewright.memory import {name}")


def test_names_that_never_were_are_refused_and_earlier_ones_are_not_listed():
    with pytest.raises(AttributeError, match="no attribute 'Tusk'"):
        _ = gw.memory.Tusk
    assert not EARLIER.keys() & set(gw.memory.__all__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gw.memory.MemoryTask


def test_an_earlier_option_warns_on_the_error_stream():
    memory = gatewright("memory", "runs/model", "vowels", "--networks", "rnn")
    refused(memory, "warning: --networks is deprecated", "use --cells\n", "leave out MODEL")
    assert "deprecated" not in gatewright("memory", "m", "vowels", "--cells", "rnn").stderr


def test_the_warning_is_on_the_line_of_the_user():
    def callee() -> None:
        warn_deprecated("old", replacement="new", removal="9.0")

    with pytest.warns(FutureWarning, match=r"^old is deprecated .* 9\.0; use new$") as recorded:
        callee()
    assert recorded[0].lineno == callee.__code__.co_firstlineno + 4


def removals(text: str) -> Iterator[tuple[int, ...]]:
    """The versions of removal in a module's text."""
    if "removal=" not in text:  # most modules; to parse all of them took 1 s
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "removal" and isinstance(keyword.value, ast.Constant):
                    yield tuple(map(int, str(keyword.value.value).split(".")))


def test_no_name_is_here_whose_time_has_come():
    present = tuple(map(int, PROJECT["version"].split(".")))
    versions = {
        path.relative_to(PACKAGE).as_posix(): version
        for path in PACKAGE.rglob("*.py")
        for version in removals(path.read_text(encoding="utf-8"))
    }
    assert versions, "the search finds the calls"
    assert [place for place, version in versions.items() if version <= present] == []
    assert list(removals("warn_deprecated('a', replacement='b', removal='0.4')")) == [(0, 4)]
