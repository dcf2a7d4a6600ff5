"""Checks of the names that a benchmark takes: cells and peers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatewright.cells import known_name
from gatewright.errors import ArgumentError
from gatewright.names import did_you_mean


def cell_names(names: Sequence[str], known: Iterable[str]) -> list[str]:
    """The names of cells as `known` has them: rnn is taken for elman_rnn.

    Raises:
        ArgumentError: for an unknown cell, or none at all.
    """
    known = list(known)
    canonical = [known_name(name, known) for name in names]
    check_names("cell", canonical, known)
    return canonical


def check_names(kind: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Refuse unknown names.

    Raises:
        ArgumentError: with the nearest name that is known.
    """
    known = list(known)
    if not names:
        raise ArgumentError(f"no {kind} was given; the {kind}s are {', '.join(known)}")
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"there is no {kind} {name!r}; {did_you_mean(name, known)}"
                f"the {kind}s are {', '.join(known)}"
            )
