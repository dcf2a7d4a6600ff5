"""One family of errors: drawn as it is, caught by one class, able to cross a process pool."""

from __future__ import annotations

import copy
import pickle

import pytest

from gatewright import errors
from gatewright.errors import CellError, GatewrightError

FAMILY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GatewrightError) and kind is not GatewrightError
]


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_the_tree_in_the_docstring_is_the_tree(kind):
    lines = [line for line in (errors.__doc__ or "").splitlines() if f"─ {kind.__name__} " in line]
    assert len(lines) == 1
    for base in (ValueError, RuntimeError, TypeError):
        assert (base.__name__ in lines[0]) == issubclass(kind, base)


def test_a_cell_error_names_cell_line_fact_and_hint():
    error = CellError("`if` on the gate f", cell="MyCell", line=12, hint="use gw.where")
    assert str(error) == "MyCell, line 12: `if` on the gate f\n  hint: use gw.where"
    assert str(CellError("no state", cell="MyCell")) == "MyCell: no state"
    assert str(CellError("no state", line=3)) == "line 3: no state"
    assert str(CellError("no state")) == "no state"


@pytest.mark.parametrize("again", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_cell_error_survives_copying(again):
    error = CellError("no state", cell="MyCell", line=3, hint="return gw.state(...)")
    error.add_note("seen in a worker")
    copied = again(error)
    assert type(copied) is CellError and str(copied) == str(error)
    assert (copied.cell, copied.line, copied.hint) == ("MyCell", 3, "return gw.state(...)")
    assert copied.__notes__ == ["seen in a worker"]
