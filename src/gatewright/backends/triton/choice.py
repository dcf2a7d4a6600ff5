"""The choice of the kernels by "auto": where they are proven on this GPU, and faster."""

from __future__ import annotations

import shlex
import sys
from functools import lru_cache

import torch

from gatewright.backends.run import Run
from gatewright.backends.triton.record import device_of, read
from gatewright.cells import CELLS
from gatewright.graph import Graph
from gatewright.language.cell import Cell


def why_not_chosen(run: Run, device: torch.device) -> str | None:
    """Give the reason why "auto" does not choose the kernels for a run, or None."""
    here = device_of(device)
    like = next(iter(run.states.values()))
    proof = read(here, run.graph, str(like.dtype).removeprefix("torch."))
    if proof is None or (proof.failure is None and not proof.times):
        return f"its kernels are not proven on this GPU ({here.gpu}): {prove_command(run.graph)}"
    if run.hold:
        return "values are held, and its kernels are proven without"
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in run.tensors())
    return proof.why_not(len(like), run.sizes["hidden"], training=training)


def is_fast(graph: Graph, device: torch.device) -> bool:
    """Tell if the kernels of a cell are proven on a GPU, and train faster at all timed sizes."""
    proof = read(device_of(device), graph, "float32")
    return proof is not None and proof.is_complete and all(t.training[1] > 1.0 for t in proof.times)


@lru_cache(maxsize=256)
def prove_command(graph: Graph) -> str:
    """The command that proves the kernels of a cell, or the line of Python where none names it."""
    name = _name(graph)
    if name is None:
        return "from gatewright.proving import prove; prove([layer.cell])"
    return f"run gatewright doctor --gpu --cells {shlex.quote(name)}"


def _name(graph: Graph) -> str | None:
    """The name of a cell on the command line: that of one that ships, or file.py:Name."""
    module_name, _, kind_name = graph.equations.origin.rpartition(".")
    kind = getattr(sys.modules.get(module_name), kind_name, None)
    if not (isinstance(kind, type) and issubclass(kind, Cell)):
        return None
    try:
        same = kind().equations.same_as(graph.equations)
    except Exception:  # a class of the user: it may need arguments, or fail in any other way
        return None
    if not same:
        return None
    shipped = next((name for name, cell in CELLS.items() if cell is kind), None)
    file = getattr(sys.modules[module_name], "__file__", None)
    if shipped is not None or file is None or not file.endswith(".py"):
        return shipped
    return f"{file}:{kind_name}"
