"""The form of a baseline: a simple method that a network has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fitted:
    """A baseline after fitting."""

    predict: Callable[[Any], Any]  # from a part of the data to predictions in the task's form
    parameters: int | None  # numbers that were learned; None where the data themselves are stored


@dataclass(frozen=True, slots=True)
class Baseline:
    """A simple method, as a practitioner would try it first.

    It is fitted once per setting; the setting with the best validation score is used.
    """

    name: str
    title: str
    about: str
    fit: Callable[[Any, Any], Fitted]  # (training part, one of `settings`)
    settings: Sequence[Any] = (None,)
    predicts: bool = True  # whether it could be used instead of a network; a compressor could not
    same_size: bool = False  # whether its one setting is the number of the network's parameters
    # Only of a slow baseline, which `train` leaves out when time is short: from the training part
    # to an estimate of the seconds that all fits and predictions take. It reads no test data.
    seconds: Callable[[Any], float] | None = None
    why_not: str | None = None  # the reason that it cannot run here, such as a missing package
