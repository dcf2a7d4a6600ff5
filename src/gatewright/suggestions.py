"""Suggestions for a name that is not known: the nearest of those that are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the part of a message that suggests the nearest names, or nothing.

    >>> did_you_mean("lstn", ["lstm", "gru"])
    'did you mean lstm? '
    >>> did_you_mean("transformer", ["lstm", "gru"])
    ''
    """
    # Compared without case, since a cell is often written as its class: LSTM, Gru.
    spelled = {candidate.lower(): candidate for candidate in map(str, known)}
    nearest = [spelled[match] for match in get_close_matches(name.lower(), spelled)]
    return f"did you mean {' or '.join(nearest)}? " if nearest else ""
