"""Reading a cell: `step` runs once on symbolic values, and its equations are written down.

Local names are taken from the step's own frame at the moment when it calls `state(...)`,
and the key of a product's source at the moment when it calls `linear(...)`. No source text
is needed, so a cell typed into a plain interpreter reads like one from a file.
"""

from __future__ import annotations

import inspect
import numbers
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from gatewright.errors import CellError, GatewrightError
from gatewright.language.equations import Equations
from gatewright.language.functions import Update
from gatewright.language.naming import check_weights, name_values
from gatewright.language.node import Node, Size, closure
from gatewright.language.operations import OPERATIONS
from gatewright.language.signature import (
    read_arguments,
    read_initial,
    read_sizes,
    step_function,
)
from gatewright.language.values import READING, Value, describe, lift

if TYPE_CHECKING:
    from gatewright.language.cell import Cell

#: A loop that unrolls to more than this is not a short loop over micro-steps.
MOST_NODES = 20_000
#: They share the step's names since Python 3.12, and have frames of their own before.
COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


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
        CellError: naming the cell, the line and the mend, if the step cannot be read.
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
        sizes = read_sizes(self.cell, taken, self.error, self.check_size)
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
        check_weights(self, [name for name, one in initial.items() if isinstance(one, dict)])
        kept = closure([*outputs.values(), update.output.node, *names.values()])
        kept |= {value.node for value in (*arguments, *further.values())}
        return Equations(
            name=self.cell_name,
            about=inspect.cleandoc(type(self.cell).__doc__ or "").partition("\n")[0],
            origin=f"{type(self.cell).__module__}.{type(self.cell).__qualname__}",
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
                "mend that line; a step runs once on symbolic values, and may use them only "
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
        lifted = {name: self.real(states[name], f"state {name}") for name in scope.states}
        given = lifted[scope.states[0]] if output is None else self.real(output, "the output")
        frame = self.frame()
        named = dict(frame.f_locals) if frame is not None else {}
        own = {k: v for k, v in named.items() if isinstance(v, Value) and v.reader is self}
        return Update(lifted, given, own)

    def runs(self, cell: Cell) -> bool:
        """Whether a cell's step is running now."""
        return any(scope.cell is cell for scope in self.scopes)

    # What the functions of the language ask for.
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

    def real(self, given: Any, role: str) -> Value:
        """A value that may become a state or an output."""
        value = lift(self, given, role)
        if OPERATIONS[value.node.op].boolean:
            raise self.error(f"{role} is a comparison", "use where(condition, 1.0, 0.0)")
        return value

    def name_sources(
        self, op: str, sources: tuple[Any, ...], keyed: Mapping[str, Any]
    ) -> dict[str, Value]:
        """The sources of a product by key: the name that each has where the product stands."""
        named: dict[str, Value] = {}
        pairs = [(None, lift(self, one, op)) for one in sources]
        for key, value in [*pairs, *((key, lift(self, one, op)) for key, one in keyed.items())]:
            self.real(value, f"a source of {op}")
            if value.node.op == "constant":
                what = f"{key}={value.node.attributes['value']:g}" if key else "a number"
                raise self.error(
                    f"{op} was given {what}, which is no value to learn from",
                    "its sources are values; its options are name=, "
                    + (
                        "size=, bias=, heads= and antisymmetric="
                        if op == "linear"
                        else "and nothing else"
                    ),
                )
            key = key or self.local_name(value)
            if key is None:
                raise self.error(
                    f"{op} reads a value that has no name",
                    f"give it one first (`gated = r * h`, then {op}(x, gated)) "
                    f"or a key ({op}(x, h=r * h))",
                )
            if key in named:
                raise self.error(f"{op} has two sources with the key `{key}`", "key one: h2=h")
            named[key] = value
        return named

    def local_name(self, value: Value) -> str | None:
        """The name that a value has in the step at this moment."""
        for frame in reversed(self.frames()):
            for name, bound in frame.f_locals.items():
                if isinstance(bound, Value) and bound.node is value.node:
                    return str(name)
        return (
            value.node.attributes.get("name")
            if value.node.op in ("event", "state", "input")
            else None
        )

    def check_name(self, name: Any) -> str | None:
        """An explicit name of a product, with the scope's prefix."""
        if name is None:
            return None
        if not isinstance(name, str) or not name.isidentifier():
            raise self.error(f"name={name!r} is no name", "use letters, digits and _")
        return self.scopes[-1].prefix + name

    def check_size(self, op: str, size: Any) -> Size:
        """A size as a number, "input" or "hidden"; a field's name stands for its number."""
        cell = self.scopes[-1].cell if self.scopes else self.cell
        found = cell.fields().get(size, size) if isinstance(size, str) else size
        # Integral rather than int: numpy's whole numbers are as good.
        if isinstance(found, numbers.Integral) and not isinstance(found, bool) and int(found) > 0:
            return int(found)
        if isinstance(size, str) and size in ("input", "hidden"):
            return size
        given = f"{size!r}, which is {found!r}" if found is not size else repr(size)
        raise self.error(
            f"{op} was given size={given}",
            'a size is "hidden", "input", a number from 1, or the name of a field with one',
        )

    def check_flag(self, option: str, given: Any) -> bool:
        """An option of a product that is on or off."""
        if not isinstance(given, bool):
            raise self.error(f"linear was given {option}={given!r}", "give True or False")
        return given

    # Where we are.
    def frame(self) -> FrameType | None:
        """The frame of the step that is running."""
        frames = self.frames()
        return frames[-1] if frames else None

    def frames(self) -> list[FrameType]:
        """The frames of comprehensions in the step, the innermost first, and the step's own."""
        frame: FrameType | None = sys._getframe()
        found: list[FrameType] = []
        while frame is not None and frame.f_code is not self.scopes[-1].code:
            if frame.f_code.co_name in COMPREHENSIONS:
                found.append(frame)
            frame = frame.f_back
        return [*found, frame] if frame is not None else []

    def line(self) -> int | None:
        """The line of the step that is running."""
        frame = self.frame() if self.scopes else None
        return frame.f_lineno if frame is not None else None

    def error(self, fact: str, mend: str, line: int | None = None) -> CellError:
        """A refusal that names the cell and the line."""
        name = self.cell_name
        if self.scopes and self.scopes[-1].prefix:
            name += f".{self.scopes[-1].prefix.rstrip('.')}"
        if line is None:
            line = self.line()
        error = CellError(fact, cell=name, line=line or self.first_line(), mend=mend)
        self.refused = self.refused or error
        return error

    def first_line(self) -> int | None:
        """Where the step begins: for what concerns the step as a whole."""
        step = step_function(self.cell)
        return step.__code__.co_firstlineno if step is not None else None


def line_of(error: BaseException, code: CodeType) -> int | None:
    """The line of the step from which an exception of the user's own came."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    return trace.tb_lineno if trace is not None else None


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
