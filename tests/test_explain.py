"""`layer.explain` prints which backend runs, why no faster one does, and the work."""

from __future__ import annotations

import pytest
import torch

import gatewright as gw
from gatewright import erf, linear
from gatewright.backends.llvm.mathematics import POINTWISE


class Odd(gw.Cell):
    """A cell with an operation that the test removes from the kernels."""

    def step(self, x, h):
        h = erf(linear(x, h))
        return gw.state(h=h)


def test_kernels_are_named_with_what_they_save():
    text = gw.LSTM(3, 5).explain(torch.randn(4, 2, 3))
    assert text.startswith("l0.forward: backend llvm, 4 steps, 8 rows in all")
    assert "saved for the backward pass: g, i, f, o, tanh" in text
    # Four gates of five units read three inputs and five hidden units, twice (times and plus).
    assert f"{2 * 8 * 4 * 5 * (3 + 5) / 1e6:.1f} MFLOP" in text
    assert "not " not in text


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
    text = layer.explain(torch.randn(4, 2, 3))
    assert "backend reference" in text
    assert "not llvm: they have no erf yet" in text
    named = gw.Recurrent(Odd, 3, 5, backend="llvm")
    with pytest.raises(gw.BackendError, match="no erf yet"):
        named(torch.randn(4, 2, 3))


def test_a_backend_asked_for_is_given_as_the_reason():
    text = gw.GRU(3, 5, backend="reference").explain(torch.randn(4, 2, 3))
    assert 'not llvm: backend="reference" was asked for' in text


def test_each_layer_and_direction_has_its_part_and_lengths_count():
    layer = gw.GRU(3, 5, 2, bidirectional=True)
    text = layer.explain(torch.randn(4, 2, 3), lengths=[4, 1])
    names = [line.split(":")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert names == ["l0.forward", "l0.reverse", "l1.forward", "l1.reverse"]
    assert text.count("4 steps, 5 rows in all") == 4
