"""Train one classifier: a plain torch loop, the same for every network."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gatewright.errors import TrainingError
from gatewright.training.batches import Batch
from gatewright.training.model import Classifier
from gatewright.training.recipe import Recipe


@dataclass(slots=True)
class History:
    """What was measured at the end of each epoch, and which epoch's weights were kept."""

    train_loss: list[float] = field(default_factory=list)  # while learning: with noise and dropout
    train_accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)  # as the model will be used
    validation_accuracy: list[float] = field(default_factory=list)
    kept: int = -1  # position of the epoch whose weights the model has now
    seconds: float = 0.0  # of processor time


def train(
    model: Classifier,
    training: Batch,
    validation: Batch,
    recipe: Recipe,
    *,
    seed: int,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> History:
    """Train `model` in place; leaves the best weights of the late epochs in it.

    The learning rate rises, then falls to zero along a cosine. Among the epochs after
    `recipe.keep_from` of them, where it has nearly come to rest, the one with the lowest
    validation loss is kept. Order, noise and shifts of the recordings depend on the seed
    alone, so that every network sees the same ones.

    Raises:
        TrainingError: where the loss is no longer a finite number.
    """
    order = torch.Generator().manual_seed(seed)
    noise = torch.Generator().manual_seed(seed + 1_000_003)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * math.ceil(len(training) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: _rate(at, steps, recipe))
    history = History()
    best, started = math.inf, time.process_time()
    weights = copy.deepcopy(model.state_dict())
    for epoch in range(recipe.epochs):
        model.train()
        loss_sum, right = 0.0, 0
        for step, batch in enumerate(training.shuffled(recipe.batch_size, order)):
            z = disturb(model.standardise(batch.x), recipe, noise)
            logits = model.classify(z, batch.lengths)
            loss = nn.functional.cross_entropy(logits, batch.labels)
            _check(loss.item(), model, seed, f"epoch {epoch + 1}, step {step + 1}")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            schedule.step()
            loss_sum += loss.item() * len(batch)
            right += int((logits.argmax(-1) == batch.labels).sum())
        history.train_loss.append(loss_sum / len(training))
        history.train_accuracy.append(right / len(training))
        measured, predicted = evaluate(model, validation)
        _check(measured, model, seed, f"epoch {epoch + 1}, on the validation part")
        history.validation_loss.append(measured)
        history.validation_accuracy.append(accuracy(predicted, validation.labels))
        late = epoch + 1 > math.floor(recipe.keep_from * recipe.epochs)
        if late and (measured < best or history.kept < 0):
            best, history.kept = measured, epoch
            weights = copy.deepcopy(model.state_dict())
        history.seconds = time.process_time() - started
        on_epoch(history)
    model.load_state_dict(weights)
    model.eval()
    return history


def disturb(z: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Standardised values (T, B, I) as another recording of the same might have been.

    Noise at every step, and a shift of each channel that stays for the whole recording:
    what a network learns must not hang on the exact values of the few it was given.
    """
    each = torch.randn(z.shape, generator=generator, dtype=z.dtype)
    whole = torch.randn((1, *z.shape[1:]), generator=generator, dtype=z.dtype)
    return z + recipe.noise * each + recipe.shift * whole


@torch.no_grad()
def evaluate(model: Classifier, batch: Batch) -> tuple[float, Tensor]:
    """The mean loss, and the predicted class of each row, (B,)."""
    model.eval()
    logits = model(batch.x, batch.lengths)
    return nn.functional.cross_entropy(logits, batch.labels).item(), logits.argmax(-1)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The share of rows, each (B,), whose class was found."""
    return (predicted == labels).double().mean().item()


def _check(loss: float, model: Classifier, seed: int, where: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of {model.network} is {loss} with seed {seed} in {where}; expected a "
            "finite number. Look for values in the data that are not finite, or lower the "
            "learning rate"
        )


def _rate(at: int, steps: int, recipe: Recipe) -> float:
    """The learning rate at a step, as a share of the recipe's."""
    rising = max(recipe.warmup * steps, 1.0)
    return min(1.0, (at + 1) / rising) * 0.5 * (1.0 + math.cos(math.pi * at / steps))
