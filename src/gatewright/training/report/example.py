"""An example for the report: a real sequence on its way through a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewright.draw.plots.heatmap import HeatMap, unit_order
from gatewright.draw.plots.passage import Gate, Passage
from gatewright.layers.recurrent import Recurrent
from gatewright.tasks.registry import presentation_of
from gatewright.training.model import Model
from gatewright.training.report.gate_words import NETWORK_GATES, GateWords, ValueWords
from gatewright.training.results import Comparison


def passage(comparison: Comparison, models: Mapping[str, Model], test: Any) -> Passage | None:
    """The first sequence of the test part, on its way through the best network with a memory."""
    recurrent = [
        entry
        for entry in comparison.ranked
        if entry.name in models and models[entry.name].recurrent is not None
    ]
    if not recurrent:
        return None
    entry = recurrent[0]
    name = entry.name
    model = models[name].eval()
    example = presentation_of(comparison.task).example(model, test)
    layers = model.recurrent
    assert layers is not None
    with torch.no_grad():
        z = model.events(example.batch)
        traces = first_place(layers, layers.trace(z))
    # A design that joins steps to events, or adds features, leaves nothing to name them by.
    steps = example.steps if len(z) == len(example.batch.x) else ()
    channels = example.channels if z.shape[-1] == len(example.channels) else ()
    order_by, order_words, gates = NETWORK_GATES.get(name) or _gates_of_any_cell(
        layers.hidden_size, traces
    )
    order = unit_order(_listed(traces[order_by]))
    seed = entry.chosen(comparison.metric).seed
    return Passage(
        heading=f"One sequence on its way through the {entry.title}",
        about=(
            f"{example.about} The model is the {entry.title} of seed {seed}, "
            f"{model.hidden_size} units. {example.verdict}".rstrip()
        ),
        diagram=layers.cell.svg(title=False),
        event=None
        if example.symbols
        else HeatMap("x", "event", "signed", _listed(z), channels, steps),
        gates=[
            Gate(
                gate.title,
                gate.equation,
                gate.about,
                [_map(value, traces[value.name], order, steps) for value in gate.values],
            )
            for gate in gates
        ],
        belief=example.belief,
        symbols=example.symbols,
        step_names=steps,
        order=order_words,
    )


def first_place(layers: Recurrent, traces: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The traces of the first layer, read forwards, by the names of the cell's values."""
    prefix = layers.trace_name("", 0, False)
    return {
        name.removeprefix(prefix): trace
        for name, trace in traces.items()
        if name.startswith(prefix)
    }


def _gates_of_any_cell(
    size: int, traces: Mapping[str, Tensor]
) -> tuple[str, str, tuple[GateWords, ...]]:
    """The values of a cell that `NETWORK_GATES` does not have, each as a gate of its own."""
    names = [name for name, trace in traces.items() if trace.shape[-1] == size]
    gates = []
    for name in names:
        low, high = float(traces[name].min()), float(traces[name].max())
        is_factor = low >= 0.0 and high <= 1.0
        value = ValueWords(name, "", "factor" if is_factor else "signed")
        gates.append(GateWords(name, "", "", (value,)))
    return names[-1], f"by their mean of {names[-1]}, highest first", tuple(gates)


def _map(value: ValueWords, trace: Tensor, order: Sequence[int], steps: Sequence[str]) -> HeatMap:
    listed = _listed(trace)
    units = len(listed[0])
    # A value of another size than the one that orders the units keeps its own order.
    rows = order if len(order) == units else range(units)
    values = [[step[unit] for unit in rows] for step in listed]
    return HeatMap(value.name, value.meaning, value.kind, values, steps=steps)


def _listed(trace: Tensor) -> list[list[float]]:
    """(T, 1, H) as [time][unit]."""
    listed: list[list[float]] = trace[:, 0].tolist()
    return listed
