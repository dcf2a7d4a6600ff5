"""The recurrent layers of a file, and a layer built from the weights of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray

from gatewright.backends.recognise import recognise
from gatewright.deploy.incoming.cells import ImportedCell, ImportedLSTM
from gatewright.deploy.incoming.reverse_layer import ReverseLayer
from gatewright.escaping import printable
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.torch_layers import GRU, LSTM, RNN, PeepholeLSTM

Array = NDArray[Any]


class FileLayers(Mapping[str, "Recurrent | ReverseLayer"]):
    """The recurrent layers of a file, by name, in the order of the file.

    >>> layers = FileLayers({"decoder": GRU(3, 4)}, {"decoder": ("starts from `h0`: pass it",)})
    >>> layers
    decoder: GRU(3, 4)
      starts from `h0`: pass it

    Attributes:
        notes: By the name of a layer: what the file does with it that the layer does not do.
        left_out: The other parts of the file, which were not converted, each with its kind.
    """

    def __init__(
        self,
        layers: Mapping[str, Recurrent | ReverseLayer],
        notes: Mapping[str, Sequence[str]] | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        self._layers = dict(layers)
        self.notes = {name: tuple((notes or {}).get(name, ())) for name in layers}
        self.left_out = tuple(left_out)

    def __getitem__(self, name: str) -> Recurrent | ReverseLayer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        lines = []
        for name, layer in self.items():
            lines += [f"{name}: {layer}", *(f"  {note}" for note in self.notes[name])]
        if self.left_out:
            lines.append(f"not converted: {', '.join(self.left_out)}")
        return printable("\n".join(lines), keep="\n")


@dataclass(frozen=True)
class GateWeights:
    """The weights of one gate.

    Attributes:
        x, h: The matrices of the event, `(H, I)`, and of the output, `(H, H)`.
        x_bias, h_bias: Their biases, `(H,)`; None where the layer has none.
        peephole: The vector that multiplies the long-term memory, `(H,)`.
    """

    x: Array
    h: Array
    x_bias: Array | None = None
    h_bias: Array | None = None
    peephole: Array | None = None


@dataclass(frozen=True)
class DirectionWeights:
    """The weights of one direction: its gates by our names, and the start of each state, `(H,)`."""

    gates: Mapping[str, GateWeights]
    starts: Mapping[str, Array] = field(default_factory=dict)


def build_layer(
    cell: ImportedCell, directions: Sequence[DirectionWeights], *, batch_first: bool
) -> Recurrent:
    """A layer with the weights of a file: a drop-in where one has the equations of the cell."""
    gate = next(iter(directions[0].gates.values()))
    hidden_size, input_size = gate.x.shape
    options: dict[str, Any] = {
        "bias": gate.x_bias is not None,
        "batch_first": batch_first,
        "bidirectional": len(directions) == 2,
        "dtype": getattr(torch, gate.x.dtype.name),
    }
    layer = _layer(cell, input_size, hidden_size, options)
    for reverse, direction in enumerate(directions):
        for name, gate in direction.gates.items():
            _write_gate(layer, name, bool(reverse), gate)
        for state, start in direction.starts.items():
            name = f"initial.{state}"
            layer.weights(name, reverse=bool(reverse))[name] = torch.tensor(start)
    return layer


def _layer(
    cell: ImportedCell, input_size: int, hidden_size: int, options: Mapping[str, Any]
) -> Recurrent:
    sizes = input_size, hidden_size
    known = recognise(cell.graph)
    if known is None or cell.starts:
        return Recurrent(cell, *sizes, **options)
    if known.kind == "RNN":
        nonlinearity: Any = known.nonlinearity
        return RNN(*sizes, nonlinearity=nonlinearity, **options)
    if known.kind == "GRU":
        return GRU(*sizes, reset="after" if known.resets_after else "before", **options)
    if isinstance(cell, ImportedLSTM) and cell.peepholes:
        return PeepholeLSTM(*sizes, **options)
    return LSTM(*sizes, **options)


def _write_gate(layer: Recurrent, name: str, reverse: bool, gate: GateWeights) -> None:
    weights = layer.weights(name, reverse=reverse)
    # Copies: the numbers of a file are read-only.
    x, h, x_bias, h_bias, peephole = (
        None if array is None else torch.tensor(array)
        for array in (gate.x, gate.h, gate.x_bias, gate.h_bias, gate.peephole)
    )
    # A product has one bias, but those of torch's layers and the GRU's n have two.
    if x_bias is not None and h_bias is not None and weights["h"][1] is None:
        x_bias, h_bias = x_bias + h_bias, None
    weights["x"] = x, x_bias
    weights["h"] = h, h_bias
    if peephole is not None:
        weights["c*"] = peephole, None
