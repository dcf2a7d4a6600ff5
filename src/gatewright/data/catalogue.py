"""The bundled data sets by name; the command line's `DATA` may be one of these names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gatewright.data.containers.recordings import Recordings, Split
from gatewright.data.prose import read_prose
from gatewright.data.source.request import Reading, Request
from gatewright.data.vowels import read_vowels
from gatewright.data.weather import read_weather
from gatewright.errors import DataError
from gatewright.names import did_you_mean

# A new bundled data set needs one file next to this one and one line here.
BUNDLED: Mapping[str, Callable[[Request], Reading]] = MappingProxyType(
    {"vowels": read_vowels, "weather": read_weather, "prose": read_prose}
)


def load(data: str) -> Split:
    """Return the bundled recordings with this name, in their published training and test parts.

    >>> load("vowels").train
    Recordings('vowels', n=270, channels=12, steps=7..26, classes=9)
    """
    if data not in BUNDLED:
        names = ", ".join(sorted(BUNDLED))
        nearest = did_you_mean(data, BUNDLED)
        raise DataError(
            f"no bundled data set is called {data!r}; {nearest}expected one of: {names}"
        )
    reading = BUNDLED[data](Request())
    if not isinstance(reading.data, Recordings) or reading.test is None:
        raise DataError(
            f"{reading.source} is {reading.data!r}, for the task {reading.task}; "
            "expected labelled recordings"
        )
    return Split(reading.data, reading.test)
