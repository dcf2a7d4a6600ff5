"""Values that arrive at any time: a cell that is told how much time has passed.

    python examples/irregular_series.py

The task: a few readings of a wave, each at a random time; say how fast it swings. From the
values alone that can only be guessed. The same cell is trained with the true time differences,
and with all of them set to their mean.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

import gatewright as gw

STEPS, HIDDEN = 12, 24


def waves(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Readings `(rows, steps, 1)`, the time since the last one `(rows, steps)`, and the target.

    The target is the frequency, uniform in [-1, 1] after scaling, so that to say 0 is wrong by
    a mean square of 1/3.
    """
    target = torch.rand(rows, 1) * 2 - 1
    dt = torch.rand(rows, STEPS) * 2
    phase = torch.rand(rows, 1) * 6.28
    times = dt.cumsum(1)
    return torch.sin((1.0 + 0.6 * target) * times + phase).unsqueeze(-1), dt, target


def train(told: bool, updates: int) -> float:
    """The mean square error on new waves, of a cell that is told the times or is not."""
    torch.manual_seed(0)
    layer = gw.Recurrent("cfc", 1, HIDDEN, batch_first=True)
    head = nn.Linear(HIDDEN, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)

    def error(rows: int) -> Tensor:
        x, dt, target = waves(rows)
        output, _ = layer(x, dt=dt if told else torch.ones_like(dt))
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
    """Show the cell, then train it both ways."""
    print(gw.CELLS["cfc"](), end="\n\n")
    for told, words in ((False, "all differences alike"), (True, "true time differences")):
        print(f"{words}: mean square error {train(told, updates):.3f} (chance 0.333)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
