"""`check_cell`: test whether a cell keeps the laws of cells. Anyone can run it on their cells.

The laws are in `laws.py`, a file of their own, since each new law makes it longer.
"""

from __future__ import annotations

import torch

from gatewright.errors import CellError
from gatewright.language.cell import Cell
from gatewright.layers.arguments import find_cell
from gatewright.layers.laws import LAWS, Broken, LawCase


def check_cell(
    cell: Cell | type[Cell] | str,
    *,
    input_size: int | None = None,
    hidden_size: int | None = None,
    backend: str = "auto",
    seed: int = 0,
) -> None:
    """Raise with a report where a cell breaks a law.

    The laws: it reads the same twice; all values and gradients are finite from its start;
    the derived gradients are those of automatic differentiation; a sequence may be split and
    the states carried over; rows of a batch are independent; padding is never read; a restart
    is a new sequence; computed again in the backward pass (`recompute`), gradients are the same;
    it prints, draws, and is the same after saving and loading.

    Args:
        input_size, hidden_size: Sizes of the checked layer; by default small ones that fit.
        backend: The backend to check.

    Raises:
        CellError: naming every broken law and the observed difference.

    >>> import gatewright as gw
    >>> gw.check_cell("lstm")
    """
    case = LawCase(find_cell(cell), input_size, hidden_size, backend, seed)
    failures = []
    for name, law in LAWS.items():
        torch.manual_seed(seed)
        try:
            law(case)
        except Broken as difference:
            failures.append(f"  {name}: {difference}")
        except Exception as error:
            failures.append(f"  {name}: raised {type(error).__name__}: {error}")
    if failures:
        count = f"{len(failures)} of {len(LAWS)} laws"
        raise CellError(f"breaks {count}\n" + "\n".join(failures), cell=case.name)
