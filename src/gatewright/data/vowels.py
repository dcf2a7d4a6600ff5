"""Spoken Japanese vowels, to recognise one of nine speakers (UCI, CC BY 4.0)."""

from __future__ import annotations

from gatewright.data.bundled import read_bundled
from gatewright.data.containers.recordings import Split
from gatewright.data.source.request import Reading, Request

# The checksum of `files/vowels.safetensors`, as `data-sources/make_vowels.py` prints it.
SHA256 = "4e4f2e7de56863f81cddf8895fe85c0d0a24d62e3a692bb179c2827fb437be3a"


def load_vowels() -> Split:
    """Return 270 recordings for training and 370 for the test, in the original split.

    Each is a sequence of 7 to 29 frames with 12 LPC cepstrum coefficients: one of nine men says
    the Japanese vowels /ae/. Nothing is scaled or padded.

    >>> load_vowels().test
    Recordings('vowels', n=370, channels=12, steps=7..29, classes=9)
    """
    return read_bundled(
        "vowels.safetensors",
        sha256=SHA256,
        classes=tuple("123456789"),
        name="vowels",
        about=(
            "Nine male speakers say the Japanese vowels /ae/: 640 recordings of 7 to 29 frames "
            "with 12 LPC cepstrum coefficients. The task is to recognise the speaker. "
            "270 recordings are for training, 370 for the test, in the original split."
        ),
        licence=(
            "Japanese Vowels by M. Kudo, J. Toyama and M. Shimbo, UCI Machine Learning "
            "Repository, doi:10.24432/C5NS47, CC BY 4.0. M. Kudo, J. Toyama, M. Shimbo: "
            "Multidimensional Curve Classification Using Passing-Through Regions, "
            "Pattern Recognition Letters 20 (1999), 1103-1111. Converted to float32."
        ),
    )


def read_vowels(request: Request) -> Reading:
    """Return the recordings as the result of `read`."""
    source = "the bundled data set vowels"
    request.without_columns(source, "has no named columns").for_tasks(source, "classify")
    split = load_vowels()
    why = "each of its recordings has a label"
    return Reading(split.train, "classify", why, source, test=split.test)
