"""`run_layers`: a packed call through all layers and directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.backends.choose import can_stack, run_on, run_stack_on
from gatewright.backends.recompute import run_recomputed
from gatewright.backends.run import Run
from gatewright.layers.call_inputs import CallInputs, plan_run
from gatewright.layers.call_results import CallResults
from gatewright.layers.states import PlaceStates


def run_layers(
    call: CallInputs,
    backend: str,
    *,
    training: bool = False,
    dropout: float = 0.0,
    trace: bool = False,
    keep_runs: bool = False,
    recompute: int | None = None,
) -> CallResults:
    """Run layer after layer, each in all directions; a layer reads the output below it.

    Args:
        training: Whether the cell's noises and the dropout between layers are drawn.
        recompute: The number of steps between states that are kept for the backward pass; None
            to save the values of all steps.
    """
    event, form = call.event, call.form
    several = len(form.places) > 1
    if several and not (trace or keep_runs or recompute) and can_stack(backend, call.like.device):
        together = _run_together(call, backend, dropout if training else 0.0)
        if together is not None:
            return together
    states: list[PlaceStates] = []
    values: dict[str, Tensor] = {}
    runs: list[Run] = []
    for layer in range(form.num_layers):
        outputs = []
        for reverse in form.reverses:
            place = layer, reverse
            run = plan_run(call, place, event, training=training, trace=trace)
            result = run_recomputed(backend, run, recompute) if recompute else run_on(backend, run)
            outputs.append(result.output)
            states.append(result.states)
            for name, value in result.values.items():
                values[form.trace_name(name, *place)] = value
            if keep_runs:
                runs.append(run)
        event = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        if dropout and layer < form.num_layers - 1:
            event = nn.functional.dropout(event, dropout, training)
    return CallResults(event, states, values, runs)


def _run_together(call: CallInputs, backend: str, dropout: float) -> CallResults | None:
    """Run all layers in one call, or None where the backend has no such call for them."""
    if call.form.graph.noises:
        return None
    # The events of further layers are not there yet, and not read; any tensor will do.
    runs = [plan_run(call, place, call.event, training=False) for place in call.form.places]
    together = run_stack_on(backend, runs, dropout)
    return None if together is None else CallResults(*together, {}, [])
