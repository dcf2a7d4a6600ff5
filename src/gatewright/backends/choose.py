"""Which backend runs: the one asked for, or the fastest that can."""

from __future__ import annotations

from collections.abc import Callable

from gatewright.backends import reference
from gatewright.backends.reference import Result, Run
from gatewright.errors import ArgumentError

#: Name to what runs a task, the fastest first.
BACKENDS: dict[str, Callable[[Run], Result]] = {"reference": reference.run}


def check_backend(name: str) -> str:
    """The name of a backend, or "auto".

    Raises:
        ArgumentError: if there is no such backend.
    """
    if name != "auto" and name not in BACKENDS:
        known = ", ".join(["auto", *BACKENDS])
        raise ArgumentError(f"backend={name!r} is not known; give one of {known}")
    return name


def choose(name: str) -> Callable[[Run], Result]:
    """What runs a task under the given name."""
    return next(iter(BACKENDS.values())) if name == "auto" else BACKENDS[name]
