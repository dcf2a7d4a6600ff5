"""Write a cell of your own in ten lines; train it, look at its gates, save it.

    python examples/custom_cell.py

The task: remember the value of the first step through steps of noise, and repeat it at the end.
The cell is an LSTM whose forget gate also sees the long-term memory.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright import diagonal, linear, sigmoid, tanh


class GlimpseLSTM(gw.Cell):
    """LSTM whose forget gate also sees the long-term memory."""

    def step(self, x, h, c):  # type: ignore[no-untyped-def]  # symbolic values, not tensors
        g = tanh(linear(x, h))
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h) + diagonal(c))
        o = sigmoid(linear(x, h))
        learn = i * g
        forget = f * c
        remember = learn + forget
        use = o * tanh(remember)
        return gw.state(h=use, c=remember)


def recall(rows: int, steps: int) -> tuple[Tensor, Tensor]:
    """Make sequences `(rows, steps, 2)`: a value and a mark, then noise; and return the values."""
    values = torch.rand(rows, 1) * 2 - 1
    x = torch.randn(rows, steps, 2) * 0.1
    x[:, 0] = torch.cat([values, torch.ones(rows, 1)], 1)
    return x, values


def main() -> int:
    """Print the cell, check it, train it, look at a gate, save and load."""
    torch.manual_seed(0)
    cell = GlimpseLSTM()
    print(cell, end="\n\n")
    cell.show(names="lesson")
    gw.check_cell(cell)
    print("\nThe cell passes all checks of gw.check_cell.\n")

    layer = gw.init.forget_bias_(gw.Recurrent(cell, 2, 16, batch_first=True), 1.0)
    head = nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)
    for step in range(1, 151):
        x, values = recall(64, 15)
        output, _ = layer(x)
        loss = nn.functional.mse_loss(head(output[:, -1]), values)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
        if step % 30 == 0:
            print(f"step {step:3}: mean squared error {loss.item():.4f} (chance 0.3333)")

    x, _ = recall(1, 15)
    gates = layer.trace(x)
    forget = gates["f"].mean(dim=(0, 2))
    print("\nforget factor f, mean over units, step by step:")
    print(" ".join(f"{value:.2f}" for value in forget.tolist()))

    with tempfile.TemporaryDirectory() as directory:
        path = gw.save(layer, Path(directory) / "glimpse")
        loaded = gw.load(path)
        assert torch.equal(loaded(x)[0], layer(x)[0])
        print(f"\nsaved and loaded again, without its class: {loaded.cell!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
