"""The copying task at T = 300 (and 1000), where published LSTMs do no better than no memory.

python benchmarks/science/copying.py --seeds 3
python benchmarks/science/copying.py --delay 1000 --seeds 1
"""

from __future__ import annotations

from common import Entry, options, perform
from networks import chrono, network

from gatewright.memory import TASKS, Budget

BAI = "Bai et al. 2018, table 1, T = 1000"
BUDGET = Budget(steps=8000, batch=32, rate=3e-3, check=200, enough=0.999)


def main() -> None:
    """Train the networks and print the table."""
    parser = options(__doc__)
    parser.add_argument(
        "--delay",
        type=int,
        default=300,
        help="steps T between the symbols and the answer (default: 300)",
    )
    arguments = parser.parse_args()
    task = TASKS["copy"](delay=arguments.delay)
    longest_memory = int(1.5 * arguments.delay)
    perform(
        "copying",
        [
            Entry("LSTM, chrono start", task, network("lstm", 128, chrono(longest_memory)), BUDGET),
            Entry("GRU, chrono start", task, network("gru", 128, chrono(longest_memory)), BUDGET),
            Entry("LSTM", task, network("lstm", 128), BUDGET, f"0.0204 ({BAI})"),
            Entry("GRU", task, network("gru", 128), BUDGET, f"0.0197 ({BAI})"),
            Entry("RNN", task, network("elman_rnn", 128), BUDGET, f"0.0202 ({BAI})"),
        ],
        arguments,
    )


if __name__ == "__main__":
    main()
