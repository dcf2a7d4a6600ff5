"""Handwritten digits read pixel by pixel: 64 steps of one number, the class after the last.

    python benchmarks/science/digits.py --choose     # compare learning rates on validation (seed 0)
    python benchmarks/science/digits.py --seeds 3

The data are the 1797 images of 8 x 8 pixels that scikit-learn ships (the test part of UCI's
"Optical recognition of handwritten digits"). They are not MNIST, which no installed package
contains: the figures published for it (28 x 28, 784 steps, 60 000 images) are for another task
and are not compared with ours. A second task has the pixels in a shuffled order, the same in all
images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from common import Entry, options, perform
from networks import chrono, network
from recorded import Recorded, add_choose_option, draw_from
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
    """A budget of about 45 epochs over the 1077 training images."""
    return Budget(steps=1500, batch=32, rate=rate, check=50, enough=1.1)


def digits(*, shuffled: bool) -> Recorded:
    """Split the images 3 : 1 : 1 into training, validation and test parts, stratified by class."""
    images, labels = load_digits(return_X_y=True)
    if shuffled:
        images = images[:, np.random.Generator(np.random.PCG64(0)).permutation(STEPS)]
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
    )
    train, validation = train_test_split(
        rest, test_size=0.25, random_state=0, stratify=labels[rest]
    )

    def part(indices: np.ndarray) -> Examples:
        pixels = torch.tensor(images[indices] / 16, dtype=torch.float32).T[..., None]
        scored = torch.zeros(STEPS, len(indices), dtype=torch.bool)
        scored[-1] = True  # only the answer after the last pixel counts
        return Examples.of(pixels, torch.tensor(labels[indices]).expand(STEPS, -1), scored)

    return Recorded(
        name=f"digits(8 x 8{', shuffled' if shuffled else ''})",
        about="Recognise a handwritten digit from its 64 pixels, one per step.",
        source="UCI, optical recognition of handwritten digits, from scikit-learn",
        kind="class",
        inputs=1,
        outputs=10,
        lag=STEPS - 1,
        chance=1 / 10,
        baseline=math.log(10),
        draw=draw_from(part(train)),
        validation=part(validation),
        test=part(test),
    )


#: The learning rate of each network, chosen on validation with the pixels in order (see
#: benchmarks/results/science/digits-choice.json) and used for both orders.
CHOSEN_RATES = dict.fromkeys(NETWORKS, 1e-2) | {"RNN": 3e-3, "RNN, orthogonal start": 1e-3}


def main() -> None:
    """Train the networks and print the table."""
    parser = options(__doc__)
    add_choose_option(parser)
    arguments = parser.parse_args()
    tasks = [digits(shuffled=shuffled) for shuffled in (False, True)]
    if arguments.choose:
        arguments.seeds = 1
        entries = [
            Entry(f"{name}, rate {rate:g}", tasks[0].without_test(), build, budget(rate))
            for name, build in NETWORKS.items()
            for rate in RATES
        ]
        perform("digits-choice", entries, arguments)
        return
    perform(
        "digits",
        [
            Entry(name, task, build, budget(CHOSEN_RATES[name]))
            for task in tasks
            for name, build in NETWORKS.items()
        ],
        arguments,
    )


if __name__ == "__main__":
    main()
