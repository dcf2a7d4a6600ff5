"""The cells that have a layer and a step cell of their own, such as `LSTM` and `LSTMCell`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.cells.gru import GRU
from gatewright.cells.lstm import LSTM, PeepholeLSTM
from gatewright.cells.rnn import ElmanRNN
from gatewright.language.cell import Cell

#: Arguments of constructors that do not choose the cell.
COMMON = {
    "self",
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
    "device",
    "dtype",
    "backend",
}


@dataclass(frozen=True)
class BuiltIn:
    """A cell behind a layer and a step cell.

    Attributes:
        cell: Makes the cell from the options of the layer or step cell.
        torch_gates: The products in the order in which torch stacks their weights; empty where
            torch has no such layer, and weights are stored by name.
    """

    cell: Callable[..., Cell]
    torch_gates: tuple[str, ...] = ()


def _lstm(proj_size: int = 0) -> Cell:
    return LSTM(projection=proj_size)


#: By the name of the layer; that of the step cell ends with "Cell".
BUILT_IN = {
    "RNN": BuiltIn(ElmanRNN, ("h",)),
    "LSTM": BuiltIn(_lstm, ("i", "f", "g", "o")),
    "GRU": BuiltIn(GRU, ("r", "z", "n")),
    "PeepholeLSTM": BuiltIn(PeepholeLSTM),
}


def as_gates(gates: Any) -> Any:
    """Gates as a tuple, so that layers with the same ones are alike; the cell refuses all else."""
    return tuple(gates) if isinstance(gates, Iterable) and not isinstance(gates, str) else gates


def options_of(constructor: Callable[..., Any]) -> Mapping[str, Any]:
    """The arguments of a constructor that choose the cell, with their defaults."""
    parameters = inspect.signature(constructor).parameters
    return {name: p.default for name, p in parameters.items() if name not in COMMON}
