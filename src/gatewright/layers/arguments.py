"""Checks of the arguments of constructors, and of the ways in which a layer is used."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

from gatewright.cells import cell_class
from gatewright.errors import ArgumentError, SizeError, WrongType
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.language.cell import Cell


def check_arguments(input_size: Any, hidden_size: Any, num_layers: Any, dropout: Any) -> None:
    """Refuse sizes and probabilities that make no layer."""
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, value in sizes.items():
        check_size(name, value)
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ArgumentError(f"dropout={dropout!r}; expected a probability from 0 to 1")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} acts between layers, and there is one layer; it has no effect",
            UserWarning,
            stacklevel=_users_level(),
        )


def check_flags(**flags: Any) -> None:
    """Refuse flags that are not True or False, as torch does.

    A size in the position of a flag is a mistake that would pass silently.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise WrongType(f"{name}={value!r}; expected True or False")


def check_size(name: str, value: Any, least: int = 1) -> None:
    """Refuse a size that is no whole number from `least`."""
    text = f"{name}={value!r}; expected a whole number from {least}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongType(text)
    if value < least:
        raise SizeError(text)


def check_effect(graph: Graph, numbers: Mapping[str, int]) -> None:
    """Warn of a hidden size that changes nothing, unless it is the output's own."""
    sizes = {*graph.sizes.of.values()}
    for agreement in graph.sizes.agreements:
        sizes |= {agreement.first, agreement.second}
    if "hidden" in sizes or number(graph.output.size, numbers) == numbers["hidden"]:
        return
    own = ", ".join(f"{name}: {term.size}" for name, term in graph.states.items())
    warnings.warn(
        f"hidden_size={numbers['hidden']} has no effect: the states of {graph.equations.name} have "
        f"sizes of their own ({own})",
        UserWarning,
        stacklevel=_users_level(),
    )


def _users_level() -> int:
    """The number of calls between the caller and the user's code: a drop-in adds one."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("gatewright."):
        frame, level = frame.f_back, level + 1
    return level


def find_cell(cell: Cell | type[Cell] | str) -> Cell:
    """The cell of an instance, a class or a name.

    Raises:
        ArgumentError: for anything else, and for a name that is not in `gatewright.CELLS`.
    """
    if isinstance(cell, Cell):
        return cell
    if isinstance(cell, str):
        cell = cell_class(cell)
    if isinstance(cell, type) and issubclass(cell, Cell):
        try:
            return cell()
        except TypeError as error:
            raise ArgumentError(
                f"{cell.__name__} needs arguments ({error}); give a cell that is built, "
                f"as in Recurrent({cell.__name__}(...), ...)"
            ) from None
    raise WrongType(f"cell is a {type(cell).__name__}; give a Cell, its class, or a name")
