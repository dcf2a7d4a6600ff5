"""Compression programs as baselines: what a text costs by the best-known means, as a check.

A compressor that has just read the training part needs `size(training + part) - size(training)`
bytes for a further part. A model that needs more bits has learned less than that.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Text
from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.text.streams import tail

#: Latest bytes of the training part that are read before a part: enough for xz to fill seconds.
PREFIX = 4 << 20

Compress = Callable[[bytes], bytes]


def zlib_baseline() -> Baseline:
    """Return the baseline of zlib, which looks 32 kB back."""
    return Baseline(
        "zlib",
        "zlib",
        "The compressor of gzip and PNG: the bits that the text adds to the training part.",
        lambda training, _: _fit(training, lambda content: zlib.compress(content, 9)),
        predicts=False,
    )


def xz_baseline() -> Baseline:
    """Return the baseline of xz, which looks back over all of the training part."""
    return Baseline(
        "xz",
        "xz",
        "The compressor of xz and 7-Zip: the bits that the text adds to the training part.",
        lambda training, _: _fit(
            training, lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
        ),
        predicts=False,
    )


def _fit(training: Text, compress: Compress) -> Fitted:
    prefix = _content(training.part(max(len(training) - PREFIX, 0), len(training)))

    def predict(part: Any) -> NDArray[np.float64]:
        piece = tail(part)
        count = len(piece.text) - piece.start
        content = _content(piece.text.part(piece.start, len(piece.text)))
        added = len(compress(prefix + content)) - len(compress(prefix))
        # A compressor gives a size for the whole part, not for each symbol.
        return np.full(count, 8.0 * added / max(count, 1))

    return Fitted(predict, None)


def _content(text: Text) -> bytes:
    if text.unit == "bytes":
        return text.codes.astype(np.uint8).tobytes()
    return "".join(np.array(text.alphabet, dtype=object)[text.codes]).encode(
        "utf-8", "surrogatepass"
    )
