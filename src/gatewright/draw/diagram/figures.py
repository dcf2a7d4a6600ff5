"""Figures: what a diagram is made of, before anything has a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["event", "input", "state", "learned", "pointwise", "row", "source", "join"]
#: Figures that a value enters the cell through.
TERMINALS = ("event", "input", "state")


@dataclass(frozen=True)
class Input:
    """A wire's end: what it brings, the letter it carries where order matters, whether it
    is a peephole (a vector of weights instead of a matrix), and what a product calls it."""

    source: Figure
    mark: str = ""
    diagonal: bool = False
    key: str = ""


@dataclass(eq=False)
class Figure:
    """One thing that is drawn.

    Attributes:
        sign: What stands on it, and `tag` the weights that it owns, as in W_f.
        names: The values' names that it carries; `inside` those of values drawn within it.
        label: The name that stands on the wire that leaves it.
        group: The cell within the cell that it belongs to.
        carries: How much it bends a memory that passes through it; 0 if none may.
        learns: Whether it owns weights.
        line: The memory on whose line it stands, by its index in `Picture.lines`.
    """

    kind: Kind
    sign: str
    tag: str = ""
    names: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    inputs: list[Input] = field(default_factory=list)
    label: str = ""
    group: str = ""
    carries: int = 0
    learns: bool = False
    line: int | None = None


@dataclass(frozen=True)
class Picture:
    """All figures, each after those it reads.

    Attributes:
        lines: Each memory: its state, and the figures that it passes on its way.
        states: Each state before the step, and `updates` after it.
        output: What the layer gives out, and `output_name` what is written there.
    """

    figures: tuple[Figure, ...]
    lines: Mapping[str, tuple[Figure, ...]]
    states: Mapping[str, Figure]
    updates: Mapping[str, Figure]
    output: Figure
    output_name: str
