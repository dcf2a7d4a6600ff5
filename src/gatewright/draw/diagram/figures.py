"""The figures of a diagram, before they have a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gatewright.language.node import Node

Kind = Literal["event", "input", "state", "learned", "pointwise", "row", "source", "join"]
#: Figures through which values enter the cell.
TERMINALS = ("event", "input", "state")


@dataclass(frozen=True)
class Input:
    """The end of a wire at its reader.

    Attributes:
        mark: The letter at its end, if the order of the operands matters.
        diagonal: It is a peephole, with a vector of weights instead of a matrix.
        key: The name under which a product reads it.
    """

    source: Figure
    mark: str = ""
    diagonal: bool = False
    key: str = ""


@dataclass(eq=False)
class Figure:
    """A figure.

    Attributes:
        sign: The text on it; `tag` the weights that it has, such as W_f.
        names: The names of its value; `inside` those of values that are drawn as part of it.
        label: The name on the wire that leaves it.
        group: The inner cell that it belongs to.
        carries: Its cost on the line of a memory; 0 if it cannot be on a line.
        learns: It has weights.
        line: The index in `Picture.lines` of the memory on whose line it is.
        node: The operation whose value it shows; None for a join.
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
    node: Node | None = None


@dataclass(frozen=True)
class Picture:
    """All figures, each after its sources.

    Attributes:
        lines: The figures on the line of each memory, by state.
        states: The states before the step; `updates` those after it.
        output: The figure of the layer's output; `output_name` its text.
    """

    figures: tuple[Figure, ...]
    lines: Mapping[str, tuple[Figure, ...]]
    states: Mapping[str, Figure]
    updates: Mapping[str, Figure]
    output: Figure
    output_name: str
