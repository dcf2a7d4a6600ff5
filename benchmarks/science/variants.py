"""The eight LSTM variants of Greff et al., each with a single change, on four memory tasks.

    python benchmarks/science/variants.py --seeds 5

Greff et al. 2017, "LSTM: a search space odyssey", report that no variant beats the full LSTM by
much; that it is clearly worse without the forget gate or the output activation; and that
coupling the input and forget gates, or leaving out the peepholes, costs nothing. Their data were
speech, handwriting and music.
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
    """Train the networks and print the table."""
    arguments = options(__doc__).parse_args()
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
        arguments,
    )


if __name__ == "__main__":
    main()
