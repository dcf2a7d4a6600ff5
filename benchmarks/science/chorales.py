"""Bach's chorales, frame by frame: which of the 88 keys sound at the next quarter note?

    python benchmarks/science/chorales.py --choose    # the dropout, on validation (seed 0)
    python benchmarks/science/chorales.py --seeds 3

Needs the extra `music` (music21, which ships the scores). Published figures are for the piano
rolls of Boulanger-Lewandowski, Bengio and Vincent 2012, whose file and split are not at hand:
here the four-part chorales of Riemenschneider's edition are sampled at each quarter note, equal
ones are dropped, and a fixed shuffle parts them in the same shares (229 : 76 : 77). So the
comparison with them is indicative. Both as they are written and moved to C major or A minor,
which makes learning easier; the loss is the negative log-likelihood of a frame, in nats, summed
over the keys, as a mean over frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from common import Entry, options, perform
from recorded import Recorded, choosing, drawing
from torch import Tensor, nn

import gatewright as gw
from gatewright.memory import Budget, Examples, MemoryTask, StepReader

BAI = "Bai et al. 2018, table 1; other split"
LOWEST, KEYS, UNITS = 21, 88, 128
CELLS = {"LSTM": ("lstm", "8.45"), "GRU": ("gru", "8.43"), "RNN": ("elman_rnn", "8.91")}
#: About seventy times through the chorales to learn from.
BUDGET = Budget(steps=1000, batch=16, rate=3e-3, check=50, enough=1.1)
DROPOUTS = (0.0, 0.3, 0.5)
#: Chosen on validation, chorales as written: none was best for each of the three networks, see
#: benchmarks/results/science/chorales-choice.json.
CHOSEN = 0.0


@dataclass(frozen=True, slots=True)
class Chorales(Recorded):
    """The next frame; scored by the share of the loss of independent keys that is gone."""

    def score(self, outputs: Tensor, examples: Examples) -> float:
        """1 at best, 0 for keys that each sound as often as they do."""
        assert self.baseline is not None
        return 1.0 - self.loss(outputs, examples).item() / self.baseline


class Dropped(nn.Module):
    """A layer whose input and output are dropped out in training."""

    def __init__(self, layer: gw.Recurrent, dropout: float) -> None:
        super().__init__()
        self.layer, self.dropout = layer, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """(T, B, I) to (T, B, H), and the last state."""
        output, state = self.layer(self.dropout(x))
        return self.dropout(output), state


def network(cell: str, dropout: float) -> Any:
    """What builds a network that is read at every step."""

    def build(task: MemoryTask) -> nn.Module:
        layer = gw.Recurrent(cell, task.inputs, UNITS)
        return StepReader(Dropped(layer, dropout), UNITS, task.outputs)

    return build


def frames(score: Any, up: int) -> np.ndarray:
    """The keys that sound at each quarter note, `(T, 88)`, moved up by so many semitones."""
    roll = np.zeros((math.ceil(score.highestTime), KEYS), dtype=bool)
    for note in score.flatten().notes:
        begins, ends = float(note.offset), float(note.offset + note.quarterLength)
        for pitch in note.pitches:
            roll[math.ceil(begins) : math.ceil(ends), pitch.midi - LOWEST + up] = True
    return roll


@cache
def rolls() -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Every four-part chorale once: as it is written, and moved to C major or A minor."""
    from music21 import corpus
    from music21.corpus import chorales

    names = chorales.Iterator(numberingSystem="riemenschneider", returnType="filename")
    written: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for name in sorted(set(names)):
        score = corpus.parse(name)
        if len(score.parts) != 4:
            continue
        key = score.analyze("key")
        tonic = key.tonic.pitchClass + (3 if key.mode == "minor" else 0)
        up = (6 - tonic) % 12 - 6  # to C, by at most six semitones
        own = frames(score, 0)
        written.setdefault(own.tobytes(), (own, frames(score, up)))
    first, second = zip(*written.values(), strict=True)
    return first, second


def chorales_task(*, in_c: bool) -> Chorales:
    """The next frame of each chorale, in three parts."""
    pieces = rolls()[in_c]
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(pieces))
    train, chosen, test = np.split(
        order, [round(len(order) * 229 / 382), round(len(order) * 305 / 382)]
    )

    def part(chosen: np.ndarray) -> Examples:
        steps = max(len(pieces[at]) for at in chosen) - 1
        inputs, targets = torch.zeros(2, steps, len(chosen), KEYS)
        scored = torch.zeros(steps, len(chosen), dtype=torch.bool)
        for row, at in enumerate(chosen):
            roll = torch.tensor(pieces[at], dtype=torch.float32)
            inputs[: len(roll) - 1, row], targets[: len(roll) - 1, row] = roll[:-1], roll[1:]
            scored[: len(roll) - 1, row] = True
        return Examples.of(inputs, targets, scored)

    training = part(train)
    often = training.targets[training.scored].mean(0).double()
    chance = -(torch.xlogy(often, often) + torch.xlogy(1 - often, 1 - often)).sum().item()
    return Chorales(
        name=f"chorales({'in C or A minor' if in_c else 'as written'})",
        about="Say which of the 88 keys sound at the next quarter note.",
        source="music21's chorales; Boulanger-Lewandowski, Bengio and Vincent 2012",
        kind="set",
        inputs=KEYS,
        outputs=KEYS,
        lag=1,
        chance=0.0,
        baseline=chance,
        draw=drawing(training),
        chosen_on=part(chosen),
        tested_on=part(test),
    )


def main() -> None:
    """Train, and print the table."""
    parser = options(__doc__)
    choosing(parser)
    given = parser.parse_args()
    tasks = [chorales_task(in_c=in_c) for in_c in (False, True)]
    for task in tasks:
        print(f"{task.name}: {len(task.chosen_on)} to choose on, {len(task.tested_on)} to test on")
    if given.choose:
        given.seeds = 1
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
        perform("chorales-choice", entries, given)
        return
    entries = [
        Entry(name, task, network(cell, CHOSEN), BUDGET, f"{published} ({BAI})")
        for task in tasks
        for name, (cell, published) in CELLS.items()
    ]
    perform("chorales", entries, given)


if __name__ == "__main__":
    main()
