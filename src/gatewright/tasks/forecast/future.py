"""The forecast of the steps after one series, and its form as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.forecast.metrics import LEVELS, MEDIAN


@dataclass(frozen=True, slots=True, eq=False)
class Future:
    """The forecast of the steps that follow one series."""

    id: str
    targets: tuple[str, ...]
    times: NDArray[Any]  # (horizon,)
    quantiles: NDArray[np.float64]  # (horizon, targets, Q), at `LEVELS`
    # By target, (horizon,): the mean forecast of targets that are never below 0, which sums right.
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def median(self) -> NDArray[np.float64]:
        """The forecast, (horizon, targets)."""
        return self.quantiles[..., MEDIAN]

    @property
    def low(self) -> NDArray[np.float64]:
        """The lower end of the 80 % interval, (horizon, targets)."""
        return self.quantiles[..., 0]

    @property
    def high(self) -> NDArray[np.float64]:
        """The upper end of the 80 % interval, (horizon, targets)."""
        return self.quantiles[..., -1]


def columns(futures: Sequence[Future], *, ids: bool) -> dict[str, list[Any]]:
    """Return a table with a row per series and step; the median has the target's own name.

    Args:
        futures: The forecasts, one per series.
        ids: Whether to add a column "id" with the series of each row.
    """
    table: dict[str, list[Any]] = {"id": [], "time": []} if ids else {"time": []}
    for future in futures:
        if ids:
            table["id"] += [future.id] * len(future.times)
        table["time"] += time_labels(future.times)
        for k, target in enumerate(future.targets):
            # A target of this name must not overwrite the column of ids or times.
            median = f"{target}_q50" if target in ("id", "time") else target
            table.setdefault(median, []).extend(future.median[:, k].tolist())
            for q, level in enumerate(LEVELS):
                if q == MEDIAN:
                    continue
                column = table.setdefault(f"{target}_q{round(100 * level)}", [])
                column += future.quantiles[:, k, q].tolist()
            if target in future.means:
                column = table.setdefault(f"{target}_mean", [])
                column += future.means[target].tolist()
    return table


def time_labels(times: NDArray[Any]) -> list[str]:
    """Format times for people: only dates where all are at midnight, seconds only where needed."""
    if times.dtype.kind != "M":
        return [f"{time:g}" for time in times]
    for unit in ("D", "m", "s"):
        rounded = times.astype(f"datetime64[{unit}]")
        if (times == rounded).all():
            return [str(time).replace("T", " ") for time in rounded]
    return [str(time).replace("T", " ") for time in times]
