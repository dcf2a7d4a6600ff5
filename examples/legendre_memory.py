"""A cell with matrices that are never learned: the Legendre Memory Unit.

    python examples/legendre_memory.py
    gatewright train vowels --cell examples/legendre_memory.py:LMU --out model

The task: repeat a signal DELAY steps later. The cell's memory represents the last `window` steps of
one number by Legendre polynomials. The cell learns what to write into the memory and how to read
it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright import linear, tanh

DELAY = 20


class LMU(gw.Cell):
    """Legendre Memory Unit: a fixed linear memory of the last steps, read by a tanh layer.

    Source: Voelker, Kajić and Eliasmith 2019, "Legendre Memory Units: continuous-time
    representation in recurrent neural networks", eqs. 1 to 7.
    """

    order: int = 12
    window: float = 24.0
    sizes: ClassVar = {"m": "order"}

    @property
    def fixed(self) -> Mapping[str, Mapping[str, Tensor]]:
        a, b = legendre(self.order, self.window)
        return {"A": {"m": a}, "B": {"u": b}}

    def step(self, x, h, m):  # type: ignore[no-untyped-def]  # symbolic values, not tensors
        u = linear(x, h, m, size=1, bias=False)
        a_m = linear(m, size="order", bias=False, name="A")
        b_u = linear(u, size="order", bias=False, name="B")
        m = a_m + b_u
        h = tanh(linear(x, h, m))
        return gw.state(h=h, m=m)


def legendre(order: int, window: float) -> tuple[Tensor, Tensor]:
    """Compute A `(order, order)` and B `(order, 1)` of eq. 1 for steps of 1, u constant in each."""
    i = torch.arange(order, dtype=torch.float64).unsqueeze(1)
    j = i.T
    scale = (2 * i + 1) / window
    a = scale * torch.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    b = scale * (-1.0) ** i
    # Zero-order hold: the upper rows of exp([[A, B], [0, 0]]) are both discrete matrices.
    block = torch.cat([torch.cat([a, b], 1), torch.zeros(1, order + 1, dtype=a.dtype)])
    discrete = torch.linalg.matrix_exp(block)[:order]
    return discrete[:, :order], discrete[:, order:]


def delayed(rows: int, steps: int) -> tuple[Tensor, Tensor]:
    """Make smooth noise `(rows, steps, 1)`, and the same noise DELAY steps later, after zeros."""
    noise = torch.randn(rows, 1, steps + 8)
    x = nn.functional.avg_pool1d(noise, 9, 1).transpose(1, 2) * 3.0
    return x, nn.functional.pad(x, (0, 0, DELAY, 0))[:, :steps]


def main() -> int:
    """Check and train the cell, test that its matrices did not change, save and load it."""
    torch.manual_seed(0)
    cell = LMU()
    print(cell, end="\n\n")
    gw.check_cell(cell)

    layer = gw.Recurrent(cell, 1, 16, batch_first=True)
    before = layer.weights("A")["m"][0].clone()
    head = nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)
    for step in range(1, 121):
        x, target = delayed(32, 60)
        loss = nn.functional.mse_loss(head(layer(x)[0]), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
        if step % 40 == 0:
            print(f"step {step:3}: mean squared error {loss.item():.4f} (chance 0.67)")
    assert torch.equal(layer.weights("A")["m"][0], before)

    with tempfile.TemporaryDirectory() as directory:
        loaded = gw.load(gw.save(layer, Path(directory) / "lmu"))
        assert torch.equal(loaded(x)[0], layer(x)[0])
        assert loaded.weights("A").frozen
        print(f"\nsaved and loaded again, with its matrices: {loaded.cell!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
