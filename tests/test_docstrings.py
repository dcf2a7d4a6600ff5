"""The examples in the docstrings run, and every public function has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import gatewright as gw
import gatewright.data
import gatewright.memory
import gatewright.probes
import gatewright.serve

PACKAGE = Path(gw.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("gatewright", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
    # They need an extra, and their own tests run them.
    and not {"estimators", "rl"} & set(path.relative_to(PACKAGE).parts)
)
PUBLIC = {
    f"{owner.__name__}.{name}": getattr(owner, name)
    for owner in (
        gw,
        gw.init,
        gatewright.probes,
        gatewright.memory,
        gatewright.data,
        gatewright.serve,
    )
    for name in owner.__all__
}


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_run(module: str):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize(
    "name", [name for name, value in PUBLIC.items() if inspect.isfunction(value)]
)
def test_every_public_function_has_an_example(name: str):
    words = PUBLIC[name].__doc__ or ""
    assert ">>>" in words or "element by element" in words  # sigmoid and other functions like it
