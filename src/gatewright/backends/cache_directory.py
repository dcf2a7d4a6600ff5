"""The directory of built kernels, which all backends share."""

from __future__ import annotations

import os
import warnings
from functools import cache
from pathlib import Path


def directory() -> Path | None:
    """Return the directory of the cache, or None if nothing is to be stored.

    It is `gatewright` in the user's cache directory, or the value of the environment variable
    `GATEWRIGHT_CACHE`, of which an empty value stores nothing.
    """
    name = os.environ.get("GATEWRIGHT_CACHE")
    if name is not None:
        return Path(name) if name else None
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "gatewright"
    except RuntimeError:  # HOME is unset and the user id has no entry
        report_once(
            "kernels are built again in every process: this user has no home directory. Set "
            "GATEWRIGHT_CACHE to a directory of your own"
        )
        return None


@cache
def report_once(message: str) -> None:
    """Warn of a cache that is not used, once in a process."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)
