"""Timed spikes and periodic functions, with and without peepholes.

    python benchmarks/science/timing.py --seeds 5

Gers, Schraudolph and Schmidhuber 2002: measuring works without peepholes, generating needs
them. Their networks are as small as these; they were trained online, one change a step.
"""

from __future__ import annotations

from common import Entry, options, perform
from networks import network

from gatewright.memory import TASKS, Budget

GERS = "Gers et al. 2002"
UNITS = 4
BUDGET = Budget(steps=6000, batch=16, rate=1e-2, check=100)


def main() -> None:
    """Train, and print the table."""
    given = options(__doc__).parse_args()
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
            Entry(name, task, network(cell, UNITS), BUDGET, f"{published[at]} ({GERS})")
            for task, published in tasks.items()
            for at, (name, cell) in enumerate(cells.items())
        ],
        given,
    )


if __name__ == "__main__":
    main()
