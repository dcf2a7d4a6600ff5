"""The channels and value ranges of training data, which new data are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.data.containers.tagged import Tagged
from gatewright.errors import DataError

#: New values may lie this share of the range outside it without a remark.
MARGIN = 0.5


@dataclass(frozen=True, slots=True)
class TrainingRanges:
    """Names and ranges of the channels of the training data."""

    channels: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, data: Recordings | Tagged) -> Self:
        """Measure sequences (T_i, I); channels without names are numbered."""
        return cls.of_values(data.sequences, data.channel_names or numbered(data.channels))

    @classmethod
    def of_values(cls, arrays: Iterable[NDArray[Any]], channels: Sequence[str]) -> Self:
        """Measure arrays (T_i, I) with these channels."""
        filled = [values for values in arrays if len(values)]
        low = np.min([values.min(0) for values in filled], axis=0)
        high = np.max([values.max(0) for values in filled], axis=0)
        return cls(tuple(channels), tuple(low.tolist()), tuple(high.tolist()))

    def to_config(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        return {name: list(values) for name, values in asdict(self).items()}

    def inconsistency(self) -> str | None:
        """Return a contradiction between the fields, as in an edited file, or None."""
        counts = {len(self.channels), len(self.low), len(self.high)}
        if len(counts) > 1 or not self.channels or len(set(self.channels)) < len(self.channels):
            return "channels, low and high of `seen` do not agree with each other"
        return None

    def order(self, channels: Sequence[str], name: str) -> list[int]:
        """Return the position of each training channel among the channels of new data.

        Raises:
            DataError: if the new data, called `name`, have other channels.
        """
        if len(channels) != len(self.channels) or set(channels) != set(self.channels):
            missing = [channel for channel in self.channels if channel not in channels]
            unknown = [channel for channel in channels if channel not in self.channels]
            difference = f"{', '.join(missing)} missing" if missing else "none missing"
            if unknown:
                difference += f", {', '.join(unknown)} not known"
            raise DataError(
                f"{name} has the channels {', '.join(channels)}; the model was trained on "
                f"{', '.join(self.channels)} ({difference}): give the same channels, and leave "
                "others out with ignore="
            )
        return [list(channels).index(channel) for channel in self.channels]

    def remarks(self, arrays: Iterable[NDArray[Any]], name: str) -> list[str]:
        """Return a remark on each channel whose new values are far outside the training range."""
        filled = [values for values in arrays if len(values)]
        if not filled:
            return []
        new = TrainingRanges.of_values(filled, self.channels)
        remarks = []
        for channel, low, high, new_low, new_high in zip(
            self.channels, self.low, self.high, new.low, new.high, strict=True
        ):
            margin = MARGIN * (high - low)
            if new_low < low - margin or new_high > high + margin:
                remarks.append(
                    f"{channel} runs from {new_low:g} to {new_high:g} in {name}, but from "
                    f"{low:g} to {high:g} in the training data: predictions there are a guess"
                )
        return remarks


def numbered(count: int) -> tuple[str, ...]:
    """Return names for channels that have none."""
    return tuple(f"channel {number}" for number in range(count))
