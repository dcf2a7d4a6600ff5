"""Timed spikes and periodic functions, with and without peepholes.

    python benchmarks/science/timing.py --seeds 5

Gers, Schraudolph and Schmidhuber 2002 report that measuring intervals works without peepholes
and that generating events needs them. Their networks were as small as these, but were trained
online, with one update per time step.
"""

from __future__ import annotations

from common import Entry, options, perform
from networks import network

from gatewright.memory import TASKS, Budget

GERS = "Gers et al. 2002"
UNITS = 4
BUDGET = Budget(steps=6000, batch=16, rate=1e-2, check=100)


def main() -> None:
    """Train the networks and print the table."""
    arguments = options(__doc__).parse_args()
    # For each task, the published outcome without and with peepholes, in the order of `cells`.
    tasks = {
        TASKS["measure_spikes"](): ("works", "works"),
        TASKS["generate_spikes"](): ("fails", "works"),
        TASKS["periodic"]("cosine", 25, 8): ("fails", "works"),
        TASKS["periodic"]("triangle", 10, 12): ("fails", "works"),
        TASKS["periodic"]("rectangle", 10, 12): ("fails", "works"),
    }
    cells = {"LSTM": "lstm", "peephole LSTM": "peephole_lstm"}
    perform(
        "timing",
        [
            Entry(name, task, network(cell, UNITS), BUDGET, f"{outcome} ({GERS})")
            for task, outcomes in tasks.items()
            for (name, cell), outcome in zip(cells.items(), outcomes, strict=True)
        ],
        arguments,
    )


if __name__ == "__main__":
    main()
