"""Reading a cell: `step` runs once on symbolic values, and its equations are written down.

Local names are taken from the step's own frame at the moment when it calls `state(...)`,
and the key of a product's source at the moment when it calls `linear(...)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any

from gatewright.errors import CellError, GatewrightError
from gatewright.language.argument_checks import check_real, check_size
from gatewright.language.equations import Equations
from gatewright.language.frames import line_in, line_of, values_in
from gatewright.language.functions import Update
from gatewright.language.node import Node, closure
from gatewright.language.signature import (
    read_arguments,
    read_initial,
    read_sizes,
    step_function,
)
from gatewright.language.storing import MOST_LETTERS, for_people
from gatewright.language.values import READING, Value, describe, lift
from gatewright.language.weight_names import check_weights, name_values

if TYPE_CHECKING:
    from gatewright.language.cell import Cell

#: A loop that unrolls to more than this is not a short loop over micro-steps.
MOST_NODES = 20_000


@dataclass
class Scope:
    """The step that is running: the cell's own, or that of a cell which is its field."""

    cell: Cell
    code: CodeType
    states: tuple[str, ...]
    prefix: str = ""
    first: int = 0
    names: dict[str, Node] = field(default_factory=dict)


def read(cell: Cell) -> Equations:
    """The equations of a cell's step.

    Raises:
        CellError: naming the cell, the line and the hint, if the step cannot be read.
    """
    return Reader(cell).read()


class Reader:
    """Collects the nodes of one reading; every `Value` belongs to one."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.cell_name = type(cell).__name__
        self.nodes: list[Node] = []
        self.scopes: list[Scope] = []
        #: Which cell's step made each node, and which products got their name without name=.
        self.makers: dict[Node, Cell] = {}
        self.implicit: set[Node] = set()
        #: The first refusal: a step that catches it must not go on as if nothing had been said.
        self.refused: CellError | None = None

    def read(self) -> Equations:
        taken = read_arguments(self.cell, self.error)
        initial = read_initial(self.cell, taken, self.error)
        sizes = read_sizes(self.cell, taken, self.error, partial(check_size, self))
        arguments = [self.add("event", (), {"name": taken.event})]
        arguments += [self.add("state", (), {"name": name}) for name in taken.states]
        further = {name: self.add("input", (), {"name": name}) for name in taken.inputs}
        update, scope = self.run(self.cell, "", arguments, further)
        if self.refused is not None:
            raise self.refused
        outputs = {name: value.node for name, value in update.states.items()}
        names = {taken.event: arguments[0].node}
        names |= {name: value.node for name, value in further.items()}
        names |= scope.names
        if names.get("output", update.output.node) is not update.output.node:
            raise self.error(
                "the local name `output` is not what the layer gives out",
                "return state(..., output=output), or rename it",
                names["output"].line,
            )
        if update.output.node not in outputs.values():
            names["output"] = update.output.node
        self.check_lengths(names)
        check_weights(self, [name for name, one in initial.items() if isinstance(one, dict)])
        kept = closure([*outputs.values(), update.output.node, *names.values()])
        kept |= {value.node for value in (*arguments, *further.values())}
        return Equations(
            name=for_people(self.cell_name),
            about=for_people(inspect.cleandoc(type(self.cell).__doc__ or "").partition("\n")[0]),
            origin=for_people(f"{type(self.cell).__module__}.{type(self.cell).__qualname__}"),
            nodes=tuple(node for node in self.nodes if node in kept),
            event=taken.event,
            states=taken.states,
            inputs=taken.inputs,
            updates=outputs,
            output=update.output.node,
            names={name: node for name, node in names.items() if node in kept},
            initial=initial,
            sizes=sizes,
        )

    def check_lengths(self, names: Iterable[str]) -> None:
        """Refuse names that nobody could read in a diagram, and no file would hold."""
        products = [
            str(node.attributes["name"]) for node in self.nodes if "name" in node.attributes
        ]
        longest = max((*names, *products), key=len)
        if len(longest) > MOST_LETTERS:
            raise self.error(
                f"the name {longest[:40]}… has {len(longest)} letters",
                f"give it a name of at most {MOST_LETTERS}",
            )

    # Running a step.
    def run(
        self, cell: Cell, prefix: str, arguments: list[Value], further: Mapping[str, Value]
    ) -> tuple[Update, Scope]:
        """Run a step on values and name what it made."""
        step = step_function(cell)
        assert step is not None  # read_arguments has refused a cell without one
        code = step.__code__
        states = read_arguments(cell, self.error).states
        scope = Scope(cell, code, states, prefix, len(self.nodes))
        self.scopes.append(scope)
        token = READING.set(self)
        try:
            update = cell.step(*arguments, **further)
        except GatewrightError:
            raise
        except RecursionError as error:
            raise self.error(
                "the step calls itself", "a cell may not contain itself", line_of(error, code)
            ) from None
        except Exception as error:
            raise self.error(
                f"running the step raised {type(error).__name__}: {error}",
                "correct that line; a step runs once on symbolic values, and may use them only "
                "through gatewright's functions and operators",
                line_of(error, code),
            ) from error
        finally:
            READING.reset(token)
        if not isinstance(update, Update):
            raise self.error(
                f"step returned {describe(update)}",
                f"end it with `return gw.state({', '.join(f'{s}=...' for s in scope.states)})`",
            )
        name_values(self, scope, update)
        self.scopes.pop()
        return update, scope

    def inline(self, cell: Cell, arguments: tuple[Any, ...], further: Mapping[str, Any]) -> Update:
        """Run the step of a cell that is a field of the one being read."""
        outer = self.scopes[-1]
        prefix = field_name(outer.cell, cell)
        if prefix is None:
            raise self.error(
                f"{type(cell).__name__} was applied in the step but is no field of the cell",
                "make it a field: `inner: gw.Cell = LSTM()`, then `self.inner(x, h, c)`",
            )
        if len(self.scopes) > 20:
            raise self.error("cells are nested more than 20 deep", "a cell may not contain itself")
        taken = read_arguments(cell, self.error)
        if len(arguments) != 1 + len(taken.states) or set(further) != set(taken.inputs):
            wanted = ", ".join(("x", *taken.states, *(f"{name}=..." for name in taken.inputs)))
            raise self.error(
                f"{prefix} was applied to other arguments", f"write {prefix}({wanted})"
            )
        values = [lift(self, one, prefix) for one in arguments]
        keyed = {name: lift(self, one, prefix) for name, one in further.items()}
        update, scope = self.run(cell, f"{outer.prefix}{prefix}.", values, keyed)
        outer.names |= scope.names
        return update

    def update(self, states: Mapping[str, Any], output: Any) -> Update:
        """What `state(...)` makes, with the names of the step that calls it."""
        scope = self.scopes[-1]
        missing = [name for name in scope.states if name not in states]
        unknown = [name for name in states if name not in scope.states]
        if missing or unknown:
            parts = [f"leaves out {', '.join(missing)}"] if missing else []
            parts += [f"names {', '.join(unknown)}, no state of the step"] if unknown else []
            raise self.error(
                f"state(...) {' and '.join(parts)}",
                f"return state({', '.join(f'{name}=...' for name in scope.states)}, output=...)",
            )
        lifted = {name: check_real(self, states[name], f"state {name}") for name in scope.states}
        first = lifted[scope.states[0]]
        given = first if output is None else check_real(self, output, "the output")
        own = {name: one for name, one in values_in(scope.code).items() if one.reader is self}
        return Update(lifted, given, own)

    def runs(self, cell: Cell) -> bool:
        """Whether a cell's step is running now."""
        return any(scope.cell is cell for scope in self.scopes)

    def add(self, op: str, operands: tuple[Node, ...], attributes: Mapping[str, Any]) -> Value:
        """A new node, as a value."""
        if len(self.nodes) >= MOST_NODES:
            raise self.error(
                f"the step unrolls to more than {MOST_NODES} operations",
                "loop over few micro-steps; the layer loops over time by itself",
            )
        node = Node(op, operands, attributes, self.line())
        self.nodes.append(node)
        return Value(self, node)

    def line(self) -> int | None:
        """The line of the step that is running."""
        return line_in(self.scopes[-1].code) if self.scopes else None

    def error(self, fact: str, hint: str, line: int | None = None) -> CellError:
        """A refusal that names the cell and the line."""
        name = self.cell_name
        if self.scopes and self.scopes[-1].prefix:
            name += f".{self.scopes[-1].prefix.rstrip('.')}"
        if line is None:
            line = self.line()
        error = CellError(fact, cell=name, line=line or self.first_line(), hint=hint)
        self.refused = self.refused or error
        return error

    def first_line(self) -> int | None:
        """Where the step begins: for what concerns the step as a whole."""
        step = step_function(self.cell)
        return step.__code__.co_firstlineno if step is not None else None


def field_name(outer: Cell, inner: Cell) -> str | None:
    """Under which field, or `field.index`, a cell holds another."""
    for name, value in outer.fields().items():
        if value is inner:
            return name
        if isinstance(value, tuple | list):
            for index, one in enumerate(value):
                if one is inner:
                    return f"{name}.{index}"
    return None
