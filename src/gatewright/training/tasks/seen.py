"""What training data were like, so that a saved model can tell whether new data fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.data.tagged import Tagged
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

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """What `to_config` wrote."""
        return cls(**{name: tuple(values) for name, values in config.items()})

    def to_config(self) -> dict[str, Any]:
        """In JSON's types."""
        return {name: list(values) for name, values in asdict(self).items()}

    def check(
        self, arrays: Iterable[NDArray[Any]], channels: Sequence[str], name: str
    ) -> list[str]:
        """Remarks about values far beyond those seen.

        Raises:
            DataError: if the channels are others than those learned from.
        """
        if tuple(channels) != self.channels:
            raise DataError(
                f"{name} has the channels {', '.join(channels)}; the model was trained on "
                f"{', '.join(self.channels)}: give the same ones, in the same order"
            )
        there = [one for one in arrays if len(one)]
        if not there:
            return []
        found = Seen.of_values(there, channels)
        remarks = []
        for at, channel in enumerate(channels):
            margin = MARGIN * (self.high[at] - self.low[at])
            if found.low[at] < self.low[at] - margin or found.high[at] > self.high[at] + margin:
                remarks.append(
                    f"{channel} runs from {found.low[at]:g} to {found.high[at]:g} in {name}, and "
                    f"from {self.low[at]:g} to {self.high[at]:g} in what the model learned from: "
                    "predictions out there are guesses"
                )
        return remarks


def numbered(count: int) -> tuple[str, ...]:
    """Names for channels that have none."""
    return tuple(f"channel {at}" for at in range(count))
