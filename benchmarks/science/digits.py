"""Digits read pixel by pixel: 64 steps of one number, and the class is asked for at the end.

    python benchmarks/science/digits.py --choose     # rates, on validation (seed 0)
    python benchmarks/science/digits.py --seeds 3

The data are the 1797 images of 8 x 8 pixels that scikit-learn ships (the test part of UCI's
"Optical recognition of handwritten digits"), and not MNIST, of which nothing that is installed
here has a copy: its published figures (28 x 28, 784 steps, 60 000 images) are for another task,
and none stands beside ours. Also with the pixels in one shuffled order, the same for all.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from common import Entry, options, perform
from networks import chrono, network
from recorded import Recorded, choosing, drawing
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from gatewright.layers.init import orthogonal_
from gatewright.memory import Budget, Examples

STEPS, UNITS = 64, 64
NETWORKS = {
    "RNN": network("elman_rnn", UNITS),
    "RNN, orthogonal start": network("elman_rnn", UNITS, orthogonal_),
    "LSTM": network("lstm", UNITS),
    "LSTM, chrono start": network("lstm", UNITS, chrono(STEPS)),
    "peephole LSTM": network("peephole_lstm", UNITS),
    "GRU": network("gru", UNITS),
}
RATES = (1e-3, 3e-3, 1e-2)


def budget(rate: float) -> Budget:
    """About 45 times through the 1077 images to learn from."""
    return Budget(steps=1500, batch=32, rate=rate, check=50, enough=1.1)


def digits(*, shuffled: bool) -> Recorded:
    """Three fifths to learn from, a fifth to choose on, a fifth to test on, alike in classes."""
    images, labels = load_digits(return_X_y=True)
    if shuffled:
        images = images[:, np.random.Generator(np.random.PCG64(0)).permutation(STEPS)]
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
    )
    train, chosen = train_test_split(rest, test_size=0.25, random_state=0, stratify=labels[rest])

    def part(chosen: np.ndarray) -> Examples:
        pixels = torch.tensor(images[chosen] / 16, dtype=torch.float32).T[..., None]
        scored = torch.zeros(STEPS, len(chosen), dtype=torch.bool)
        scored[-1] = True
        return Examples.of(pixels, torch.tensor(labels[chosen]).expand(STEPS, -1), scored)

    return Recorded(
        name=f"digits(8 x 8{', shuffled' if shuffled else ''})",
        about="Name a handwritten digit whose 64 pixels came one a step.",
        source="UCI, optical recognition of handwritten digits, by way of scikit-learn",
        kind="class",
        inputs=1,
        outputs=10,
        lag=STEPS - 1,
        chance=1 / 10,
        baseline=math.log(10),
        draw=drawing(part(train)),
        chosen_on=part(chosen),
        tested_on=part(test),
    )


#: The rate of each, chosen on validation, pixels in their order: see
#: benchmarks/results/science/digits-choice.json. Both orders are learned with it.
CHOSEN = dict.fromkeys(NETWORKS, 1e-2) | {"RNN": 3e-3, "RNN, orthogonal start": 1e-3}


def main() -> None:
    """Train, and print the table."""
    parser = options(__doc__)
    choosing(parser)
    given = parser.parse_args()
    tasks = [digits(shuffled=shuffled) for shuffled in (False, True)]
    if given.choose:
        given.seeds = 1
        entries = [
            Entry(f"{name}, rate {rate:g}", tasks[0].without_test(), build, budget(rate))
            for name, build in NETWORKS.items()
            for rate in RATES
        ]
        perform("digits-choice", entries, given)
        return
    perform(
        "digits",
        [
            Entry(name, task, build, budget(CHOSEN[name]))
            for task in tasks
            for name, build in NETWORKS.items()
        ],
        given,
    )


if __name__ == "__main__":
    main()
