"""Train on values that arrive at irregular times, with a cell that reads the time between them.

    python examples/irregular_series.py

The task: find the frequency of a wave from a few readings at random times. Without the times the
frequency can only be guessed. The same cell is trained twice: with the true time differences, and
with every difference set to their mean.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

import gatewright as gw

STEPS, HIDDEN = 12, 24


def waves(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make readings `(rows, steps, 1)`, their time differences `(rows, steps)`, and the targets.

    The target is the frequency, scaled to be uniform in [-1, 1]. The constant answer 0 then has a
    mean squared error of 1/3.
    """
    target = torch.rand(rows, 1) * 2 - 1
    dt = torch.rand(rows, STEPS) * 2
    phase = torch.rand(rows, 1) * 6.28
    times = dt.cumsum(1)
    return torch.sin((1.0 + 0.6 * target) * times + phase).unsqueeze(-1), dt, target


def train(with_times: bool, updates: int) -> float:
    """Train the cell with or without the times; return its mean squared error on new waves."""
    torch.manual_seed(0)
    layer = gw.Recurrent("cfc", 1, HIDDEN, batch_first=True)
    head = nn.Linear(HIDDEN, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)

    def error(rows: int) -> Tensor:
        x, dt, target = waves(rows)
        output, _ = layer(x, dt=dt if with_times else torch.ones_like(dt))
        return nn.functional.mse_loss(head(output[:, -1]), target)

    for _ in range(updates):
        optimizer.zero_grad()
        loss = error(64)
        loss.backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        return error(2000).item()


def main(updates: int = 600) -> int:
    """Print the cell, then train it both ways."""
    print(gw.CELLS["cfc"](), end="\n\n")
    for with_times, title in ((False, "equal time differences"), (True, "true time differences")):
        error = train(with_times, updates)
        print(f"{title}: mean squared error {error:.3f} (chance 0.333)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
