"""The networks that can be trained: a table of named ones, any cell, and their sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from gatewright.cells import CELLS
from gatewright.designs.design import DESIGNS, PLAIN, Design
from gatewright.designs.network import SequenceNetwork
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell, StoredCell, stored_form
from gatewright.layers.arguments import find_cell
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.torch_layers import GRU, LSTM, RNN, PeepholeLSTM
from gatewright.names import did_you_mean
from gatewright.tasks.task import Task
from gatewright.training.cell_file import cell_from_file, names_a_file
from gatewright.training.window import WindowNetwork

#: Largest deviation of a network's parameters from those asked for, as a share of these.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the comparison: it turns each step of a sequence into H features.

    Where a task asks once per sequence, its design says how the steps are summed up. A plain
    layer is read at its last step: it has to carry everything that matters in its memory.
    """

    title: str
    about: str
    build: Callable[[Task, int, Design], nn.Module]  # from (task, hidden size, design)
    cost: float  # relative time of a training step, for the progress bar
    cell: Cell | None = None  # a cell that has no name in `NETWORKS` or `CELLS`

    def stored(self, task: Task, hidden_size: int) -> dict[str, Any] | None:
        """The cell in JSON's types for another process; None for a network that has a name."""
        if self.cell is None:
            return None
        return stored_form(self.cell, [{"input": task.inputs, "hidden": hidden_size}])


def _recurrent(
    cell: Cell | type[Cell] | str, plain: Callable[[int, int], nn.Module]
) -> Callable[[Task, int, Design], nn.Module]:
    """The builder of a cell's networks; `plain` builds the layer of the plain design."""

    def build(task: Task, hidden_size: int, design: Design) -> nn.Module:
        if design == PLAIN:
            return plain(task.inputs, hidden_size)
        return SequenceNetwork(cell, task.inputs, hidden_size, design)

    return build


def _window(task: Task, hidden_size: int, design: Design) -> nn.Module:
    """The network without a memory, which has no design."""
    return WindowNetwork(task.inputs, hidden_size, reach=task.reach, causal=not task.centred)


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
            _recurrent("elman_rnn", RNN),
            cost=3,
        ),
        "lstm": Network(
            "LSTM",
            "A long-term memory, with gates that learn, forget, remember and use.",
            _recurrent("lstm", LSTM),
            cost=9,
        ),
        "peephole_lstm": Network(
            "peephole LSTM",
            "An LSTM whose gates also see the long-term memory.",
            _recurrent("peephole_lstm", PeepholeLSTM),
            cost=11,
        ),
        "gru": Network(
            "GRU",
            "Two gates and a single memory, which is also the output.",
            _recurrent("gru", GRU),
            cost=9,
        ),
    }
)


def _random(task: Task, hidden_size: int, design: Design) -> nn.Module:
    """The network of random weights; a design that is trained is not for it."""
    own = DESIGNS["untrained"] if design.trained else design
    return SequenceNetwork("gru", task.inputs, hidden_size, own)


#: By name: the network that `compare` adds where the task's read-out has a closed form.
UNTRAINED: Mapping[str, Network] = MappingProxyType(
    {
        "untrained": Network(
            "untrained GRU",
            "Random weights with many time constants; only its linear read-out is fitted.",
            _random,
            cost=1,
        )
    }
)


#: The cell that is trained unless the user names one. It did best, or as well as an LSTM within
#: the spread over seeds, on every task that the recipes were chosen on, with fewer weights a unit.
DEFAULT_CELL = "gru"


def find_network(cell: str | Cell | type[Cell]) -> tuple[str, Network]:
    """The name and the network of an entry of `NETWORKS`, a bundled cell or a user's cell.

    Raises:
        ArgumentError: if nothing has this name, `file.py:Name` holds no cell, or the cell
            reads more than the event.
    """
    if isinstance(cell, str):
        if cell in NETWORKS or cell in UNTRAINED:
            return cell, {**NETWORKS, **UNTRAINED}[cell]
        if names_a_file(cell):
            return _named_by_cell(cell_from_file(cell))
        if cell not in CELLS:
            known = ", ".join([*NETWORKS, *(name for name in CELLS if name not in NETWORKS)])
            raise ArgumentError(
                f"no network is called {cell!r}; {did_you_mean(cell, [*NETWORKS, *CELLS])}"
                f"there are: {known}. Give a cell of your own as file.py:ClassName"
            )
        return cell, _of_cell(CELLS[cell](), is_named=True)
    return _named_by_cell(find_cell(cell))


def stored_network(name: str, cell: Mapping[str, Any] | None) -> Network:
    """The network of `find_network` again, in any process, from its name and stored cell."""
    if cell is None:
        return find_network(name)[1]
    return _of_cell(StoredCell.from_json(dict(cell)), is_named=False)


def _named_by_cell(cell: Cell) -> tuple[str, Network]:
    return cell.equations.name, _of_cell(cell, is_named=False)


def _of_cell(cell: Cell, *, is_named: bool) -> Network:
    if cell.equations.inputs:
        raise ArgumentError(
            f"{cell.equations.name} reads {', '.join(cell.equations.inputs)} besides the event, "
            "which these data do not have; use it as a layer: "
            "gatewright.Recurrent(cell, ...)(x, name=...)"
        )
    about = (type(cell).__doc__ or "").strip().split("\n", 1)[0] if is_named else ""
    return Network(
        cell.equations.name,
        about or "A cell of your own.",
        _recurrent(cell, partial(Recurrent, cell)),
        cost=10,
        cell=None if is_named else cell,
    )


def count_parameters(module: nn.Module) -> int:
    """The number of parameters that a module learns; frozen ones do not count."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def solve_hidden_size(name: str, build: Callable[[int], nn.Module], target: int) -> int:
    """The hidden size at which `build(hidden size)` comes nearest to a number of parameters.

    Raises:
        ArgumentError: if the nearest deviates from `target` by more than `TOLERANCE`.
    """
    counts: dict[int, int] = {}

    def count(size: int) -> int:
        if size not in counts:
            counts[size] = count_parameters(build(size))
        return counts[size]

    # Parameters grow with the size: double it until the target is passed, then bisect.
    # Building a network draws its first weights; the caller's random numbers stay as they are.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        above = 1
        while count(above) < target:
            above *= 2
            if count(above) == count(above // 2):
                raise ArgumentError(
                    f"the network {name} has {count(above)} parameters whatever its hidden size, "
                    f"because its states have fixed sizes; give a hidden size instead of parameters"
                )
        below = max(above // 2, 1)
        while above - below > 1:
            middle = (above + below) // 2
            if count(middle) < target:
                below = middle
            else:
                above = middle
    nearest = min(counts, key=lambda size: abs(counts[size] - target))
    if abs(counts[nearest] - target) > TOLERANCE * target:
        raise ArgumentError(
            f"parameters is {target}, which the network {name} cannot have: with hidden size "
            f"{nearest} it has {counts[nearest]}; expected a count within {TOLERANCE:.0%} of it. "
            "Give more parameters, or a hidden size"
        )
    return nearest
