"""Greff's eight variants of the LSTM, one thing changed in each, on four memory tasks.

    python benchmarks/science/variants.py --seeds 5

Greff et al. 2017, "LSTM: a search space odyssey": no variant beats the full LSTM by much;
without forget gate or output activation it is clearly worse; coupling the input and forget
gates, or leaving out peepholes, costs nothing. They used speech, handwriting and music.
"""

from __future__ import annotations

from common import Entry, options, perform
from networks import network

from gatewright.memory import TASKS, Budget

VARIANTS = {
    "peephole_lstm": "the full one",
    "lstm_nig": "worse: no input gate",
    "lstm_nfg": "clearly worse: no forget gate",
    "lstm_nog": "worse: no output gate",
    "lstm_niaf": "little worse: no input activation",
    "lstm_noaf": "clearly worse: no output activation",
    "lstm_np": "no difference: no peepholes",
    "lstm_cifg": "no difference: coupled gates",
    "lstm_fgr": "no better: full gate recurrence",
}
BUDGET = Budget(steps=1500, rate=5e-3)


def main() -> None:
    """Train, and print the table."""
    given = options(__doc__).parse_args()
    tasks = [
        TASKS["recall"](lag=10, distractors=True),
        TASKS["adding"](steps=30),
        TASKS["continual_reber"](strings=4),
        TASKS["temporal_order"](steps=30),
    ]
    perform(
        "variants",
        [
            Entry(name, task, network(name, 32), BUDGET, published)
            for task in tasks
            for name, published in VARIANTS.items()
        ],
        given,
    )


if __name__ == "__main__":
    main()
