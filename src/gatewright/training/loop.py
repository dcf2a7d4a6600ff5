"""Train one model: a plain torch loop, the same for every task and network."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.errors import TrainingError
from gatewright.tasks.task import Batches, run_all
from gatewright.training.cost import Held, saved_bytes
from gatewright.training.model import Model
from gatewright.training.recipe import Recipe

#: Why a training ended before its last epoch.
BY_HAND = "ended by hand"
TIME_OVER = "its time was over"


@dataclass(slots=True)
class History:
    """What was measured at the end of each epoch, and which epoch's weights were kept."""

    train_loss: list[float] = field(default_factory=list)  # while learning: with noise and dropout
    validation_loss: list[float] = field(default_factory=list)  # as the model will be used
    validation: list[dict[str, float]] = field(default_factory=list)  # the task's metrics
    kept: int = -1  # position of the epoch whose weights the model has now
    stopped: str = ""  # why it ended before its last epoch, if it did
    seconds: float = 0.0  # of processor time, all in all
    step_seconds: float = 0.0  # of processor time, for one step of learning, the median
    step_bytes: int = 0  # kept from a step's forward pass for its backward pass


def train(
    model: Model,
    training: Any,
    validation: Any,
    recipe: Recipe,
    *,
    seed: int,
    on_epoch: Callable[[History], None] = lambda history: None,
    stop: Callable[[], bool] = lambda: False,
) -> History:
    """Train `model` in place on parts of its task's data; leaves the best weights in it.

    The learning rate rises, then falls to zero along a cosine. Among the epochs after
    `recipe.keep_from` of them the one with the lowest validation loss is kept. Order and
    noise depend on the seed alone, so that every network sees the same. Where `stop` says
    so, or `recipe.seconds` are over, it ends after the step at hand, and still leaves the best
    weights.

    Raises:
        TrainingError: where the loss is no longer a finite number.
    """
    task = model.task
    batches, measured = task.batches(training), task.batches(validation)
    order = torch.Generator().manual_seed(seed)
    noise = torch.Generator().manual_seed(seed + 1_000_003)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    an_epoch = min(batches.steps(recipe.batch_size), recipe.most_steps or 10**9)
    steps = recipe.epochs * an_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: _rate(at, steps, recipe))
    history = History()
    best, started = math.inf, time.process_time()
    times: list[float] = []
    weights = copy.deepcopy(model.state_dict())
    deadline = time.monotonic() + (recipe.seconds or math.inf)

    def cut_short() -> str:
        """The reason to end now, or an empty text."""
        if stop():
            return BY_HAND
        return TIME_OVER if times and time.monotonic() > deadline else ""

    for epoch in range(recipe.epochs):
        model.train()
        loss_sum, items, state = 0.0, 0.0, None
        for step, batch in enumerate(batches.shuffled(recipe.batch_size, order)):
            if step == an_epoch or cut_short():
                break
            begun = time.process_time()
            z = disturb(model.encode(batch.x), recipe, noise)
            with saved_bytes() if not times else nullcontext(Held()) as held:
                outputs, state = model.read(z, batch, state if batch.carries else None)
                loss = task.loss(outputs, batch, model)
            _check(loss.item(), model, seed, f"epoch {epoch + 1}, step {step + 1}")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            schedule.step()
            state = _detached(state)
            history.step_bytes = history.step_bytes or held.count
            loss_sum += loss.item() * batch.items
            items += batch.items
            times.append(time.process_time() - begun)
        if not items:  # stopped before the first step of an epoch
            history.stopped = cut_short()
            if epoch and history.kept < 0:  # no epoch was late enough to be kept yet
                history.kept, weights = epoch - 1, copy.deepcopy(model.state_dict())
            break
        history.train_loss.append(loss_sum / items)
        loss_now, values = evaluate(model, measured, validation)
        _check(loss_now, model, seed, f"epoch {epoch + 1}, on the validation part")
        history.validation_loss.append(loss_now)
        history.validation.append(values)
        late = epoch + 1 > math.floor(recipe.keep_from * recipe.epochs)
        ended = cut_short()
        if (late or ended) and (loss_now < best or history.kept < 0):
            best, history.kept = loss_now, epoch
            weights = copy.deepcopy(model.state_dict())
        history.seconds = time.process_time() - started
        history.step_seconds = statistics.median(times)
        on_epoch(history)
        if ended:
            history.stopped = ended
            break
        if recipe.patience and epoch - history.kept >= recipe.patience:
            history.stopped = f"no better for {recipe.patience} epochs"
            break
    model.load_state_dict(weights)
    model.eval()
    return history


def disturb(z: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Standardised values (T, B, I) as another recording of the same might have been.

    Noise at every step, and a shift of each channel that stays for the whole recording:
    what a network learns must not hang on the exact values of the few it was given.
    """
    if not recipe.noise and not recipe.shift:
        return z
    each = torch.randn(z.shape, generator=generator, dtype=z.dtype)
    whole = torch.randn((1, *z.shape[1:]), generator=generator, dtype=z.dtype)
    return z + recipe.noise * each + recipe.shift * whole


def evaluate(model: Model, batches: Batches, part: Any) -> tuple[float, dict[str, float]]:
    """The mean loss on a part, and its metrics; `batches` are the part's."""
    task, pairs = model.task, run_all(model, batches)
    losses = [(task.loss(outputs, batch, model).item(), batch.items) for outputs, batch in pairs]
    loss = sum(one * items for one, items in losses) / sum(items for _, items in losses)
    if not math.isfinite(loss):  # no metric can be made of such answers
        return loss, {}
    return loss, task.score(task.predictions(pairs, model), part)


def _detached(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(_detached(one) for one in state)
    return None if state is None else state.detach()


def _check(loss: float, model: Model, seed: int, where: str) -> None:
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
