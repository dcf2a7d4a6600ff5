"""One network learns one memory task, under a budget that is stated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatewright.errors import TrainingError
from gatewright.memory.tasks import Examples, Task

#: Seeds of what is learned from, chosen on and tested on never meet.
LEARN, CHOOSE, TEST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Budget:
    """What a network may spend on a task; the same for every network of a comparison.

    Attributes:
        steps: Changes of the weights, at most.
        batch: Fresh examples a step.
        rate: Adam's learning rate, constant.
        clip: The largest norm of the gradient.
        check: Steps between two looks at the examples that are chosen on.
        enough: The score at which learning stops early.
        held: Examples to choose on, and as many others to test on.
    """

    steps: int = 1000
    batch: int = 32
    rate: float = 3e-3
    clip: float = 1.0
    check: int = 50
    enough: float = 0.99
    held: int = 256


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came of it.

    Attributes:
        model: With the weights of the last look, the best one so far.
        score: On examples that nothing was chosen on; see `Task.score`.
        loss: On the same examples.
        losses: While learning, one a step.
        steps: How many steps were taken.
        seconds: Of processor time.
    """

    model: nn.Module
    score: float
    loss: float
    losses: list[float]
    steps: int
    seconds: float


def learn(
    task: Task,
    build: Callable[[Task], nn.Module],
    budget: Budget | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Learnt:
    """Train a network on fresh examples of a task until it scores enough or the budget is spent.

    The weights at the best look are kept. Weights and examples depend on the seed alone, and
    the caller's random numbers stay as they are.

    >>> from gatewright.memory import NETWORKS, TASKS
    >>> found = learn(TASKS["recall"](lag=3), lambda task: NETWORKS["gru"].reader(task, 16))
    >>> found.score > 0.9
    True

    Args:
        build: Makes the model from the task: inputs `(T, B, I)` to outputs `(T, B, O)`.

    Raises:
        TrainingError: where the loss is no longer a finite number, naming the step.
    """
    budget = budget or Budget()
    started = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(task)
        chosen_on = task.examples(budget.held, 3 * seed + CHOOSE)
        draw = torch.Generator().manual_seed(3 * seed + LEARN)
        optimizer = torch.optim.Adam(model.parameters(), budget.rate)
        losses: list[float] = []
        best, kept = -math.inf, copied(model)
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
                best, kept = score, copied(model)
    model.load_state_dict(kept)
    model.eval()
    score, left = judge(task, model, task.examples(budget.held, 3 * seed + TEST))
    return Learnt(model, score, left, losses, len(losses), time.process_time() - started)


@torch.no_grad()
def judge(task: Task, model: nn.Module, examples: Examples) -> tuple[float, float]:
    """The score and the loss of a model on examples."""
    model.eval()
    outputs = model(examples.inputs)
    return task.score(outputs, examples), task.loss(outputs, examples).item()


def copied(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights as they are now."""
    return {name: one.detach().clone() for name, one in model.state_dict().items()}


def parts(examples: Examples, size: int) -> list[Examples]:
    """Examples in batches of `size`."""
    pieces = (
        one.split(size, dim=1)
        for one in (examples.inputs, examples.targets, examples.scored, examples.judged)
    )
    return [Examples(*one) for one in zip(*pieces, strict=True)]
