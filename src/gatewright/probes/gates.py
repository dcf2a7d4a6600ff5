"""Saturation: how often each gate is shut, open, or in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewright.graph import Graph
from gatewright.layers.recurrent import Recurrent

#: Operations whose values are between 0 and 1.
SQUASHES = frozenset({"sigmoid", "softmax"})
#: Below this a gate counts as shut, and above 1 minus it as open (Karpathy, Johnson and
#: Fei-Fei 2015, "Visualizing and understanding recurrent networks", section 4.2).
SHUT = 0.1


@dataclass(frozen=True, slots=True)
class Saturation:
    """For each unit of a gate, the share of steps at which it is shut, and open, `(size,)`."""

    shut: Tensor
    open: Tensor


def factors(graph: Graph) -> list[str]:
    """The gates of a cell: its named values that a sigmoid or a softmax computes.

    >>> import gatewright as gw
    >>> gw.probes.factors(gw.CELLS["lstm"]().graph)
    ['i', 'f', 'o']
    """
    return [name for name, term in graph.values.items() if term.op in SQUASHES]


def saturation(
    layer: Recurrent, x: Tensor, *, lengths: Any = None, hold: Mapping[str, Any] | None = None
) -> dict[str, Saturation]:
    """Measure the saturation of each gate over sequences, by its name in the trace.

    >>> import torch, gatewright as gw
    >>> gates = gw.probes.saturation(gw.LSTM(3, 8), torch.zeros(40, 2, 3))
    >>> list(gates), float(gates["f"].shut.max())
    (['i', 'f', 'o'], 0.0)
    """
    training = layer.training
    try:
        layer.eval()
        values = layer.trace(x, lengths=lengths, hold=hold)
    finally:
        layer.train(training)
    time_first = 1 if layer.batch_first else 0
    steps = x.shape[time_first]
    inside = torch.ones(steps, x.shape[1 - time_first], dtype=torch.bool)
    if lengths is not None:
        inside = torch.arange(steps)[:, None] < torch.as_tensor(lengths)
    gates = {}
    for place in layer.places:
        for gate in factors(layer.graph):
            name = layer.trace_name(gate, *place)
            value = values[name].transpose(0, 1) if layer.batch_first else values[name]
            rows = value[inside.to(value.device)]
            gates[name] = Saturation(
                (rows < SHUT).double().mean(0), (rows > 1 - SHUT).double().mean(0)
            )
    return gates
