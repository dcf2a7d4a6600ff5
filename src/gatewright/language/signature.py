"""What a cell says before its step runs: the step's arguments, `initial` and `sizes`."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any

from gatewright.errors import CellError
from gatewright.language.functions import LearnedStart
from gatewright.language.node import Size
from gatewright.language.values import describe

if TYPE_CHECKING:
    from gatewright.language.cell import Cell

#: Names that a layer's call, or what it gives back, uses itself.
RESERVED = frozenset(
    {"input", "hx", "lengths", "starts", "hold", "grad", "weights", "values", "output"}
)
LIKE_THIS = "write `def step(self, x, h): ...`"

#: Makes the refusal of a fact, with its hint.
Refuse = Callable[[str, str], CellError]


@dataclass(frozen=True)
class Arguments:
    """A step's arguments: the first, the other positional ones, the keyword-only ones."""

    event: str
    states: tuple[str, ...]
    inputs: tuple[str, ...]


def step_function(cell: Cell) -> FunctionType | None:
    """The step as it was written, within any decorators; None where there is none."""
    step = inspect.unwrap(getattr(type(cell), "step", None))  # type: ignore[arg-type]
    return step if inspect.isfunction(step) else None


def read_arguments(cell: Cell, refuse: Refuse) -> Arguments:
    """The arguments of a cell's step."""
    if getattr(type(cell), "step", None) is None:
        raise refuse("the cell has no step", LIKE_THIS)
    step = step_function(cell)
    odd = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    if step is None or any(one(step) for one in odd):
        raise refuse("step is no plain function", LIKE_THIS)
    positional: list[str] = []
    inputs: list[str] = []
    for one in list(inspect.signature(step).parameters.values())[1:]:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise refuse(
                f"step takes {one}, and a cell's states and inputs are known by name",
                "name each argument: the event first, then the states, then, after `*`, "
                "the further inputs of each step",
            )
        if one.default is not one.empty:
            raise refuse(
                f"the argument {one.name} has a default",
                "give a state's start in `initial`; make a constant a field of the cell",
            )
        (inputs if one.kind is one.KEYWORD_ONLY else positional).append(one.name)
    if len(positional) < 2:
        raise refuse(
            "step has no state, so nothing would be carried from step to step",
            f"{LIKE_THIS}: the event, then at least one state",
        )
    taken = [name for name in (*positional[1:], *inputs) if name in RESERVED]
    if taken:
        raise refuse(f"the argument name `{taken[0]}` is taken by the layers", "rename it")
    return Arguments(positional[0], tuple(positional[1:]), tuple(inputs))


def read_initial(cell: Cell, arguments: Arguments, refuse: Refuse) -> dict[str, Any]:
    """Each state's start: a number, or `{"learned": number}`."""
    initial: dict[str, Any] = {}
    for name, start in _mapping(cell, "initial", arguments, refuse).items():
        if name not in arguments.states:
            known = ", ".join(arguments.states)
            raise refuse(f"initial names `{name}`", f"the states are {known}")
        number = isinstance(start, numbers.Real) and not isinstance(start, bool)
        if isinstance(start, LearnedStart):
            initial[name] = {"learned": start.start}
        elif number and not math.isnan(start):
            initial[name] = float(start)
        else:
            raise refuse(
                f"the start of state {name} is {describe(start)}",
                "give a number, -inf, or parameter() for a learned start",
            )
    return initial


def read_sizes(
    cell: Cell, arguments: Arguments, refuse: Refuse, check: Callable[[str, Any], Size]
) -> dict[str, Size]:
    """The sizes that a cell states for its states and further inputs."""
    sizes: dict[str, Size] = {}
    for name, size in _mapping(cell, "sizes", arguments, refuse).items():
        if name not in (*arguments.states, *arguments.inputs):
            known = ", ".join((*arguments.states, *arguments.inputs))
            raise refuse(f"sizes names `{name}`", f"the states and inputs are {known}")
        sizes[name] = check(f"the size of {name}", size)
    return sizes


def _mapping(cell: Cell, name: str, arguments: Arguments, refuse: Refuse) -> Mapping[str, Any]:
    given: Any = getattr(cell, name)
    if not isinstance(given, Mapping):
        raise refuse(
            f"{name} is {describe(given)}",
            f"name the states: {name} = {{'{arguments.states[0]}': ...}}",
        )
    return given
