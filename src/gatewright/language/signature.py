"""Read what a cell declares: the arguments of its step, `initial` and `sizes`."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.errors import CellError
from gatewright.language.functions import LearnedStart
from gatewright.language.node import Size
from gatewright.language.recorder import AnyCell, step_function
from gatewright.language.values import describe

#: Names that the call of a layer, or its result, already uses.
RESERVED = frozenset(
    {
        "input",
        "hx",
        "lengths",
        "starts",
        "recompute",
        "hold",
        "grad",
        "weights",
        "values",
        "output",
    }
)
PLAIN_STEP = "write `def step(self, x, h): ...`"

#: Makes the error for a fact and a hint; `Recorder.error` is the one in use.
Refuse = Callable[[str, str], CellError]


@dataclass(frozen=True)
class StepArguments:
    """A step's arguments: the first, the other positional ones, the keyword-only ones."""

    event: str
    states: tuple[str, ...]
    inputs: tuple[str, ...]


def read_arguments(cell: AnyCell, refuse: Refuse) -> StepArguments:
    """The arguments of a cell's step."""
    if getattr(type(cell), "step", None) is None:
        raise refuse("the cell has no step", PLAIN_STEP)
    step = step_function(cell)
    # A generator or a coroutine would return before its body has run.
    unlike = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    if step is None or any(is_unlike(step) for is_unlike in unlike):
        raise refuse("step is not a plain function", PLAIN_STEP)
    positional: list[str] = []
    inputs: list[str] = []
    for parameter in list(inspect.signature(step).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise refuse(
                f"step takes {parameter}, but the states and inputs of a cell need names",
                "name each argument: the event first, then the states, then, after `*`, "
                "the further inputs of each step",
            )
        if parameter.default is not parameter.empty:
            raise refuse(
                f"the argument {parameter.name} has a default",
                "give a state's start in `initial`; make a constant a field of the cell",
            )
        (inputs if parameter.kind is parameter.KEYWORD_ONLY else positional).append(parameter.name)
    if len(positional) < 2:
        raise refuse(
            "step has no state, so the cell could remember nothing",
            f"{PLAIN_STEP}: the event, then at least one state",
        )
    taken = [name for name in (*positional[1:], *inputs) if name in RESERVED]
    if taken:
        raise refuse(f"the argument name `{taken[0]}` is taken by the layers", "rename it")
    return StepArguments(positional[0], tuple(positional[1:]), tuple(inputs))


def read_initial(cell: AnyCell, arguments: StepArguments, refuse: Refuse) -> dict[str, Any]:
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
    cell: AnyCell, arguments: StepArguments, refuse: Refuse, check: Callable[[str, Any], Size]
) -> dict[str, Size]:
    """The sizes that a cell declares for its states and further inputs."""
    sizes: dict[str, Size] = {}
    for name, size in _mapping(cell, "sizes", arguments, refuse).items():
        if name not in (*arguments.states, *arguments.inputs):
            known = ", ".join((*arguments.states, *arguments.inputs))
            raise refuse(f"sizes names `{name}`", f"the states and inputs are {known}")
        sizes[name] = check(f"the size of {name}", size)
    return sizes


def _mapping(
    cell: AnyCell, name: str, arguments: StepArguments, refuse: Refuse
) -> Mapping[str, Any]:
    declared: Any = getattr(cell, name)
    if not isinstance(declared, Mapping):
        raise refuse(
            f"{name} is {describe(declared)}",
            f"name the states: {name} = {{'{arguments.states[0]}': ...}}",
        )
    return declared
