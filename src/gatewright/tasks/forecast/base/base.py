"""The chosen base of a forecast, as it is stored with the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gatewright.tasks.forecast.base.transform import Transform


@dataclass(frozen=True, slots=True)
class Member:
    """One method of a blend."""

    method: str  # a name from `METHODS`
    setting: tuple[float, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Base:
    """The choices that a base consists of; its fitted numbers are in the model's weights."""

    members: tuple[tuple[Member, ...], ...]  # by target
    transforms: tuple[Transform, ...]  # by target
    units: tuple[tuple[float, ...], ...]  # (series, targets): naive errors after the transform
    smallest_spread: tuple[float, ...]  # of each channel that is scaled by the window
    shifts: tuple[bool, ...]  # by target: whether the median error is added

    def to_config(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        return asdict(self)
