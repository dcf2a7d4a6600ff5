"""Perform many runs, several at a time, each in a process with one thread.

The networks are small: two runs side by side end sooner than one on two threads, and
the result of each does not depend on how many there are.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from safetensors.torch import load as read_tensors
from torch import Tensor

from gatewright.errors import TrainingError
from gatewright.processes import module_command, module_environment
from gatewright.training.job import Run
from gatewright.training.loop import History
from gatewright.training.processes.wire import hand_over
from gatewright.training.processes.worker import STOP

#: More processes than this only fill the memory: each one holds a torch.
MOST = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    run: Run
    history: History
    weights: dict[str, Tensor]


def perform_all(
    runs: Sequence[Run],
    data: Any,
    *,
    processes: int | None = None,
    on_epoch: Callable[[Run, int, float], None] = lambda run, epoch, loss: None,
    keep: bool = False,
) -> list[Outcome]:
    """The outcome of each run on `data`, a training part, in the order given.

    `on_epoch` is told the run, the epoch that it has completed, and the loss. However
    this ends, by an error or by Ctrl-C, no process stays behind.

    Args:
        keep: At Ctrl-C, end the runs at hand early and return what there is, without the
            runs that have not begun; a second Ctrl-C ends everything.

    Raises:
        TrainingError: where a run cannot go on, or its process died.
    """
    processes = min(processes or usable_cores(), MOST, len(runs))
    waiting = list(enumerate(runs))[::-1]
    outcomes: dict[int, Outcome] = {}
    with _started(processes) as (workers, answers):
        for worker in workers:
            with _perhaps_dead(worker) as stream:
                hand_over(data, stream)
        at_work = [_hand(worker, waiting) if waiting else None for worker in workers]
        while any(task is not None for task in at_work):
            try:
                place, line = answers.get()
            except KeyboardInterrupt:
                if not keep:
                    raise
                keep, waiting = False, []
                for worker in workers:
                    _write(worker, STOP)
                continue
            task = at_work[place]
            if line is None:
                if task is None:
                    continue  # it had nothing left to do
                raise TrainingError(_died(runs[task], workers[place].wait()))
            assert task is not None
            answer = json.loads(line)
            if answer["kind"] == "epoch":
                on_epoch(runs[task], answer["epoch"], answer["loss"])
            elif answer["kind"] == "error":
                raise TrainingError(answer["message"])
            else:
                outcomes[task] = found = _outcome(runs[task], answer)
                if 0 < len(found.history.train_loss) < runs[task].recipe.epochs:
                    on_epoch(runs[task], runs[task].recipe.epochs, found.history.train_loss[-1])
                at_work[place] = _hand(workers[place], waiting) if waiting else None
    return [outcomes[task] for task in sorted(outcomes)]


def usable_cores() -> int:
    """How many cores this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _outcome(run: Run, answer: dict[str, Any]) -> Outcome:
    weights = read_tensors(base64.b64decode(answer["weights"]))
    return Outcome(run, History(**answer["history"]), weights)


def _hand(worker: subprocess.Popen[bytes], waiting: list[tuple[int, Run]]) -> int:
    """Give the next waiting run to a worker; its number."""
    task, run = waiting.pop()
    _write(worker, json.dumps(run.to_json()).encode() + b"\n")
    return task


def _write(worker: subprocess.Popen[bytes], line: bytes) -> None:
    with _perhaps_dead(worker) as stream:
        stream.write(line)
        stream.flush()


@contextmanager
def _perhaps_dead(worker: subprocess.Popen[bytes]) -> Iterator[BinaryIO]:
    """The input of a worker. That it is dead its closed output will say in a moment."""
    assert worker.stdin is not None
    with suppress(OSError):
        yield cast(BinaryIO, worker.stdin)


Answers = queue.SimpleQueue[tuple[int, bytes | None]]


@contextmanager
def _started(count: int) -> Iterator[tuple[list[subprocess.Popen[bytes]], Answers]]:
    """`count` workers, and the queue of (which of them, its line or None at its end)."""
    environment = module_environment(OMP_NUM_THREADS="1")
    answers: Answers = queue.SimpleQueue()
    workers: list[subprocess.Popen[bytes]] = []
    listeners: list[threading.Thread] = []

    def listen(place: int) -> None:
        output = workers[place].stdout
        assert output is not None
        for line in output:
            answers.put((place, line))
        answers.put((place, None))

    try:
        for place in range(count):
            workers.append(
                subprocess.Popen(
                    module_command("gatewright.training.processes.worker"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    # Out of the terminal's group: Ctrl-C is for the one who started them.
                    start_new_session=True,
                )
            )
            listeners.append(threading.Thread(target=listen, args=(place,), daemon=True))
            listeners[-1].start()
        yield workers, answers
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()
        for listener in listeners:
            listener.join()
        for worker in workers:
            for pipe in (worker.stdin, worker.stdout):
                assert pipe is not None
                with suppress(OSError):  # what was still to be written to the dead
                    pipe.close()


def _died(run: Run, code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = "the machine may have run out of memory" if code == -9 else "its message stands above"
    return f"the process that trained {run.network} with seed {run.seed} {how}: {hint}"
