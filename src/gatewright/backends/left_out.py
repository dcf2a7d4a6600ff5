"""The backend in place of kernels whose folder is not there: it runs nothing, and says so.

`backends/llvm` and `backends/triton` may be deleted. The other backends then run every cell.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NoReturn

import torch

from gatewright.backends.run import Run
from gatewright.errors import BackendError
from gatewright.graph import Graph

REASON = "its kernels are not in this copy of gatewright"


def is_left_out(folder: str) -> bool:
    """Tell if a folder of kernels is not there; the error of one that is broken stays to be seen.

    >>> is_left_out("llvm")
    False
    """
    return not files("gatewright.backends").joinpath(folder, "__init__.py").is_file()


def why_not(run: Run) -> str:
    """Give the reason why no run can run."""
    return REASON


def why_by_name(run: Run) -> None:
    """Give no reason of its own: `why_not` has one for every run."""


def why_no_stream(graph: Graph) -> str:
    """Give the reason why no graph can be streamed."""
    return REASON


def is_fast(graph: Graph, device: torch.device) -> bool:
    """Tell that no cell is fast."""
    return False


def run(run: Run) -> NoReturn:
    """Refuse a run; `pick` gives it none.

    Raises:
        BackendError: always.
    """
    raise BackendError(REASON)


def describe(run: Run) -> list[str]:
    """Return no lines."""
    return []
