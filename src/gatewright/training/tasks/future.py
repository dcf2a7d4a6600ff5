"""What a forecast says of the steps that follow one series, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.training.tasks.quantiles import LEVELS, MEDIAN


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


def columns(futures: Sequence[Future]) -> dict[str, list[Any]]:
    """As a table: a row for each series and step; the median of a target under its own name."""
    found: dict[str, list[Any]] = {"id": [], "time": []}
    for future in futures:
        found["id"] += [future.id] * len(future.times)
        found["time"] += said_times(future.times)
        for which, name in enumerate(future.targets):
            found.setdefault(name, []).extend(future.median[:, which].tolist())
            for at, level in enumerate(LEVELS):
                if at == MEDIAN:
                    continue
                column = found.setdefault(f"{name}_q{round(100 * level)}", [])
                column += future.quantiles[:, which, at].tolist()
    if len(futures) == 1:
        del found["id"]
    return found


def said_times(times: NDArray[Any]) -> list[str]:
    """Times for people and tables: dates alone where no clock shows anything."""
    if times.dtype.kind != "M":
        return [f"{time:g}" for time in times]
    for unit in ("D", "m", "s"):
        if (times == times.astype(f"datetime64[{unit}]")).all():
            return [str(one).replace("T", " ") for one in times.astype(f"datetime64[{unit}]")]
    return [str(one).replace("T", " ") for one in times]
