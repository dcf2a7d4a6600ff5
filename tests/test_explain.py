"""`layer.explain` says which backend runs, why not a faster one, and what there is to do."""

from __future__ import annotations

import pytest
import torch

import gatewright as gw
from gatewright import erf, linear
from gatewright.backends.llvm.mathematics import POINTWISE


class Odd(gw.Cell):
    """A cell whose operation the test takes away from the kernels."""

    def step(self, x, h):
        h = erf(linear(x, h))
        return gw.state(h=h)


def test_kernels_are_named_with_what_they_save():
    said = gw.LSTM(3, 5).explain(torch.randn(4, 2, 3))
    assert said.startswith("l0.forward: backend llvm, 4 steps, 8 rows in all")
    assert "saved for the backward pass: g, i, f, o, tanh" in said
    # Four gates of five units read three inputs and five hidden units, twice (times and plus).
    assert f"{2 * 8 * 4 * 5 * (3 + 5) / 1e6:.1f} MFLOP" in said
    assert "not " not in said


def test_the_register_tiles_of_the_kernels_are_named():
    x = torch.randn(4, 2, 3)
    lines = [line for line in gw.LSTM(3, 5).explain(x).splitlines() if "products " in line]
    assert [line.split(":")[0].strip() for line in lines if "tiles" in line] == [
        "products before the loop",
        "products in the loop",
    ]
    assert all("4 sum(s) in " in line for line in lines if "tiles" in line)
    reference = gw.LSTM(3, 5, backend="reference").explain(x)
    assert "tiles" not in reference


def test_a_cell_that_kernels_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(POINTWISE, "erf")
    layer = gw.Recurrent(Odd, 3, 5)
    said = layer.explain(torch.randn(4, 2, 3))
    assert "backend reference" in said
    assert "not llvm: they have no erf yet" in said
    named = gw.Recurrent(Odd, 3, 5, backend="llvm")
    with pytest.raises(gw.BackendError, match="no erf yet"):
        named(torch.randn(4, 2, 3))


def test_a_backend_asked_for_is_given_as_the_reason():
    said = gw.GRU(3, 5, backend="reference").explain(torch.randn(4, 2, 3))
    assert 'not llvm: backend="reference" was asked for' in said


def test_each_layer_and_direction_has_its_part_and_lengths_count():
    layer = gw.GRU(3, 5, 2, bidirectional=True)
    said = layer.explain(torch.randn(4, 2, 3), lengths=[4, 1])
    names = [line.split(":")[0] for line in said.splitlines() if not line.startswith(" ")]
    assert names == ["l0.forward", "l0.reverse", "l1.forward", "l1.reverse"]
    assert said.count("4 steps, 5 rows in all") == 4
