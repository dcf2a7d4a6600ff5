"""Bach's chorales, frame by frame: predict which of the 88 keys sound at the next quarter note.

    python benchmarks/science/chorales.py --choose    # compare dropouts on validation (seed 0)
    python benchmarks/science/chorales.py --seeds 3

Needs the extra `music` (music21, which ships the scores). Published figures are for the piano
rolls of Boulanger-Lewandowski, Bengio and Vincent 2012, whose file and split are not available
here. Instead, the four-part chorales of Riemenschneider's edition are sampled at each quarter
note, duplicates are dropped, and a fixed shuffle splits them in the same proportions
(229 : 76 : 77), so the comparison is only indicative. The chorales are tried as written and
transposed to C major or A minor, which makes learning easier. The loss is the negative
log-likelihood of a frame in nats: summed over the keys, averaged over the frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from common import Entry, options, perform
from recorded import Recorded, add_choose_option, draw_from
from torch import Tensor, nn

import gatewright as gw
from gatewright.memory import Budget, Examples, MemoryTask, StepReader

BAI = "Bai et al. 2018, table 1; other split"
#: The MIDI number of the lowest piano key, the number of keys, and the hidden size.
LOWEST, KEYS, UNITS = 21, 88, 128
CELLS = {"LSTM": ("lstm", "8.45"), "GRU": ("gru", "8.43"), "RNN": ("elman_rnn", "8.91")}
#: About eighty epochs over the 197 training chorales.
BUDGET = Budget(steps=1000, batch=16, rate=3e-3, check=50, enough=1.1)
DROPOUTS = (0.0, 0.3, 0.5)
#: Chosen on validation with the chorales as written: 0 was best for all three networks (see
#: benchmarks/results/science/chorales-choice.json).
CHOSEN_DROPOUT = 0.0


@dataclass(frozen=True, slots=True)
class Chorales(Recorded):
    """Predict the next frame; scored against a baseline that ignores the input."""

    def score(self, outputs: Tensor, examples: Examples) -> float:
        """1 minus the loss relative to the baseline, which knows only the frequency of each key."""
        assert self.baseline is not None
        return 1.0 - self.loss(outputs, examples).item() / self.baseline


class DropoutLayer(nn.Module):
    """A layer with dropout on its input and output."""

    def __init__(self, layer: gw.Recurrent, dropout: float) -> None:
        super().__init__()
        self.layer, self.dropout = layer, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """Map `(T, B, I)` to `(T, B, H)`; also return the last state."""
        output, state = self.layer(self.dropout(x))
        return self.dropout(output), state


def network(cell: str, dropout: float) -> Any:
    """Return a function that builds the network with a readout at every step."""

    def build(task: MemoryTask) -> nn.Module:
        layer = gw.Recurrent(cell, task.inputs, UNITS)
        return StepReader(DropoutLayer(layer, dropout), UNITS, task.outputs)

    return build


def frames(score: Any, up: int) -> np.ndarray:
    """The keys that sound at each quarter note, `(T, 88)`, transposed by `up` semitones."""
    roll = np.zeros((math.ceil(score.highestTime), KEYS), dtype=bool)
    for note in score.flatten().notes:
        begin, end = float(note.offset), float(note.offset + note.quarterLength)
        for pitch in note.pitches:
            roll[math.ceil(begin) : math.ceil(end), pitch.midi - LOWEST + up] = True
    return roll


@cache
def rolls() -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Every four-part chorale once: all as written, and all transposed to C major or A minor."""
    from music21 import corpus
    from music21.corpus import chorales

    names = chorales.Iterator(numberingSystem="riemenschneider", returnType="filename")
    pairs: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}  # by their notes as written
    for name in sorted(set(names)):
        score = corpus.parse(name)
        if len(score.parts) != 4:
            continue
        key = score.analyze("key")
        tonic = key.tonic.pitchClass + (3 if key.mode == "minor" else 0)
        up = (6 - tonic) % 12 - 6  # to C or A minor, by at most six semitones
        as_written = frames(score, 0)
        pairs.setdefault(as_written.tobytes(), (as_written, frames(score, up)))
    written, transposed = zip(*pairs.values(), strict=True)
    return written, transposed


def chorales_task(*, in_c: bool) -> Chorales:
    """The task of predicting each chorale's next frame, with its three parts."""
    pieces = rolls()[in_c]
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(pieces))
    train, validation, test = np.split(
        order, [round(len(order) * 229 / 382), round(len(order) * 305 / 382)]
    )

    def part(indices: np.ndarray) -> Examples:
        steps = max(len(pieces[index]) for index in indices) - 1
        inputs, targets = torch.zeros(2, steps, len(indices), KEYS)
        scored = torch.zeros(steps, len(indices), dtype=torch.bool)
        for row, index in enumerate(indices):
            roll = torch.tensor(pieces[index], dtype=torch.float32)
            inputs[: len(roll) - 1, row] = roll[:-1]
            targets[: len(roll) - 1, row] = roll[1:]
            scored[: len(roll) - 1, row] = True  # not the padding
        return Examples.of(inputs, targets, scored)

    training = part(train)
    # The loss of independent keys with their frequencies in the training part: an entropy.
    frequency = training.targets[training.scored].mean(0).double()
    entropy = -torch.xlogy(frequency, frequency) - torch.xlogy(1 - frequency, 1 - frequency)
    return Chorales(
        name=f"chorales({'in C or A minor' if in_c else 'as written'})",
        about="Predict which of the 88 keys sound at the next quarter note.",
        source="music21's chorales; Boulanger-Lewandowski, Bengio and Vincent 2012",
        kind="set",
        inputs=KEYS,
        outputs=KEYS,
        lag=1,
        chance=0.0,
        baseline=entropy.sum().item(),
        draw=draw_from(training),
        validation=part(validation),
        test=part(test),
    )


def main() -> None:
    """Train the networks and print the table."""
    parser = options(__doc__)
    add_choose_option(parser)
    arguments = parser.parse_args()
    tasks = [chorales_task(in_c=in_c) for in_c in (False, True)]
    for task in tasks:
        print(f"{task.name}: {len(task.validation)} for validation, {len(task.test)} for the test")
    if arguments.choose:
        arguments.seeds = 1
        entries = [
            Entry(
                f"{name}, dropout {dropout:g}",
                tasks[0].without_test(),
                network(cell, dropout),
                BUDGET,
            )
            for name, (cell, _) in CELLS.items()
            for dropout in DROPOUTS
        ]
        perform("chorales-choice", entries, arguments)
        return
    entries = [
        Entry(name, task, network(cell, CHOSEN_DROPOUT), BUDGET, f"{published} ({BAI})")
        for task in tasks
        for name, (cell, published) in CELLS.items()
    ]
    perform("chorales", entries, arguments)


if __name__ == "__main__":
    main()
