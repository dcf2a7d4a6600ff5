"""One real sequence on its way through a network, for the report."""

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
from gatewright.training.report.gate_words import GATES, Named, Shown
from gatewright.training.results import Comparison


def passage(comparison: Comparison, models: Mapping[str, Model], test: Any) -> Passage | None:
    """The first sequence of the test part, through the network that was kept.

    Through the best of the others where that one has no memory to look into.
    """
    recurrent = [
        entry
        for entry in comparison.ranked
        if entry.name in models and isinstance(models[entry.name].body, Recurrent)
    ]
    if not recurrent:
        return None
    entry = recurrent[0]
    name = entry.name
    model = models[name].eval()
    example = presentation_of(comparison.task).example(model, test)
    with torch.no_grad():
        z, _ = model.task.prepare(model.encode(example.batch.x), example.batch)
        traces: dict[str, Tensor] = model.body.trace(z)
    order_by, order_words, gates = GATES.get(name) or _of_any_cell(model, traces)
    order = unit_order(_listed(traces[order_by]))
    seed = entry.chosen(comparison.metric).seed
    return Passage(
        heading=f"One sequence on its way through the {entry.title}",
        about=(
            f"{example.about} The model is the {entry.title} of seed {seed}, "
            f"{model.hidden_size} units. {example.verdict}".rstrip()
        ),
        diagram=model.body.cell.svg(title=False),
        event=None
        if example.symbols
        else HeatMap("x", "event", "signed", _listed(z), example.channels, example.steps),
        gates=[
            Gate(
                gate.title,
                gate.equation,
                gate.says,
                [_map(named, traces[named.name], order, example.steps) for named in gate.values],
            )
            for gate in gates
        ],
        belief=example.belief,
        symbols=example.symbols,
        step_names=example.steps,
        order=order_words,
    )


def _of_any_cell(model: Model, traces: Mapping[str, Tensor]) -> tuple[str, str, tuple[Shown, ...]]:
    """All values of a cell that the report has no words for, one by one."""
    size = model.body.output_size
    names = [name for name, trace in traces.items() if trace.shape[-1] == size]
    shown = []
    for name in names:
        low, high = float(traces[name].min()), float(traces[name].max())
        factor = low >= 0.0 and high <= 1.0
        named = Named(name, "", "factor" if factor else "signed")
        shown.append(Shown(name, "", "", (named,)))
    return names[-1], f"by their mean of {names[-1]}, highest first", tuple(shown)


def _map(named: Named, trace: Tensor, order: Sequence[int], steps: Sequence[str]) -> HeatMap:
    listed = _listed(trace)
    rows = order if len(order) == len(listed[0]) else range(len(listed[0]))
    values = [[step[unit] for unit in rows] for step in listed]
    return HeatMap(named.name, named.meaning, named.kind, values, steps=steps)


def _listed(trace: Tensor) -> list[list[float]]:
    """(T, 1, H) as [time][unit]."""
    listed: list[list[float]] = trace[:, 0].tolist()
    return listed
