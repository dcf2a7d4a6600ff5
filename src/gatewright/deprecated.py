"""Names that are kept for a while: each warns with its replacement and the version of its removal.

An earlier name works for at least two minor versions after the first that warns. A test refuses a
release in which a name is still here whose version of removal has come.
"""

from __future__ import annotations

import warnings


def deprecation(name: str, *, replacement: str, removal: str) -> str:
    """The text of a deprecation, for a warning or for the terminal.

    >>> deprecation("--networks", replacement="--cells", removal="0.4")
    '--networks is deprecated and will be removed in Gatewright 0.4; use --cells'
    """
    return f"{name} is deprecated and will be removed in Gatewright {removal}; use {replacement}"


def warn_deprecated(name: str, *, replacement: str, removal: str, stacklevel: int = 2) -> None:
    """Warn that the user's code has an earlier name.

    It is a `FutureWarning`, which Python shows by default wherever the name is used; a
    `DeprecationWarning` would be shown to nobody whose code is in a module.

    >>> with warnings.catch_warnings(record=True) as recorded:
    ...     warnings.simplefilter("always")
    ...     warn_deprecated("gw.memory.Task", replacement="gw.memory.MemoryTask", removal="0.4")
    >>> print(recorded[0].message)
    gw.memory.Task is deprecated and will be removed in Gatewright 0.4; use gw.memory.MemoryTask

    Args:
        name: The earlier name, as a user writes it.
        replacement: What to write instead.
        removal: The version of Gatewright that no longer has the name.
        stacklevel: Frames up to the user's line: 2 if the caller of this function is that line's
            callee, as in `warnings.warn`.
    """
    text = deprecation(name, replacement=replacement, removal=removal)
    warnings.warn(text, FutureWarning, stacklevel=stacklevel + 1)
