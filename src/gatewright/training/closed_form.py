"""Fit a network of random recurrent weights: its linear read-out, in closed form."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from gatewright.designs.leave_one_out import ridge_readout
from gatewright.designs.network import SequenceNetwork
from gatewright.designs.untrained import start_untrained_
from gatewright.errors import TrainingError
from gatewright.training.history import History
from gatewright.training.loop import LoopState, evaluate
from gatewright.training.model import Model

#: Sequences whose spreads and quantiles the random weights are fitted to.
EXCERPT = 512
#: Sequences that the network reads at once. Its states at all steps are in memory together.
ROWS = 64


def is_untrained(model: Model) -> bool:
    """Tell if the recurrent weights of a model stay as they are drawn."""
    return isinstance(model.body, SequenceNetwork) and not model.body.design.trained


def run_closed_form(
    state: LoopState, training: Any, validation: Any, whole: Any | None = None
) -> History:
    """Draw the network of a fresh state and fit its read-out, in the place of `run_loop`.

    Its penalty is chosen by leaving one out, so that the validation part is free to be learned
    from too: losses and metrics are those of a fit without it, the weights those of one with it.

    Args:
        whole: Training and validation part together; None leaves the first fit.

    Raises:
        TrainingError: if the network's states are not finite.
    """
    began = time.process_time()
    model, history = state.model, state.history
    batches = model.task.batches(training)
    excerpt = batches.excerpt(EXCERPT)
    model.eval()
    events, memory = model.encode(excerpt.x), state.recipe.memory
    start_untrained_(model.body, events, _lengths(excerpt), memory=memory)
    fit_readout(model, training, state.seed)
    train_loss, _ = evaluate(model, batches, training)
    loss, values = evaluate(model, model.task.batches(validation), validation)
    if whole is not None:
        fit_readout(model, whole, state.seed)
    state.recipe = state.recipe.shortened(0.0)
    state.record(train_loss, loss, values)
    history.seconds = history.step_seconds = time.process_time() - began
    return history


@torch.no_grad()
def fit_readout(model: Model, part: Any, seed: int) -> None:
    """Set the read-out to the ridge regression of a part's classes on the network's features."""
    features, labels, weights = [], [], []
    for batch in model.task.batches(part).ordered(ROWS):
        features.append(model.features(model.encode(batch.x), batch.lengths)[0])
        labels.append(batch.target)
        weights.append(_weights(model, batch))
    rows = torch.cat(features)
    if not rows.isfinite().all():
        raise TrainingError(
            f"the random states of {model.network} are not finite with seed {seed}; expected "
            "finite numbers. Look for values in the data that are not finite, or take a cell "
            "whose states are bounded (gru, lstm)"
        )
    classes = model.task.outputs
    weight, bias = ridge_readout(rows, torch.cat(labels), classes, torch.cat(weights))
    readout: Any = model.readout
    readout.weight.copy_(weight)
    readout.bias.copy_(bias)


def _lengths(batch: Any) -> Tensor:
    if batch.lengths is not None:
        return batch.lengths  # type: ignore[no-any-return]
    return torch.full((batch.x.shape[1],), len(batch.x))


def _weights(model: Model, batch: Any) -> Tensor:
    """The weight of each sequence in the loss: its own times that of its class."""
    weights = torch.ones(len(batch.target)) if batch.weights is None else batch.weights
    by_class = getattr(model.task, "weights", None)
    return weights if by_class is None else weights * torch.tensor(by_class)[batch.target]
