"""`check_cell`: whether a cell keeps the laws of cells. Anyone can run it on a cell of theirs."""

from __future__ import annotations

import torch

from gatewright.errors import CellError
from gatewright.language.cell import Cell
from gatewright.layers.arguments import find_cell
from gatewright.layers.laws import LAWS, Broken, Case


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
    the states carried over; rows of a batch do not touch; padding is never read; a restart
    is a new sequence; it prints, draws, and comes back from a directory as it was.

    Args:
        input_size, hidden_size: Sizes to check it at; by default small ones that fit.
        backend: What to check it on.

    Raises:
        CellError: naming every broken law and what was seen.

    >>> import gatewright as gw
    >>> gw.check_cell("lstm")
    """
    case = Case(find_cell(cell), input_size, hidden_size, backend, seed)
    broken = []
    for name, law in LAWS.items():
        torch.manual_seed(seed)
        try:
            law(case)
        except Broken as found:
            broken.append(f"  {name}: {found}")
        except Exception as error:
            broken.append(f"  {name}: raised {type(error).__name__}: {error}")
    if broken:
        count = f"{len(broken)} of {len(LAWS)} laws"
        raise CellError(f"breaks {count}\n" + "\n".join(broken), cell=case.name)
