"""Train one model: a plain torch loop, the same for every task and network.

`LoopState` holds everything that changes from step to step. A loop that was stopped after an
epoch and continues from the `state_dict` of that epoch gives bit for bit what an uninterrupted
one gives.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.errors import TrainingError
from gatewright.layers.detach import detach
from gatewright.tasks.task import Batch, Batches, run_all
from gatewright.training.history import BY_HAND, TIME_OVER, History
from gatewright.training.model import Model
from gatewright.training.optimizers import AdamW
from gatewright.training.recipe import Recipe
from gatewright.training.step_memory import SavedMemory, saved_memory

#: Share of the start's loss by which an epoch has to be better, where the start is useful.
WORTH = 0.01
#: The noise has a generator of its own, seeded this far from that of the batches' order.
NOISE_SEED_OFFSET = 1_000_003


class LoopState:
    """Everything that changes while a model is trained, to be saved after any epoch.

    Dropout draws from torch's default generator, so that its state is saved and restored too.

    Args:
        model: Trained in place.
        recipe: Settings of the training.
        steps_per_epoch: Batches of each epoch; the schedule of the learning rate depends on it.
        seed: Of the order of the batches and of the noise, the same for every network.
        teacher: A trained model whose outputs count half in the loss; see `distil`.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        steps_per_epoch: int,
        *,
        seed: int,
        teacher: Model | None = None,
    ) -> None:
        self.model = model
        self.teacher = teacher
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.order = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator().manual_seed(seed + NOISE_SEED_OFFSET)
        self.optimizer = AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        steps = recipe.epochs * steps_per_epoch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _rate(step, steps, recipe)
        )
        self.history = History()
        self.step_seconds: list[float] = []
        self.best_loss = math.inf
        self.best_weights = copy.deepcopy(model.state_dict())

    @property
    def epoch(self) -> int:
        """Epochs that are completed."""
        return len(self.history.train_loss)

    def state_dict(self) -> dict[str, Any]:
        """The state in tensors and plain Python values.

        As with torch's own, its tensors are the live ones: write or copy it before the next step.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "order": self.order.get_state(),
            "noise": self.noise.get_state(),
            "dropout": torch.get_rng_state(),
            "history": self.history.to_json(),
            "step_seconds": list(self.step_seconds),
            "best_loss": self.best_loss,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave for the same network, recipe and data."""
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.schedule.load_state_dict(stored["schedule"])
        self.order.set_state(stored["order"])
        self.noise.set_state(stored["noise"])
        torch.set_rng_state(stored["dropout"])
        self.history = History.from_json(stored["history"])
        if self.history.stopped in (BY_HAND, TIME_OVER):
            self.history.stopped = ""  # it may go on now
        self.step_seconds = list(stored["step_seconds"])
        self.best_loss = stored["best_loss"]
        self.best_weights = copy.deepcopy(stored["best_weights"])

    def record_start(self, loss: float, values: dict[str, float]) -> None:
        """Take the start as the best so far: it is what an epoch has to beat."""
        self.history.start_loss, self.history.start = loss, values
        self.best_loss = loss

    def record(self, train_loss: float, loss: float, values: dict[str, float]) -> None:
        """Add an epoch to the history, and keep its weights if they are the best so far.

        Args:
            loss, values: The loss and the metrics on the validation part.
        """
        history, recipe = self.history, self.recipe
        history.train_loss.append(train_loss)
        history.validation_loss.append(loss)
        history.validation.append(values)
        is_late = self.epoch > math.floor(recipe.keep_from * recipe.epochs)
        start = self.history.start_loss
        limit = self.best_loss if start is None else min(self.best_loss, (1.0 - WORTH) * start)
        if is_late and loss < limit:
            self.best_loss = loss
            self._keep_weights()

    def restore_best(self) -> None:
        """Put the best weights back into the model, ready for use.

        They are the latest where training ended before any epoch was late enough to be chosen.
        """
        if not self.history.has_best and self.epoch:
            self._keep_weights()
        self.model.load_state_dict(self.best_weights)
        self.model.eval()

    def _keep_weights(self) -> None:
        self.history.best_epoch = self.epoch - 1
        self.best_weights = copy.deepcopy(self.model.state_dict())


def run_loop(
    state: LoopState,
    training: Any,
    validation: Any,
    *,
    on_epoch: Callable[[LoopState], None] = lambda state: None,
    stop: Callable[[], bool] = lambda: False,
) -> History:
    """Train on `training` until the recipe's last epoch; leaves the best weights in the model.

    The learning rate rises, then falls to zero along a cosine. Among the epochs after
    `recipe.keep_from` of them, the one with the lowest loss on `validation` is kept. Order and
    noise depend only on the seed, so that every network sees the same.

    Args:
        on_epoch: Called after every epoch; `state.state_dict()` may be saved there.
        stop: Asked before every step. Once it is true, or `recipe.seconds` are over since this
            call, training ends early, still with the best weights so far.

    Raises:
        TrainingError: where the loss is no longer a finite number.
    """
    model, recipe, history = state.model, state.recipe, state.history
    batches, measured = model.task.batches(training), model.task.batches(validation)
    deadline = time.monotonic() + (recipe.seconds or math.inf)
    began = time.process_time() - history.seconds

    def reason_to_stop() -> str:
        """The reason to end now, or an empty text."""
        if stop():
            return BY_HAND
        # At least one step is taken, so that there is something to measure.
        return TIME_OVER if state.step_seconds and time.monotonic() > deadline else ""

    if model.task.start_counts and not state.epoch:
        state.record_start(*evaluate(model, measured, validation))
    while state.epoch < recipe.epochs and not history.stopped:
        train_loss = _train_epoch(state, batches, reason_to_stop)
        if train_loss is None:
            history.stopped = reason_to_stop()
            break
        loss, values = evaluate(model, measured, validation)
        _check_finite(loss, state, f"epoch {state.epoch + 1}, on the validation part")
        state.record(train_loss, loss, values)
        history.seconds = time.process_time() - began
        history.step_seconds = statistics.median(state.step_seconds)
        history.stopped = reason_to_stop()
        best = history.best_epoch
        if not history.stopped and recipe.patience and state.epoch - 1 - best >= recipe.patience:
            history.stopped = f"no better for {recipe.patience} epochs"
        on_epoch(state)
    state.restore_best()
    return history


def _train_epoch(
    state: LoopState, batches: Batches, reason_to_stop: Callable[[], str]
) -> float | None:
    """Take the steps of one epoch; its mean loss, or None if it ended before the first step."""
    model = state.model
    model.train()
    loss_sum, items, carried = 0.0, 0.0, None
    for step, batch in enumerate(batches.shuffled(state.recipe.batch_size, state.order)):
        if step == state.steps_per_epoch or reason_to_stop():
            break
        place = f"epoch {state.epoch + 1}, step {step + 1}"
        loss, carried = _train_step(state, batch, carried if batch.carries else None, place)
        loss_sum += loss * batch.items
        items += batch.items
    return loss_sum / items if items else None


def _train_step(state: LoopState, batch: Batch, carried: Any, place: str) -> tuple[float, Any]:
    """Take one step of the optimizer; the loss, and the network's state after the batch."""
    model, recipe, history = state.model, state.recipe, state.history
    began = time.process_time()
    z = disturb(model.encode(batch.x), recipe, state.noise)
    # Counting costs time at every saved tensor, and all steps save about the same.
    is_first = not state.step_seconds
    with saved_memory() if is_first else nullcontext(SavedMemory()) as memory:
        outputs, carried = model.read(z, batch, carried)
        loss = model.task.learning_loss(outputs, batch, model, recipe.smoothing)
    if state.teacher is not None:
        with torch.no_grad():
            taught, _ = state.teacher(batch)
        loss = 0.5 * (loss + model.task.taught_loss(outputs, taught, batch, model))
    _check_finite(loss.item(), state, place)
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    state.optimizer.step()
    state.schedule.step()
    history.step_bytes = history.step_bytes or memory.total
    state.step_seconds.append(time.process_time() - began)
    return loss.item(), detach(carried)


def disturb(z: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Standardised values (T, B, I) as another recording of the same event might have been.

    Noise at every step, and a shift of each channel and a factor of all that are constant over a
    recording: a network must not rely on the exact values of the few recordings it was given.
    """
    if recipe.magnitude:
        factor = torch.randn((1, z.shape[1], 1), generator=generator, dtype=z.dtype)
        z = z * (1.0 + recipe.magnitude * factor)
    if not recipe.noise and not recipe.shift:
        return z
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype)
    shift = torch.randn((1, *z.shape[1:]), generator=generator, dtype=z.dtype)
    return z + recipe.noise * noise + recipe.shift * shift


def evaluate(model: Model, batches: Batches, part: Any) -> tuple[float, dict[str, float]]:
    """The mean loss on a part, and its metrics; `batches` are the part's.

    The outputs of a batch are used for both at once: those of a whole text would take a hundred
    times the memory of the text.
    """
    task, losses = model.task, []

    def with_losses() -> Iterator[tuple[Tensor, Batch]]:
        for outputs, batch in run_all(model, batches):
            losses.append((task.loss(outputs, batch, model).item(), batch.items))
            yield outputs, batch

    predicted = task.predictions(with_losses(), model)
    loss = sum(mean * items for mean, items in losses) / sum(items for _, items in losses)
    if not math.isfinite(loss):  # predictions that are not finite have no metrics
        return loss, {}
    return loss, task.score(predicted, part)


def _check_finite(loss: float, state: LoopState, place: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of {state.model.network} is {loss} with seed {state.seed} in {place}; "
            "expected a finite number. Look for values in the data that are not finite, or lower "
            "the learning rate"
        )


def _rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate at a step, as a share of the recipe's."""
    rising = max(recipe.warmup * steps, 1.0)
    return min(1.0, (step + 1) / rising) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
