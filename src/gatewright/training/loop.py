"""Train one model: a plain torch loop, the same for every task and network.

`LoopState` holds everything that changes from step to step. A loop that was stopped after any
step and continues from the `state_dict` of that moment gives bit for bit what an uninterrupted
one gives.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.devices import generator_state, set_generator_state
from gatewright.errors import TrainingError
from gatewright.layers.detach import detach
from gatewright.tasks.task import Batch, Batches
from gatewright.training.history import BY_HAND, TIME_OVER, Epoch, History
from gatewright.training.model import Model
from gatewright.training.optimizers import AdamW
from gatewright.training.ranks.team import BatchShare, Team
from gatewright.training.recipe import Recipe
from gatewright.training.state_check import checked_state
from gatewright.training.step_memory import SavedMemory, saved_memory

#: The reasons to end early that a process may have, the strongest last.
REASONS = ("", TIME_OVER, BY_HAND)
#: BatchShare of the start's loss by which an epoch has to be better, where the start is useful.
WORTH = 0.01
#: The factor of a loss in float16 at first; it is halved where gradients overflow.
FIRST_SCALE = 2.0**10
#: The noise has a generator of its own, seeded this far from that of the batches' order.
NOISE_SEED_OFFSET = 1_000_003
#: Steps whose times are remembered for the median: enough, and little to store.
TIMED_STEPS = 1000


class LoopState:
    """Everything that changes while a model is trained, to be saved after any step.

    Dropout draws from torch's default generator, and on a GPU from the GPU's, so that their states
    are saved and restored too.

    Args:
        model: Trained in place.
        recipe: Settings of the training.
        steps_per_epoch: Batches of each epoch; the schedule of the learning rate depends on it.
        seed: Of the order of the batches and of the noise, the same for every network.
        team: The processes that do this training; by default it is this one.
        teacher: A trained model whose outputs count half in the loss; see `distil`.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        steps_per_epoch: int,
        *,
        seed: int,
        team: Team | None = None,
        teacher: Model | None = None,
    ) -> None:
        self.team = team or Team()
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
        # Small gradients would vanish in float16, so that they are scaled.
        self.scaler = torch.amp.GradScaler(
            model.device.type, init_scale=FIRST_SCALE, enabled=recipe.precision == "float16"
        )
        steps = recipe.epochs * steps_per_epoch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _rate(step, steps, recipe)
        )
        self.history = History()
        self.step_seconds: deque[float] = deque(maxlen=TIMED_STEPS)
        self.best_loss = math.inf
        self.best_weights = copy.deepcopy(model.state_dict())
        # The present epoch: its batches so far, the sum of their losses times their items, the
        # items, the network's state after the last batch, and the generator as it was before it.
        self.batches = 0
        self.loss_sum = 0.0
        self.items = 0.0
        self.carried: Any = None  # with the rows of this process
        self.carried_rows = 0  # of all processes
        self._order_before = self.order.get_state()
        self._start_clocks(0.0, 0.0)

    @property
    def epoch(self) -> int:
        """Epochs that are completed."""
        return len(self.history.train_loss)

    @property
    def steps(self) -> int:
        """Steps of the optimizer so far, over all epochs."""
        return int(self.schedule.last_epoch)

    @property
    def wall_seconds(self) -> float:
        """Time since the training began, without the time between a stop and its resumption."""
        return time.monotonic() - self._wall_start

    def latest(self) -> Epoch:
        """The last completed epoch, for whoever watches."""
        history = self.history
        return Epoch(
            number=self.epoch,
            train_loss=history.train_loss[-1],
            validation_loss=history.validation_loss[-1],
            validation=history.validation[-1],
            learning_rate=float(self.schedule.get_last_lr()[0]),
            seconds=history.seconds,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state in tensors and plain Python values, whole and on no particular device.

        Inside an epoch all processes of a team have to call this.

        As with torch's own, its tensors are the live ones: write or copy it before the next step.
        """
        self.count_time()
        optimizer = self.optimizer.state_dict()
        return {
            "model": self.model.state_dict(),
            "best_model": self.best_weights,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "optimizer": {str(index): state for index, state in optimizer["state"].items()},
            "groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": self._generators(),
            "batches": self.batches,
            "loss_sum": self.loss_sum,
            "items": self.items,
            "carried": self.team.whole_state(self.carried, self.carried_rows),
            "history": self.history.to_json(),
            "step_seconds": torch.tensor(list(self.step_seconds), dtype=torch.float64),
            "wall_seconds": self.wall_seconds,
        }

    def _generators(self) -> dict[str, Tensor]:
        """The states of all random generators; "device" is that of a GPU, where one trains."""
        states = {
            "order": self._order_before,  # the epoch's batches are drawn again from its start
            "noise": self.noise.get_state(),
            "torch": torch.get_rng_state(),
        }
        own = generator_state(self.model.device)
        return states if own is None else {**states, "device": own}

    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave for the same network, recipe and data.

        Raises:
            ModelError: if it is the state of another network, or damaged.
        """
        state = checked_state(stored, self.state_dict())
        self.model.load_state_dict(state["model"])
        moments = {int(index): values for index, values in state["optimizer"].items()}
        self.optimizer.load_state_dict({"state": moments, "param_groups": state["groups"]})
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self._order_before = state["generators"]["order"]
        self.order.set_state(self._order_before)
        self.noise.set_state(state["generators"]["noise"])
        torch.set_rng_state(state["generators"]["torch"])
        if "device" in state["generators"]:
            set_generator_state(self.model.device, state["generators"]["device"])
        self.history = History.from_json(state["history"])
        if self.history.stopped in (BY_HAND, TIME_OVER):
            self.history.stopped = ""  # it may go on now
        self.step_seconds = deque(state["step_seconds"].tolist(), maxlen=TIMED_STEPS)
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.best_weights = copy.deepcopy(dict(state["best_model"]))
        self.batches, self.loss_sum = state["batches"], state["loss_sum"]
        self.items = state["items"]
        device = next(self.model.parameters()).device
        self._carry(_as_state(state["carried"], device))
        self._start_clocks(self.history.seconds, state["wall_seconds"])

    def _carry(self, whole: Any) -> None:
        """Take this process's rows of a network's state."""
        tensor = whole[0] if isinstance(whole, tuple) else whole
        self.carried_rows = 0 if tensor is None else tensor.shape[1]
        self.carried = self.team.carried(whole, self.carried_rows)

    def rest_of_epoch(self, batches: Batches) -> Iterator[Batch]:
        """Yield the batches of the present epoch that no step was taken on yet."""
        self._order_before = self.order.get_state()
        epoch = batches.shuffled(self.recipe.batch_size, self.order)
        return islice(epoch, self.batches, self.steps_per_epoch)

    def count_time(self) -> None:
        """Write the processor time so far into the history."""
        self.history.seconds = time.process_time() - self._processor_start
        if self.step_seconds:
            self.history.step_seconds = statistics.median(self.step_seconds)

    def record_start(self, loss: float, values: dict[str, float]) -> None:
        """Take the start as the best so far: it is what an epoch has to beat."""
        self.history.start_loss, self.history.start = loss, values
        self.best_loss = loss

    def record(self, train_loss: float, loss: float, values: dict[str, float]) -> None:
        """End the epoch: add it to the history, and keep its weights if they are the best so far.

        Args:
            loss, values: The loss and the metrics on the validation part.
        """
        history, recipe = self.history, self.recipe
        history.train_loss.append(train_loss)
        history.validation_loss.append(loss)
        history.validation.append(values)
        self.batches, self.loss_sum, self.items, self.carried = 0, 0.0, 0.0, None
        self._order_before = self.order.get_state()
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

    def _start_clocks(self, processor: float, wall: float) -> None:
        """Count time from now on, in addition to these seconds."""
        self._processor_start = time.process_time() - processor
        self._wall_start = time.monotonic() - wall


class Keeper:
    """Keeps the state of a loop at certain moments, to resume it; this one keeps nothing."""

    def restore(self, state: LoopState) -> None:
        """Set a fresh state to the one that was kept, if there is one."""

    def after_step(self, state: LoopState) -> None:
        """Keep the state after a step inside an epoch, where it is time."""

    def after_epoch(self, state: LoopState) -> None:
        """Keep the state after an epoch, where it is time."""

    def before_stop(self, state: LoopState) -> None:
        """Keep the state at the step after which the training is ended by hand."""


def run_loop(
    state: LoopState,
    training: Any,
    validation: Any,
    *,
    on_epoch: Callable[[LoopState], None] = lambda state: None,
    stop: Callable[[], bool] = lambda: False,
    keeper: Keeper | None = None,
) -> History:
    """Train on `training` until the recipe's last epoch; leaves the best weights in the model.

    The learning rate rises, then falls to zero along a cosine. Among the epochs after
    `recipe.keep_from` of them, the one with the lowest loss on `validation` is kept. Order and
    noise depend only on the seed, so that every network sees the same.

    Args:
        on_epoch: Called after every epoch, before `keeper`; not after one that `stop` cut short.
        stop: Asked before every step. Once it is true, or the training has taken
            `recipe.seconds`, it ends early, still with the best weights so far.
        keeper: Keeps the state, from which the training can be resumed.

    Raises:
        TrainingError: where the loss is no longer a finite number.
    """
    model, recipe = state.model, state.recipe
    keeper = keeper or Keeper()
    batches, measured = model.task.batches(training), model.task.batches(validation)
    limit = recipe.seconds or math.inf

    def reason_to_stop() -> str:
        """The reason to end now, of any process, or an empty text."""
        # At least one step is taken, so that there is something to measure.
        is_over = bool(state.step_seconds) and state.wall_seconds > limit
        reason = BY_HAND if stop() else TIME_OVER if is_over else ""
        return REASONS[state.team.agreed(REASONS.index(reason))]

    if model.task.start_counts and not state.steps:
        state.record_start(*evaluate(model, measured, validation, state.team))
    own = TrainingStep(state)
    step = state.team.module(own, lambda: own.reaches_all(batches))
    while state.epoch < recipe.epochs and not state.history.stopped:
        reason = _train_epoch(state, step, batches, reason_to_stop, keeper)
        if not state.items:
            state.history.stopped = reason
            break
        train_loss = state.loss_sum / state.items
        loss, values = evaluate(model, measured, validation, state.team)
        _check_finite(loss, state, f"epoch {state.epoch + 1}, on the validation part")
        state.record(train_loss, loss, values)
        state.count_time()
        state.history.stopped = _out_of_patience(state) or reason or reason_to_stop()
        if reason != BY_HAND:  # else the state was kept before this part of an epoch was recorded
            on_epoch(state)
            keeper.after_epoch(state)
    state.restore_best()
    return state.history


def _out_of_patience(state: LoopState) -> str:
    """The reason to end where the loss has not become better for long, or an empty text."""
    patience, best = state.recipe.patience, state.history.best_epoch
    if patience and state.epoch - 1 - best >= patience:
        return f"no better for {patience} epochs"
    return ""


def _train_epoch(
    state: LoopState,
    step: nn.Module,
    batches: Batches,
    reason_to_stop: Callable[[], str],
    keeper: Keeper,
) -> str:
    """Take the remaining steps of the epoch; the reason if it ended before its last one."""
    state.model.train()
    for batch in state.rest_of_epoch(batches):
        if reason := reason_to_stop():
            if reason == BY_HAND:
                keeper.before_stop(state)
            return reason
        _train_step(state, step, batch)
        if state.batches < state.steps_per_epoch:
            keeper.after_step(state)
    return ""


class TrainingStep(nn.Module):
    """The forward pass of a step: from a process's share of a batch to its loss."""

    def __init__(self, state: LoopState) -> None:
        super().__init__()
        self.model = state.model
        self.state = state
        design = getattr(state.model.body, "design", None)
        self.segment = 1 if design is None else design.segment

    def forward(self, share: BatchShare, carried: Any) -> tuple[Tensor, Any]:
        """The mean loss of the share, and the network's state after it."""
        model, recipe, batch = self.model, self.state.recipe, share.batch
        z = disturb(model.encode(batch.x), recipe, self.state.noise, share)
        team = self.state.team
        draws = team.draws(share, self.segment) if model.training else nullcontext()
        with draws, lower_precision(model.device, recipe.precision):
            outputs, carried = model.read(z, batch, carried)
        outputs = outputs.to(z.dtype)
        if not share.weight:  # its mean may be 0 / 0
            return 0.0 * outputs.sum(), detach(carried)
        loss = model.task.learning_loss(outputs, batch, model, recipe.smoothing)
        teacher = self.state.teacher
        if teacher is not None:
            with torch.no_grad():
                taught, _ = teacher(batch.to(teacher.device))
            taught = taught.to(outputs.device)
            loss = 0.5 * (loss + model.task.taught_loss(outputs, taught, batch, model))
        return loss, detach(carried)

    def reaches_all(self, batches: Batches) -> bool:
        """Tell if the loss of every batch reaches all weights; nothing is changed.

        A learned start is reached by the first batch of a sequence only.
        """
        model, noise = self.model, self.state.noise.get_state()
        layers = model.recurrent
        starts = () if layers is None else layers.graph.initial.values()
        if not all(isinstance(start, int | float) for start in starts):
            return False
        model.eval()  # without dropout, and without statistics of a batch
        batch = batches.excerpt(self.state.recipe.batch_size)
        with torch.random.fork_rng(devices=[]):
            loss, _ = self(Team().share(batch, model.task), None)
        loss.backward()
        learned = [weight for weight in model.parameters() if weight.requires_grad]
        reached = all(weight.grad is not None for weight in learned)
        model.zero_grad()
        self.state.noise.set_state(noise)
        return reached


def _train_step(state: LoopState, step: nn.Module, batch: Batch) -> None:
    """Take one step of the optimizer on a batch, and count it in the state."""
    recipe, history, team = state.recipe, state.history, state.team
    began = time.process_time()
    share = team.share(batch.to(state.model.device), state.model.task)
    # Counting costs time at every saved tensor, and all steps save about the same.
    is_first = not state.step_seconds
    with saved_memory() if is_first else nullcontext(SavedMemory()) as memory:
        loss, carried = step(share, state.carried if batch.carries else None)
    mean = team.mean_loss(loss.item(), share)
    _check_finite(mean, state, f"epoch {state.epoch + 1}, step {state.batches + 1}")
    state.optimizer.zero_grad()
    state.scaler.scale(team.to_learn(loss, share)).backward()
    state.scaler.unscale_(state.optimizer)
    nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    history.step_bytes = history.step_bytes or memory.total
    state.step_seconds.append(time.process_time() - began)
    state.batches += 1
    state.loss_sum += mean * batch.items
    state.items += batch.items
    state.carried, state.carried_rows = carried, share.of


def lower_precision(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """A context in which products are in a lower precision; none for float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


def disturb(
    z: Tensor, recipe: Recipe, generator: torch.Generator, share: BatchShare | None = None
) -> Tensor:
    """Standardised values (T, B, I) as another recording of the same event might have been.

    Noise at every step, and a shift of each channel and a factor of all that are constant over a
    recording: a network must not rely on the exact values of the few recordings it was given. They
    are drawn for the whole batch, also where `z` is only a share of it.
    """
    steps, rows, size = z.shape
    computed, rows = (slice(None), rows) if share is None else (share.computed, share.of)

    def drawn(*shape: int) -> Tensor:
        # On the CPU, so that every device gets the same numbers.
        numbers = torch.randn(shape, generator=generator, dtype=z.dtype)[:, computed]
        return numbers.to(z.device)

    if recipe.magnitude:
        z = z * (1.0 + recipe.magnitude * drawn(1, rows, 1))
    if not recipe.noise and not recipe.shift:
        return z
    noise = drawn(steps, rows, size)
    return z + recipe.noise * noise + recipe.shift * drawn(1, rows, size)


def evaluate(
    model: Model, batches: Batches, part: Any, team: Team | None = None
) -> tuple[float, dict[str, float]]:
    """The mean loss on a part, and its metrics; `batches` are the part's.

    The outputs of a batch are used for both at once: those of a whole text would take a hundred
    times the memory of the text.

    Args:
        team: The processes that all call this, and compute some rows each.
    """
    task, losses = model.task, []

    def with_losses() -> Iterator[tuple[Tensor, Batch]]:
        for outputs, batch in (team or Team()).run_all(model, batches):
            losses.append((task.loss(outputs, batch, model).item(), batch.items))
            yield outputs, batch

    predicted = task.predictions(with_losses(), model)
    loss = sum(mean * items for mean, items in losses) / sum(items for _, items in losses)
    if not math.isfinite(loss):  # predictions that are not finite have no metrics
        return loss, {}
    return loss, task.score(predicted, part)


def _as_state(stored: Any, device: torch.device) -> Any:
    """A network's state as the layers take it: on their device, tuples in the place of lists."""
    if isinstance(stored, list | tuple):
        return tuple(_as_state(tensor, device) for tensor in stored)
    return None if stored is None else stored.to(device)


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
