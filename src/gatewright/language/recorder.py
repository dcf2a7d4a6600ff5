"""The recorder: the operations that a cell's step has performed, and errors with its line.

It is the lowest module that knows of a running step. Values record into it, so it knows
cells only by the protocol `AnyCell` and values not at all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Protocol

from gatewright.errors import CellError
from gatewright.language.frames import line_in
from gatewright.language.node import Node

#: A short loop over micro-steps stays far below; a loop over time would exceed it.
MAX_NODES = 20_000


class AnyCell(Protocol):
    """The part of `Cell` that reading needs; the class itself is built on top of reading."""

    @property
    def step(self) -> Callable[..., Any]:
        """The step, with its decorators."""

    def fields(self) -> dict[str, Any]:
        """The cell's constants by name."""


@dataclass
class Scope:
    """A running step: the cell's own, or that of a cell which is one of its fields.

    Attributes:
        code: The step's code, by which its frame is recognised.
        states: The names of its state arguments.
        prefix: What goes before the names of its values and weights, such as `inner.`.
        first: The number of nodes that were recorded before this step began.
        names: The step's named values, filled in when it returns.
    """

    cell: AnyCell
    code: CodeType
    states: tuple[str, ...]
    prefix: str = ""
    first: int = 0
    names: dict[str, Node] = field(default_factory=dict)


class Recorder:
    """Collect the nodes of one cell; every `Value` of its step belongs to this recorder."""

    def __init__(self, cell: AnyCell) -> None:
        self.cell = cell
        self.cell_name = type(cell).__name__
        self.nodes: list[Node] = []
        #: The running steps, the outermost first.
        self.scopes: list[Scope] = []
        #: The cell whose step made each node.
        self.makers: dict[Node, AnyCell] = {}
        #: Weights that were named after a value, without `name=`.
        self.implicit: set[Node] = set()
        #: The first error. A step that catches it must still be refused when it returns.
        self.first_error: CellError | None = None

    def add(self, op: str, operands: tuple[Node, ...], attributes: Mapping[str, Any]) -> Node:
        """Record an operation."""
        if len(self.nodes) >= MAX_NODES:
            raise self.error(
                f"the step unrolls to more than {MAX_NODES} operations",
                "loop over a few micro-steps only; the layer already loops over time",
            )
        node = Node(op, operands, attributes, self.line())
        self.nodes.append(node)
        return node

    def runs(self, cell: AnyCell) -> bool:
        """Tell if a cell's step is running now."""
        return any(scope.cell is cell for scope in self.scopes)

    def line(self) -> int | None:
        """The line of the step that is running."""
        return line_in(self.scopes[-1].code) if self.scopes else None

    def error(self, fact: str, hint: str, line: int | None = None) -> CellError:
        """An error that names the cell and the line, for the caller to raise."""
        name = self.cell_name
        if self.scopes and self.scopes[-1].prefix:
            name += f".{self.scopes[-1].prefix.rstrip('.')}"
        if line is None:
            line = self.line()
        error = CellError(fact, cell=name, line=line or self.first_line(), hint=hint)
        self.first_error = self.first_error or error
        return error

    def first_line(self) -> int | None:
        """The line where the step begins, for errors about the step as a whole."""
        step = step_function(self.cell)
        return step.__code__.co_firstlineno if step is not None else None


#: The recorder of the step that is being read in this context, if any.
RECORDER: ContextVar[Recorder | None] = ContextVar("RECORDER", default=None)


def step_function(cell: AnyCell) -> FunctionType | None:
    """The step as it was written, without its decorators; None where the cell has none."""
    step = inspect.unwrap(getattr(type(cell), "step", None))  # type: ignore[arg-type]
    return step if inspect.isfunction(step) else None
