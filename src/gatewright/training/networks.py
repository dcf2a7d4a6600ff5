"""The networks that can be trained, in one table, any cell beside them, and how large they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from gatewright.cells import CELLS
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell, StoredCell, stored_form
from gatewright.layers.arguments import find_cell
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.torch_layers import GRU, LSTM, RNN, PeepholeLSTM
from gatewright.tasks.task import Task
from gatewright.training.cell_file import cell_from_file, names_a_file
from gatewright.training.window import Window

#: A budget is met if the network's parameters come this near to it.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Network:
    """One row of the comparison: what turns each step of a sequence into H features.

    A recurrent layer that is asked once a sequence is read at its last step, so that it has
    to carry everything that matters in its memory.
    """

    title: str
    about: str
    build: Callable[[Task, int], nn.Module]  # (the task, hidden size) to the module
    cost: float  # time of a training step beside the others; only the progress bar asks
    cell: Cell | None = None  # one that has no name here

    def stored(self, task: Task, hidden_size: int) -> dict[str, Any] | None:
        """The JSON of a cell that has no name here, for another process; None if it has one."""
        if self.cell is None:
            return None
        return stored_form(self.cell, [{"input": task.inputs, "hidden": hidden_size}])


def _layer(kind: Any) -> Callable[[Task, int], nn.Module]:
    return lambda task, hidden_size: kind(task.inputs, hidden_size)


def _window(task: Task, hidden_size: int) -> nn.Module:
    return Window(task.inputs, hidden_size, reach=task.reach, causal=not task.centred)


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "window": Network(
            "window",
            "A feed-forward net on a few steps at a time: no memory.",
            _window,
            cost=1,
        ),
        "rnn": Network(
            "RNN",
            "Elman's network: one tanh layer that reads its own last output. No gates.",
            _layer(RNN),
            cost=3,
        ),
        "lstm": Network(
            "LSTM",
            "A long-term memory, with gates that learn, forget, remember and use.",
            _layer(LSTM),
            cost=9,
        ),
        "peephole_lstm": Network(
            "peephole LSTM",
            "An LSTM whose gates also see the long-term memory.",
            _layer(PeepholeLSTM),
            cost=11,
        ),
        "gru": Network(
            "GRU",
            "Two gates and a single memory, which is also the output.",
            _layer(GRU),
            cost=9,
        ),
    }
)


def find_network(given: str | Cell | type[Cell]) -> tuple[str, Network]:
    """A name and its network: one of `NETWORKS`, a cell that ships, or a cell of the user's.

    Raises:
        ArgumentError: if there is none of this name, `file.py:Name` holds no cell, or the cell
            reads more than the event.
    """
    if isinstance(given, str):
        if given in NETWORKS:
            return given, NETWORKS[given]
        if names_a_file(given):
            return _own(cell_from_file(given))
        if given not in CELLS:
            known = ", ".join([*NETWORKS, *(name for name in CELLS if name not in NETWORKS)])
            raise ArgumentError(
                f"no network is called {given!r}; there are: {known}. "
                "A cell of your own is given as file.py:ClassName"
            )
        return given, _of_cell(CELLS[given](), named=True)
    return _own(find_cell(given))


def stored_network(name: str, cell: Mapping[str, Any] | None) -> Network:
    """The network that `find_network` found, in any process, from its name and its stored cell."""
    if cell is None:
        return find_network(name)[1]
    return _of_cell(StoredCell.from_json(dict(cell)), named=False)


def _own(cell: Cell) -> tuple[str, Network]:
    return cell.equations.name, _of_cell(cell, named=False)


def _of_cell(cell: Cell, *, named: bool) -> Network:
    if cell.equations.inputs:
        raise ArgumentError(
            f"{cell.equations.name} reads {', '.join(cell.equations.inputs)} besides the event, "
            "which these data do not have; use it as a layer: "
            "gatewright.Recurrent(cell, ...)(x, name=...)"
        )
    about = (type(cell).__doc__ or "").strip().split("\n", 1)[0] if named else ""
    return Network(
        cell.equations.name,
        about or "A cell of your own.",
        lambda task, hidden_size: Recurrent(cell, task.inputs, hidden_size),
        cost=10,
        cell=None if named else cell,
    )


def parameters(module: nn.Module) -> int:
    """How many numbers the module learns; what is frozen does not count."""
    return sum(one.numel() for one in module.parameters() if one.requires_grad)


def solve_hidden_size(name: str, build: Callable[[int], nn.Module], budget: int) -> int:
    """The hidden size at which `build(hidden size)` comes nearest to `budget` parameters.

    Raises:
        ArgumentError: if even the nearest is further from the budget than `TOLERANCE`.
    """
    counts: dict[int, int] = {}

    def count(size: int) -> int:
        if size not in counts:
            counts[size] = parameters(build(size))
        return counts[size]

    # Building a network draws its first weights; the caller's random numbers stay as they are.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        above = 1
        while count(above) < budget:
            above *= 2
            if count(above) == count(above // 2):
                raise ArgumentError(
                    f"the network {name} has {count(above)} parameters whatever its hidden size, "
                    f"since its states have sizes of their own; give a hidden size, not a budget"
                )
        below = max(above // 2, 1)
        while above - below > 1:
            middle = (above + below) // 2
            if count(middle) < budget:
                below = middle
            else:
                above = middle
    nearest = min(counts, key=lambda size: abs(counts[size] - budget))
    if abs(counts[nearest] - budget) > TOLERANCE * budget:
        raise ArgumentError(
            f"a budget of {budget} parameters cannot be met by the network {name}: with "
            f"hidden size {nearest} it has {counts[nearest]}; expected one within "
            f"{TOLERANCE:.0%}. Give a larger budget, or a hidden size"
        )
    return nearest
