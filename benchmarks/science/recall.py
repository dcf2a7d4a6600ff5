"""Delayed recall: the longest lag that RNNs and gated networks learn, by initialisation.

    python benchmarks/science/recall.py --seeds 5

The lesson gives 8 to 10 steps for an RNN. Each lag is tried twice: with blank steps between the
symbol and the question, and with distracting symbols there.
"""

from __future__ import annotations

from common import Entry, options, perform
from networks import chrono, network

from gatewright.cells.rnn import ElmanRNN
from gatewright.layers.init import forget_bias_, identity_, orthogonal_
from gatewright.memory import TASKS, Budget

LAGS = (5, 10, 20, 50, 100)
LESSON = "8 to 10 steps (the lesson)"


def main() -> None:
    """Train the networks and print the table."""
    arguments = options(__doc__).parse_args()
    budget = Budget(steps=1000, rate=5e-3)
    rectified = ElmanRNN(nonlinearity="relu")
    networks = {
        "RNN": (network("elman_rnn", 32), LESSON),
        "RNN, orthogonal start": (network("elman_rnn", 32, orthogonal_), ""),
        "IRNN": (network(rectified, 32, identity_), ""),
        "LSTM": (network("lstm", 32), ""),
        "LSTM, forget bias 1": (network("lstm", 32, forget_bias_), ""),
        "LSTM, chrono start": (network("lstm", 32, chrono(200)), ""),
        "GRU": (network("gru", 32), ""),
        "GRU, chrono start": (network("gru", 32, chrono(200)), ""),
    }
    perform(
        "recall",
        [
            Entry(name, TASKS["recall"](lag=lag, distractors=distractors), build, budget, published)
            for distractors in (False, True)
            for lag in LAGS
            for name, (build, published) in networks.items()
        ],
        arguments,
    )


if __name__ == "__main__":
    main()
