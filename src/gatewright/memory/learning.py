"""Train one network on one memory task with a fixed budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatewright.errors import TrainingError
from gatewright.memory.tasks import Examples, MemoryTask
from gatewright.training.optimizers import Adam

#: Offsets of the seeds, so that examples to learn from, choose on and test on are different.
LEARN, CHOOSE, TEST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of a training; it is the same for every network of a comparison.

    Attributes:
        steps: The largest number of optimizer steps.
        batch: New examples for each step.
        rate: The constant learning rate of Adam.
        clip: The largest norm of the gradient.
        check: Steps between two evaluations on the examples to choose on.
        enough: The score at which training stops early.
        held: Examples to choose the best weights on, and as many others to test on.
    """

    steps: int = 1000
    batch: int = 32
    rate: float = 3e-3
    clip: float = 1.0
    check: int = 50
    enough: float = 0.99
    held: int = 256


@dataclass(frozen=True, slots=True)
class LearningResult:
    """The result of a training.

    Attributes:
        model: The model with the best weights.
        score: On the examples to test on; see `MemoryTask.score`.
        loss: On the same examples.
        losses: The training loss of each step.
        steps: The number of steps.
        seconds: Processor time.
    """

    model: nn.Module
    score: float
    loss: float
    losses: list[float]
    steps: int
    seconds: float


def learn(
    task: MemoryTask,
    build: Callable[[MemoryTask], nn.Module],
    budget: Budget | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> LearningResult:
    """Train a network on new examples of a task until it scores enough or the budget is spent.

    The result has the weights of the best evaluation. Weights and examples depend only on the
    seed, and the random state of the caller does not change.

    >>> from gatewright.memory import NETWORKS, TASKS
    >>> result = learn(TASKS["recall"](lag=3), lambda task: NETWORKS["gru"].reader(task, 16))
    >>> result.score > 0.9
    True

    Args:
        build: Makes the model from the task: inputs `(T, B, I)` to outputs `(T, B, O)`.

    Raises:
        TrainingError: if the loss is not a finite number, naming the step.
    """
    budget = budget or Budget()
    started = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(task)
        chosen_on = task.examples(budget.held, 3 * seed + CHOOSE)
        draw = torch.Generator().manual_seed(3 * seed + LEARN)
        optimizer = Adam(model.parameters(), budget.rate)
        losses: list[float] = []
        best, best_weights = -math.inf, copied(model)
        while len(losses) < budget.steps and best < budget.enough:
            ahead = min(budget.check, budget.steps - len(losses))
            model.train()
            for examples in parts(task.draw(ahead * budget.batch, draw), budget.batch):
                loss = task.loss(model(examples.inputs), examples)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
                norm = nn.utils.clip_grad_norm_(model.parameters(), budget.clip)
                if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
                    raise TrainingError(
                        f"{task.name}: the loss is {loss.item()} and the gradient's norm "
                        f"{norm.item()} at step {len(losses) + 1} (seed {seed}); "
                        "use a lower rate"
                    )
                optimizer.step()
                losses.append(loss.item())
                on_step(len(losses), losses[-1])
            score, _ = judge(task, model, chosen_on)
            if score > best:
                best, best_weights = score, copied(model)
    model.load_state_dict(best_weights)
    model.eval()
    score, loss_at_end = judge(task, model, task.examples(budget.held, 3 * seed + TEST))
    seconds = time.process_time() - started
    return LearningResult(model, score, loss_at_end, losses, len(losses), seconds)


@torch.no_grad()
def judge(task: MemoryTask, model: nn.Module, examples: Examples) -> tuple[float, float]:
    """The score and the loss of a model on examples."""
    model.eval()
    outputs = model(examples.inputs)
    return task.score(outputs, examples), task.loss(outputs, examples).item()


def copied(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights."""
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def parts(examples: Examples, size: int) -> list[Examples]:
    """Split examples into batches of `size`."""
    tensors = (examples.inputs, examples.targets, examples.scored, examples.judged)
    pieces = (tensor.split(size, dim=1) for tensor in tensors)
    return [Examples(*batch) for batch in zip(*pieces, strict=True)]
