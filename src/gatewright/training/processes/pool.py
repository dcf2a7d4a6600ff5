"""Perform many training jobs, several at a time, each in a process with one thread.

The networks are small: two trainings side by side end sooner than two in turn on two threads
each, and the result of a job does not depend on the number of processes.
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
from gatewright.training.history import History
from gatewright.training.job import TrainingJob
from gatewright.training.processes.wire import send_data
from gatewright.training.processes.worker import STOP

#: More processes than this only fill the memory: each has loaded torch.
MAX_PROCESSES = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a training job."""

    job: TrainingJob
    history: History
    weights: dict[str, Tensor]


def perform_all(
    jobs: Sequence[TrainingJob],
    data: Any,
    *,
    processes: int | None = None,
    on_epoch: Callable[[TrainingJob, int, float], None] = lambda job, epoch, loss: None,
    keep: bool = False,
) -> list[Outcome]:
    """Perform each job on `data`, a training part; the outcomes in the order of the jobs.

    However this ends, by an error or by Ctrl-C, no process stays behind.

    Args:
        processes: Number of processes; by default one for each usable core.
        on_epoch: Called with the job, the number of epochs it has completed, and the loss.
        keep: At Ctrl-C, end the running jobs early and return the outcomes so far, without the
            jobs that have not begun; a second Ctrl-C ends everything.

    Raises:
        TrainingError: where a job cannot go on, or its process died.
    """
    processes = min(processes or usable_cores(), MAX_PROCESSES, len(jobs))
    waiting = list(enumerate(jobs))[::-1]
    outcomes: dict[int, Outcome] = {}
    with _start_workers(processes) as (workers, messages):
        for worker in workers:
            with _input_of(worker) as stream:
                send_data(data, stream)
        # By worker: the index of its job, or None once no job is left for it.
        current = [_assign(worker, waiting) if waiting else None for worker in workers]
        while any(index is not None for index in current):
            try:
                rank, line = messages.get()
            except KeyboardInterrupt:
                if not keep:
                    raise
                keep, waiting = False, []
                for worker in workers:
                    _write(worker, STOP)
                continue
            index = current[rank]
            if line is None:
                if index is None:
                    continue  # it had nothing left to do
                raise TrainingError(_death_notice(jobs[index], workers[rank].wait()))
            assert index is not None
            job, message = jobs[index], json.loads(line)
            if message["kind"] == "epoch":
                on_epoch(job, message["epoch"], message["loss"])
            elif message["kind"] == "error":
                raise TrainingError(message["message"])
            else:
                outcomes[index] = _outcome(job, message)
                losses = outcomes[index].history.train_loss
                if 0 < len(losses) < job.recipe.epochs:  # ended early: fill its progress bar
                    on_epoch(job, job.recipe.epochs, losses[-1])
                current[rank] = _assign(workers[rank], waiting) if waiting else None
    return [outcomes[index] for index in sorted(outcomes)]


def usable_cores() -> int:
    """The number of cores this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _outcome(job: TrainingJob, message: dict[str, Any]) -> Outcome:
    weights = read_tensors(base64.b64decode(message["weights"]))
    return Outcome(job, History.from_json(message["history"]), weights)


def _assign(worker: subprocess.Popen[bytes], waiting: list[tuple[int, TrainingJob]]) -> int:
    """Send the next waiting job to a worker; the index of the job."""
    index, job = waiting.pop()
    _write(worker, json.dumps(job.to_json()).encode() + b"\n")
    return index


def _write(worker: subprocess.Popen[bytes], line: bytes) -> None:
    with _input_of(worker) as stream:
        stream.write(line)
        stream.flush()


@contextmanager
def _input_of(worker: subprocess.Popen[bytes]) -> Iterator[BinaryIO]:
    """The input of a worker; if it is dead, the end of its output reports that in a moment."""
    assert worker.stdin is not None
    with suppress(OSError):
        yield cast(BinaryIO, worker.stdin)


Messages = queue.SimpleQueue[tuple[int, bytes | None]]


@contextmanager
def _start_workers(count: int) -> Iterator[tuple[list[subprocess.Popen[bytes]], Messages]]:
    """Start `count` workers; also a queue of (rank of the worker, line or None at its end)."""
    environment = module_environment(OMP_NUM_THREADS="1")
    messages: Messages = queue.SimpleQueue()
    workers: list[subprocess.Popen[bytes]] = []
    listeners: list[threading.Thread] = []

    def listen(rank: int) -> None:
        output = workers[rank].stdout
        assert output is not None
        for line in output:
            messages.put((rank, line))
        messages.put((rank, None))

    try:
        for rank in range(count):
            workers.append(
                subprocess.Popen(
                    module_command("gatewright.training.processes.worker"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    # A group of its own: Ctrl-C in the terminal reaches only this process.
                    start_new_session=True,
                )
            )
            listeners.append(threading.Thread(target=listen, args=(rank,), daemon=True))
            listeners[-1].start()
        yield workers, messages
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
                with suppress(OSError):  # flushing what a dead worker did not read
                    pipe.close()


def _death_notice(job: TrainingJob, code: int) -> str:
    end = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = "the machine may have run out of memory" if code == -9 else "its message is above"
    return f"the process that trained {job.network} with seed {job.seed} {end}: {hint}"
