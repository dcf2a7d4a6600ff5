"""Make `src/gatewright/data/files/vowels.safetensors` from the published `.ts` files.

Run once by whoever maintains the project; the result is committed. Nobody who
uses Gatewright needs it. The source is the copy of the UCI data set "Japanese
Vowels" that the aeon 1.6.0 wheel carries::

    pip download --no-deps aeon==1.6.0 -d somewhere
    unzip somewhere/aeon-1.6.0-*.whl 'aeon/datasets/data/JapaneseVowels/*' -d somewhere
    python data-sources/make_vowels.py somewhere/aeon/datasets/data/JapaneseVowels

Only the files with the true lengths are read; aeon's `_eq_` files stretch every
recording to one length by interpolation, so they are other data. The conversion
refuses to write anything unless the counts are those that UCI states and every
printed decimal can be read back from its float32.
"""

from __future__ import annotations

import hashlib
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
from safetensors.numpy import save

TARGET = Path(__file__).parents[1] / "src/gatewright/data/files/vowels.safetensors"

CHANNELS = 12
SPEAKERS = 9
DECIMALS = 6  # what the source prints
TRAIN_COUNTS = (30,) * SPEAKERS
TEST_COUNTS = (31, 35, 88, 44, 29, 24, 40, 50, 29)
SHORTEST, LONGEST = 7, 29


def read_ts(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The recordings of a `.ts` file, each (T_i, 12) in float32, and their labels from 0.

    A line holds the channels one after the other, parted by colons, and the label last.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line.strip().lower() == "@data")
    sequences, labels = [], []
    for line in filter(None, map(str.strip, lines[start + 1 :])):
        *channels, label = line.split(":")
        rows = [channel.split(",") for channel in channels]
        assert len(rows) == CHANNELS and len({len(row) for row in rows}) == 1, line[:60]
        values = np.array(rows, dtype=np.float64).T.astype(np.float32)
        printed = (text for frame in zip(*rows, strict=True) for text in frame)
        for text, value in zip(printed, values.flat, strict=True):
            assert Decimal(text) == Decimal(f"{value:.{DECIMALS}f}"), (text, value)
        sequences.append(np.ascontiguousarray(values))
        labels.append(int(label) - 1)
    return sequences, np.array(labels, dtype=np.int64)


def main(source: Path) -> None:
    """Convert both parts, hold them to the counts that UCI states, and write the file."""
    tensors: dict[str, np.ndarray] = {}
    for part, counts in (("train", TRAIN_COUNTS), ("test", TEST_COUNTS)):
        sequences, labels = read_ts(source / f"JapaneseVowels_{part.upper()}.ts")
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        assert tuple(np.bincount(labels, minlength=SPEAKERS)) == counts, np.bincount(labels)
        assert lengths.min() >= SHORTEST and lengths.max() <= LONGEST, lengths
        tensors[f"{part}.values"] = np.concatenate(sequences)
        tensors[f"{part}.lengths"] = lengths
        tensors[f"{part}.labels"] = labels
        print(part, len(sequences), "recordings of", lengths.min(), "to", lengths.max(), "steps")
    written = save(tensors)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(written)
    print(TARGET.name, len(written), "bytes, sha256", hashlib.sha256(written).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
