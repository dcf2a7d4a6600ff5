"""What a forecast says of the steps that follow one series, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.forecast.quantiles import LEVELS, MEDIAN


@dataclass(frozen=True, slots=True, eq=False)
class Future:
    """What a model says of the steps that follow one series."""

    id: str
    targets: tuple[str, ...]
    times: NDArray[Any]  # (horizon,)
    quantiles: NDArray[np.float64]  # (horizon, targets, Q), at `LEVELS`

    @property
    def median(self) -> NDArray[np.float64]:
        """(horizon, targets), the forecast."""
        return self.quantiles[..., MEDIAN]

    @property
    def low(self) -> NDArray[np.float64]:
        """(horizon, targets), the lower end of the interval for 80 %."""
        return self.quantiles[..., 0]

    @property
    def high(self) -> NDArray[np.float64]:
        """(horizon, targets), the upper end of the interval for 80 %."""
        return self.quantiles[..., -1]


def columns(futures: Sequence[Future], *, ids: bool) -> dict[str, list[Any]]:
    """As a table: a row for each series and step; the median of a target under its own name.

    Args:
        ids: Whether a column "id" says of which series a row is.
    """
    found: dict[str, list[Any]] = {"id": [], "time": []} if ids else {"time": []}
    for future in futures:
        if ids:
            found["id"] += [future.id] * len(future.times)
        found["time"] += said_times(future.times)
        for which, name in enumerate(future.targets):
            median = f"{name}_q50" if name in ("id", "time") else name
            found.setdefault(median, []).extend(future.median[:, which].tolist())
            for at, level in enumerate(LEVELS):
                if at == MEDIAN:
                    continue
                column = found.setdefault(f"{name}_q{round(100 * level)}", [])
                column += future.quantiles[:, which, at].tolist()
    return found


def said_times(times: NDArray[Any]) -> list[str]:
    """Times for people and tables: dates alone where no clock shows anything."""
    if times.dtype.kind != "M":
        return [f"{time:g}" for time in times]
    for unit in ("D", "m", "s"):
        if (times == times.astype(f"datetime64[{unit}]")).all():
            return [str(one).replace("T", " ") for one in times.astype(f"datetime64[{unit}]")]
    return [str(one).replace("T", " ") for one in times]
