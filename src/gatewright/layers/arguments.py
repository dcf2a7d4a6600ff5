"""What a layer's constructor may be given."""

from __future__ import annotations

import warnings
from typing import Any

from gatewright.cells import CELLS
from gatewright.errors import ArgumentError, SizeError
from gatewright.language.cell import Cell


def check_arguments(input_size: Any, hidden_size: Any, num_layers: Any, dropout: Any) -> None:
    """Refuse sizes and probabilities that make no layer."""
    given = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SizeError(f"{name}={value!r}; expected a whole number from 1")
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ArgumentError(f"dropout={dropout!r}; expected a probability from 0 to 1")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} acts between layers, and there is one layer; it has no effect",
            UserWarning,
            stacklevel=4,
        )


def find_cell(cell: Cell | type[Cell] | str) -> Cell:
    """A cell from an instance, a class or a name.

    Raises:
        ArgumentError: for anything else, and for a name that is not in `gatewright.CELLS`.
    """
    if isinstance(cell, Cell):
        return cell
    if isinstance(cell, str):
        if cell not in CELLS:
            raise ArgumentError(f"there is no cell {cell!r}; the cells are {', '.join(CELLS)}")
        cell = CELLS[cell]
    if isinstance(cell, type) and issubclass(cell, Cell):
        try:
            return cell()
        except TypeError as error:
            raise ArgumentError(
                f"{cell.__name__} needs arguments ({error}); give a cell that is built, "
                f"as in Recurrent({cell.__name__}(...), ...)"
            ) from None
    raise ArgumentError(f"cell is a {type(cell).__name__}; give a Cell, its class, or a name")
