"""The adding problem at T = 600, where Bai et al. 2018 report an LSTM that stays at chance.

python benchmarks/science/adding.py --seeds 3
"""

from __future__ import annotations

from common import Entry, options, perform
from networks import chrono, network

from gatewright.memory import TASKS, Budget

BAI = "Bai et al. 2018, table 1"
#: Bai et al. allow 70 000 parameters; these networks have about 17 000.
BUDGET = Budget(steps=4000, batch=32, rate=3e-3, check=100, enough=0.999)


def main() -> None:
    """Train the networks and print the table."""
    parser = options(__doc__)
    parser.add_argument("--length", type=int, default=600, help="sequence length T (default: 600)")
    arguments = parser.parse_args()
    task = TASKS["adding"](steps=arguments.length)
    perform(
        "adding",
        [
            Entry(
                "LSTM, chrono start", task, network("lstm", 64, chrono(arguments.length)), BUDGET
            ),
            Entry("GRU, chrono start", task, network("gru", 64, chrono(arguments.length)), BUDGET),
            Entry("LSTM", task, network("lstm", 64), BUDGET, f"0.164 ({BAI})"),
            Entry("GRU", task, network("gru", 64), BUDGET, f"5.3e-5 ({BAI})"),
            Entry("RNN", task, network("elman_rnn", 64), BUDGET, f"0.177 ({BAI})"),
        ],
        arguments,
    )


if __name__ == "__main__":
    main()
