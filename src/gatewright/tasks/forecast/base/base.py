"""The chosen base of a forecast, as it is stored with the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gatewright.tasks.forecast.base.transform import Transform


@dataclass(frozen=True, slots=True)
class Member:
    """One method of a blend."""

    method: str  # a name from `METHODS`
    setting: tuple[float, ...]
    weight: float | tuple[float, ...]  # of all steps, or of each step of the horizon

    def __post_init__(self) -> None:
        # As they are after a way through JSON: equal trainings have to have equal digests.
        object.__setattr__(self, "setting", tuple(map(float, self.setting)))


def method_shares(members: Sequence[Member]) -> dict[str, float]:
    """Return the mean weight of each method of a blend over the steps, the largest first.

    >>> members = Member("mean", (), 0.25), Member("ridge", (2,), 0.25), Member("ridge", (5,), 0.5)
    >>> method_shares(members)
    {'ridge': 0.75, 'mean': 0.25}
    """
    shares: dict[str, float] = {}
    for member in members:
        shares[member.method] = shares.get(member.method, 0.0) + float(np.mean(member.weight))
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


@dataclass(frozen=True, slots=True)
class Base:
    """The choices that a base consists of; its fitted numbers are in the model's weights."""

    members: tuple[tuple[Member, ...], ...]  # by target
    transforms: tuple[Transform, ...]  # by target
    units: tuple[tuple[float, ...], ...]  # (series, targets): naive errors after the transform
    smallest_spread: tuple[float, ...]  # of each channel that is scaled by the window
    shifts: tuple[bool, ...]  # by target: whether the median error is added
    common_spread: bool = False  # whether all windows share the largest spread of a window

    def to_config(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        return asdict(self)
