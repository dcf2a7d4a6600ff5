"""Inference in one loop has the bits of the two parts, and is chosen by rows and matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import gatewright as gw
from gatewright.backends import choose
from gatewright.backends.llvm import fusing
from gatewright.backends.run import Run
from kernel_build import unoptimised
from test_kernel_rows import Blocks
from test_kernels import F32, F64, LAYOUTS, VARIANTS, fitting, results_of, task_of, threads

__all__ = ["threads"]  # a fixture


class Normed(gw.Cell):
    """A part before the loop that has several nests: it reads whole rows."""

    def step(self, x, h):
        return gw.state(h=gw.tanh(gw.layer_norm(gw.linear(x)) + gw.linear(h) * gw.softmax(x)))


CELLS = {
    **{name: VARIANTS[name] for name in ("lstm", "gru_before", "wide", "projected", "many_gates")},
    "blocks": Blocks(),
    "normed": Normed(),
}


def values(run: Run) -> dict[str, torch.Tensor]:
    """All results of an inference."""
    with torch.no_grad():
        return results_of(choose.run_on("llvm", run))


def is_fused(run: Run, dtype: torch.dtype = F32) -> bool:
    """Tell if an inference has no part before its loop."""
    with torch.no_grad():
        return "before" not in fusing.kernels_of(run, dtype).parts


@pytest.mark.parametrize("name", CELLS)
def test_every_bit_is_that_of_two_parts(name: str, monkeypatch: pytest.MonkeyPatch):
    """With all named values, with none, and with one that is held; for ragged rows and restarts."""
    graph = CELLS[name].graph
    full = task_of(graph, fitting(graph, (17, 33)), F64, LAYOUTS[4], restart=True)
    named = next(name for name, term in graph.values.items() if not term.boolean)
    held = values(full)[f"value {named}"]
    runs = [
        full,
        replace(full, names=[], reverse=True),
        replace(full, names=[n for n in full.names if n != named], hold={named: held}),
    ]
    with unoptimised():
        monkeypatch.setattr(fusing, "FUSED_ROWS", 1000)
        apart = [values(run) for run in runs]
        assert not any(is_fused(run, F64) for run in runs)
        monkeypatch.setattr(fusing, "FUSED_ROWS", 0)
        for run, expected in zip(runs, apart, strict=True):
            assert is_fused(run, F64)
            for key, value in values(run).items():
                assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("dtype", [F32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [gw.LSTM, gw.GRU])
def test_a_layer_has_the_same_bits_with_gradients_and_without(kind: type, dtype: torch.dtype):
    """Calls with gradients run in two parts, repeated ones without in one loop."""
    torch.manual_seed(0)
    layer = kind(12, 20, num_layers=2, bidirectional=True).to(dtype)
    x = torch.randn(5, 80, 12, dtype=dtype)
    expected = layer(x)[0].detach()
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(layer(x)[0], expected)


def test_the_choice_follows_rows_and_matrices(threads: Callable[[int], None]):
    def run(rows: int, hidden: int) -> Run:
        sizes = {"input": 16, "hidden": hidden}
        return task_of(gw.CELLS["lstm"]().graph, sizes, F32, (rows, (rows, rows)), names=False)

    threads(2)
    assert is_fused(run(12, 8)) and not is_fused(run(11, 8))
    threads(3)
    assert not is_fused(run(12, 8))
    threads(1)
    # 4 gates, (16 + H) numbers a unit: 1 MB of float32 is at H = 248.
    assert is_fused(run(6, 248)) and not is_fused(run(6, 249))
    assert is_fused(run(6, 354), torch.bfloat16)
    assert "before" in fusing.kernels_of(run(12, 8), F32).parts  # gradients need two parts
