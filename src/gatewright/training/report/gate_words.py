"""What is shown of each network with gates: the lesson's words for its named values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Named:
    """A named value of a cell, as a trace holds it."""

    name: str
    meaning: str
    kind: Literal["factor", "signed"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A gate with the values that take part in it."""

    title: str
    equation: str
    says: str
    values: tuple[Named, ...]


_LSTM = (
    Shown(
        "learn gate",
        "learn = i * g",
        "What is new in the event, and how much of it is worth learning.",
        (
            Named("i", "ignore factor", "factor"),
            Named("g", "new information", "signed"),
            Named("learn", "what is learned", "signed"),
        ),
    ),
    Shown(
        "forget gate",
        "forget = f * c",
        "What the long-term memory keeps from the step before: 1 keeps, 0 forgets.",
        (
            Named("f", "forget factor", "factor"),
            Named("forget", "what is kept", "signed"),
        ),
    ),
    Shown(
        "remember gate",
        "remember = learn + forget",
        "The new long-term memory: what was learned joins what was kept.",
        (Named("remember", "long-term memory", "signed"),),
    ),
    Shown(
        "use gate",
        "use = o * tanh(remember)",
        "What of the memory is of use now: the short-term memory, and the output.",
        (
            Named("o", "use factor", "factor"),
            Named("use", "short-term memory", "signed"),
        ),
    ),
)

_GRU = (
    Shown(
        "reset gate",
        "r",
        "How much of the old memory the new content may look at.",
        (Named("r", "reset factor", "factor"),),
    ),
    Shown(
        "new content",
        "n",
        "What the memory would become if nothing were kept.",
        (Named("n", "new content", "signed"),),
    ),
    Shown(
        "update gate",
        "h = (1 - z) * n + z * h",
        "1 keeps the memory as it is, 0 takes the new content.",
        (Named("z", "update factor", "factor"), Named("h", "memory", "signed")),
    ),
)

#: Network to (the value that orders the units, that order in words, its gates).
GATES: Mapping[str, tuple[str, str, tuple[Shown, ...]]] = MappingProxyType(
    {
        "lstm": ("f", "those that keep most on top", _LSTM),
        "peephole_lstm": ("f", "those that keep most on top", _LSTM),
        "gru": ("z", "those that keep most on top", _GRU),
    }
)
