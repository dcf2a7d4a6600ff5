"""torch's own functions as a backend: they compute what the reference does, on every call."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright.backends import choose, torch_functions
from gatewright.backends.recognise import FUNCTIONS, recognise
from gatewright.errors import BackendError
from odd_cells import CELLS, make, random_states, sequences
from test_kernels import F64, LAYOUTS, everything, task_of
from tolerances import close, gradients, tensors

#: The cells that torch has, under their own names and under others.
NAMES = ("elman_rnn", "elman_relu", "lstm", "projected", "gru")


class Renamed(gw.Cell):
    """An LSTM with other names, another order of its states, and a product without a bias."""

    def step(self, x: Any, store: Any, out: Any) -> Any:
        keep = gw.sigmoid(gw.linear(out, x))
        fresh = gw.tanh(gw.linear(x, out, bias=False))
        admit = gw.sigmoid(gw.linear(x, out))
        show = gw.sigmoid(gw.linear(x, out))
        store = admit * fresh + store * keep
        out = gw.tanh(store) * show
        return gw.state(store=store, out=out, output=out)


def graph_of(name: str) -> Any:
    return Renamed().graph if name == "renamed" else CELLS[name][0].graph


@pytest.mark.parametrize("name", [*NAMES, "renamed"])
def test_a_run_is_what_the_reference_computes(name: str):
    """Every layout, both directions, with and without restarts, in float64."""
    graph = graph_of(name)
    turns = itertools.product(LAYOUTS, [False, True], [False, True])
    for turn, (layout, reverse, restart) in enumerate(turns):
        sizes = {"input": 3, "hidden": 5}
        how: dict[str, Any] = {"reverse": reverse, "restart": restart, "names": False}
        task = task_of(graph, sizes, F64, layout, states=turn % 3 != 0, seed=turn, **how)
        close(everything("torch", task), everything("reference", task), f"{turn}")
