"""From the name of a data set to the data set: what `DATA` on the command line means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gatewright.data.recordings import Split
from gatewright.data.vowels import load_vowels
from gatewright.errors import DataError

# A new bundled data set is one file beside this one and one line here.
BUNDLED: Mapping[str, Callable[[], Split]] = MappingProxyType({"vowels": load_vowels})


def load(data: str) -> Split:
    """The data set with this name.

    >>> load("vowels").train
    Recordings('vowels', n=270, channels=12, steps=7..26, classes=9)
    """
    if data not in BUNDLED:
        raise DataError(f"no data set is called {data!r}; there is: {', '.join(sorted(BUNDLED))}")
    return BUNDLED[data]()
