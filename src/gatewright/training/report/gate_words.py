"""The lesson's words for the gates of each network and for their named values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class ValueWords:
    """The words for a named value of a cell."""

    name: str
    meaning: str
    kind: Literal["factor", "signed"]


@dataclass(frozen=True, slots=True)
class GateWords:
    """The words for a gate and for the values that take part in it."""

    title: str
    equation: str
    about: str
    values: tuple[ValueWords, ...]


_LSTM = (
    GateWords(
        "learn gate",
        "learn = i * g",
        "The new information in the event, and how much of it is worth learning.",
        (
            ValueWords("i", "ignore factor", "factor"),
            ValueWords("g", "new information", "signed"),
            ValueWords("learn", "what is learned", "signed"),
        ),
    ),
    GateWords(
        "forget gate",
        "forget = f * c",
        "The share of the long-term memory that is kept from the step before: 1 keeps, 0 forgets.",
        (
            ValueWords("f", "forget factor", "factor"),
            ValueWords("forget", "what is kept", "signed"),
        ),
    ),
    GateWords(
        "remember gate",
        "remember = learn + forget",
        "The new long-term memory: what was learned is added to what was kept.",
        (ValueWords("remember", "long-term memory", "signed"),),
    ),
    GateWords(
        "use gate",
        "use = o * tanh(remember)",
        "The part of the memory that is of use now: the short-term memory, and the output.",
        (
            ValueWords("o", "use factor", "factor"),
            ValueWords("use", "short-term memory", "signed"),
        ),
    ),
)

_GRU = (
    GateWords(
        "reset gate",
        "r",
        "How much of the old memory the new content may look at.",
        (ValueWords("r", "reset factor", "factor"),),
    ),
    GateWords(
        "new content",
        "n",
        "The memory as it would become if nothing were kept.",
        (ValueWords("n", "new content", "signed"),),
    ),
    GateWords(
        "update gate",
        "h = (1 - z) * n + z * h",
        "1 keeps the memory as it is, 0 takes the new content.",
        (ValueWords("z", "update factor", "factor"), ValueWords("h", "memory", "signed")),
    ),
)

#: By network: (the value whose mean orders the units, that order in words, the gates).
NETWORK_GATES: Mapping[str, tuple[str, str, tuple[GateWords, ...]]] = MappingProxyType(
    {
        "lstm": ("f", "those that keep most on top", _LSTM),
        "peephole_lstm": ("f", "those that keep most on top", _LSTM),
        "gru": ("z", "those that keep most on top", _GRU),
    }
)
