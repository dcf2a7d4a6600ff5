"""Memory curves: the share of a state's gradient that is left after k steps, on the examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.stored_names import direction
from gatewright.probes.horizon import gradient_horizon
from gatewright.tasks.task import Batch
from gatewright.training.model import Model

#: Sequences that a curve is the mean of, at most, and its longest lag: together under a second at
#: 256 units.
SEQUENCES, LAGS = 4, 100


def memory_curves(
    model: Any, name: str, sequences: Sequence[tuple[Tensor, dict[str, Tensor]]]
) -> Iterator[dict[str, Any]]:
    """Yield a curve for each layer and direction, measured at the last step of the sequences.

    Args:
        model: A layer, or a trained model.
        name: Of the model, for people.
        sequences: Raw events of the examples, (T, I) or (T,) symbols, and further inputs.
    """
    batches = [_events(model, *sequence) for sequence in sequences]
    steps = min((len(events) for _, events, _ in batches), default=0)
    if steps < 3:
        return
    layers = batches[0][0]
    # The last steps of each, so that all are of one length.
    events = torch.cat([own[-steps:] for _, own, _ in batches], 1)
    further: dict[str, Any] = {
        key: torch.cat([own[key][-steps:] for _, _, own in batches], 1) for key in batches[0][2]
    }
    events = events.transpose(0, 1) if layers.batch_first else events
    further = {key: x.transpose(0, 1) if layers.batch_first else x for key, x in further.items()}
    for place, (index, reverse) in enumerate(layers.places):
        flow = gradient_horizon(
            layers, events, lags=min(steps - 1, LAGS), place=place, ends=1, **further
        )
        layer = f"l{index}.{direction(reverse)}" if layers.bidirectional else f"l{index}"
        yield {
            "name": name,
            "layer": layer,
            "about": f"Share of the gradient of {layer}'s state that is left after k steps; mean "
            f"over {len(batches)} of the examples, up to their last step.",
            "left": flow.state.tolist(),
        }


def _events(
    model: Any, x: Tensor, further: dict[str, Tensor]
) -> tuple[Recurrent, Tensor, dict[str, Tensor]]:
    """The layers of a model, and what they read of one sequence: (T, 1, C)."""
    rows = x[:, None]
    if isinstance(model, Recurrent):
        return model, rows, {name: values[:, None] for name, values in further.items()}
    own: Model = getattr(model, "members", [model])[0]
    layers = own.recurrent
    assert layers is not None
    with torch.no_grad():
        return layers, own.events(Batch(rows, None, rows)), {}
