"""The operations of a step on the reference: on a GPU each of them is a launch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import gatewright as gw

#: Operations that compute nothing.
VIEWS = {
    "slice",
    "split",
    "split_with_sizes",
    "unsqueeze",
    "expand",
    "detach",
    "t",
    "view",
    "_unsafe_view",
    "alias",
}


class Counting(TorchDispatchMode):
    """A count of the operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.counts[function.__name__.partition(".")[0]] += 1
        return function(*args, **(kwargs or {}))


def counts_of(layer: gw.Recurrent, steps: int) -> tuple[Counter[str], Counter[str]]:
    """The operations of a forward and of a backward run."""
    x = torch.randn(steps, 2, 3, requires_grad=True)
    with Counting() as counting:
        output, _ = layer(x)
        forward = counting.counts.copy()
        output.sum().backward()
    return forward, counting.counts - forward


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [("peephole_lstm", 20, 31), ("lesson_lstm", 16, 23), ("mgu", 11, 21)],
)
def test_a_step_has_no_operation_that_can_be_done_once(name: str, forward: int, backward: int):
    """The inputs' products are before the loop; vectors' gradients are summed after it."""
    layer = gw.Recurrent(name, 3, 5, backend="reference")
    few, many = counts_of(layer, 4), counts_of(layer, 14)
    for before, after, most in zip(few, many, (forward, backward), strict=True):
        step = Counter({k: (n - before[k]) / 10 for k, n in after.items() if n != before[k]})
        assert sum(n for operation, n in step.items() if operation not in VIEWS) <= most, step
        # The gradient of a part of the rows is a copy, and that of a repeated vector a sum.
        assert not {"slice_backward", "sum"} & step.keys()
