"""Names as a user types them: lists of them, and the nearest name to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def comma_separated(text: str) -> list[str]:
    """The parts of a comma-separated text.

    >>> comma_separated("lstm, gru,")
    ['lstm', 'gru']
    """
    return [name for part in text.split(",") if (name := part.strip())]


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return the part of a message that suggests the nearest names, or nothing.

    >>> did_you_mean("lstn", ["lstm", "gru"])
    'did you mean lstm? '
    >>> did_you_mean("transformer", ["lstm", "gru"])
    ''
    """
    # Compared without case, since a cell is often written as its class: LSTM, Gru.
    spelled = {candidate.lower(): candidate for candidate in map(str, known)}
    nearest = [spelled[match] for match in get_close_matches(str(name).lower(), spelled)]
    return f"did you mean {' or '.join(nearest)}? " if nearest else ""
