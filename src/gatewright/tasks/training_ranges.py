"""What training data were like, so that a saved model can tell whether new data fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.data.containers.tagged import Tagged
from gatewright.errors import DataError

#: How far beyond the seen values, in shares of their range, is nothing to speak of.
MARGIN = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """Names and ranges of the channels of the data that were learned from."""

    channels: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, data: Recordings | Tagged) -> Self:
        """Of sequences (T_i, I); channels without names get their numbers."""
        return cls.of_values(data.sequences, data.channel_names or numbered(data.channels))

    @classmethod
    def of_values(cls, arrays: Iterable[NDArray[Any]], channels: Sequence[str]) -> Self:
        """Of arrays (T_i, I) with these channels."""
        held = [one for one in arrays if len(one)]
        low = np.min([one.min(0) for one in held], axis=0)
        high = np.max([one.max(0) for one in held], axis=0)
        return cls(tuple(channels), tuple(low.tolist()), tuple(high.tolist()))

    def to_config(self) -> dict[str, Any]:
        """In JSON's types."""
        return {name: list(values) for name, values in asdict(self).items()}

    def inconsistency(self) -> str | None:
        """A contradiction between the fields, as a file that was edited may hold, or None."""
        counts = {len(self.channels), len(self.low), len(self.high)}
        if len(counts) > 1 or not self.channels or len(set(self.channels)) < len(self.channels):
            return "channels, low and high of `seen` do not agree with each other"
        return None

    def order(self, channels: Sequence[str], name: str) -> list[int]:
        """Where the channels that were learned from stand among these.

        Raises:
            DataError: if they are others.
        """
        if len(channels) != len(self.channels) or set(channels) != set(self.channels):
            missing = [one for one in self.channels if one not in channels]
            more = [one for one in channels if one not in self.channels]
            said = f"{', '.join(missing)} missing" if missing else "none missing"
            if more:
                said += f", {', '.join(more)} not known"
            raise DataError(
                f"{name} has the channels {', '.join(channels)}; the model was trained on "
                f"{', '.join(self.channels)} ({said}): give the same "
                "ones, and leave others out with ignore="
            )
        return [list(channels).index(one) for one in self.channels]

    def remarks(self, arrays: Iterable[NDArray[Any]], name: str) -> list[str]:
        """What is far beyond the values that were learned from, in the order of `channels`."""
        there = [one for one in arrays if len(one)]
        if not there:
            return []
        found = Seen.of_values(there, self.channels)
        said = []
        for at, channel in enumerate(self.channels):
            margin = MARGIN * (self.high[at] - self.low[at])
            if found.low[at] < self.low[at] - margin or found.high[at] > self.high[at] + margin:
                said.append(
                    f"{channel} runs from {found.low[at]:g} to {found.high[at]:g} in {name}, and "
                    f"from {self.low[at]:g} to {self.high[at]:g} in what the model learned from: "
                    "what it says of that is a guess"
                )
        return said


def numbered(count: int) -> tuple[str, ...]:
    """Names for channels that have none."""
    return tuple(f"channel {at}" for at in range(count))
