"""Perform many training jobs, several at a time, each in a process with one thread.

The networks are small: two trainings side by side end sooner than two in turn on two threads
each, and the result of a job does not depend on the number of processes.
"""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Self, cast

from safetensors.torch import load as read_tensors

from gatewright.errors import Suspended, TrainingError
from gatewright.processes import module_command, module_environment
from gatewright.training.checkpoint import read_outcome
from gatewright.training.history import Epoch, History
from gatewright.training.job import Outcome, TrainingJob
from gatewright.training.processes.cores import MAX_PROCESSES, usable_cores
from gatewright.training.processes.wire import send_data
from gatewright.training.processes.worker import STOP
from gatewright.training.run import OpenRun


def perform_all(
    jobs: Sequence[TrainingJob],
    data: Any,
    *,
    processes: int | None = None,
    on_epoch: Callable[[TrainingJob, Epoch], None] = lambda job, epoch: None,
    on_end: Callable[[TrainingJob, History], None] = lambda job, history: None,
    keep: bool = False,
    run: OpenRun | None = None,
    deadline: float | None = None,
    pool: WorkerPool | None = None,
) -> list[Outcome]:
    """Perform each job on `data`, a training part; the outcomes in the order of the jobs.

    However this ends, by an error or by Ctrl-C, no process stays behind, but those of a `pool`
    where nothing went wrong.

    Args:
        processes: Number of processes; by default one for each usable core.
        on_epoch: Called with the job and each epoch that it completes.
        on_end: Called with the job and its history when it has ended.
        keep: At Ctrl-C, end the running jobs early and return the outcomes so far, without the
            jobs that have not begun; a second Ctrl-C ends everything.
        run: Has the files of checkpoints. Jobs whose outcome is there are not repeated, others
            go on from their checkpoint, and every end but a crash writes one.
        deadline: The moment of `time.monotonic` at which the jobs are suspended.
        pool: Keeps the processes for the next jobs on the same data.

    Raises:
        TrainingError: where a job cannot go on, or its process died.
        ModelError: where a checkpoint is damaged.
        Suspended: where the deadline is over.
    """
    outcomes: dict[int, Outcome] = {}
    for position, job in enumerate(jobs):
        outcome = None if run is None else read_outcome(run.file_of(job), job)
        if outcome is not None:
            outcomes[position] = outcome
            on_end(job, outcome.history)
    waiting = [pair for pair in enumerate(jobs) if pair[0] not in outcomes][::-1]
    if not waiting:
        return [outcomes[index] for index in sorted(outcomes)]
    processes = min(processes or usable_cores(), MAX_PROCESSES, len(waiting))
    with _workers(pool, processes, data, run) as workers:
        for rank in range(processes):
            workers.assign(rank, waiting)
        try:
            while workers.busy:
                try:
                    rank, line = workers.next_message(deadline)
                except KeyboardInterrupt:
                    if not keep:
                        raise
                    keep, waiting = False, []
                    workers.stop()
                    continue
                index = workers.current[rank]
                if index is None:
                    continue  # it had nothing left to do
                if line is None:
                    workers.current[rank] = None
                    raise TrainingError(_death_notice(jobs[index], workers.exit_code(rank), run))
                job, message = jobs[index], json.loads(line)
                if message["kind"] == "epoch":
                    on_epoch(job, Epoch(**message["epoch"]))
                elif message["kind"] == "error":
                    workers.current[rank] = None
                    raise TrainingError(message["message"])
                elif message["kind"] == "done":
                    outcomes[index] = _outcome(job, message)
                    on_end(job, outcomes[index].history)
                    workers.assign(rank, waiting)
        except BaseException:
            if run is not None:
                workers.wait_for_checkpoints()
            raise
    return [outcomes[index] for index in sorted(outcomes)]


def _outcome(job: TrainingJob, message: dict[str, Any]) -> Outcome:
    weights = read_tensors(base64.b64decode(message["weights"]))
    return Outcome(job, History.from_json(message["history"]), weights)


class _Workers:
    """The processes, the index of the job that each has now, and the messages of all."""

    def __init__(self, run: OpenRun | None) -> None:
        self.run = run
        self.is_stopped = False  # then they take no more jobs
        self.processes: list[subprocess.Popen[bytes]] = []
        self.current: list[int | None] = []  # None: no job is left for it
        self.messages: queue.SimpleQueue[tuple[int, bytes | None]] = queue.SimpleQueue()
        self.listeners: list[threading.Thread] = []

    @property
    def busy(self) -> bool:
        """True while any of them has a job."""
        return any(index is not None for index in self.current)

    def start(self) -> None:
        """Start one more."""
        descriptor = None if self.run is None else self.run.lock
        self.processes.append(
            subprocess.Popen(
                module_command("gatewright.training.processes.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=module_environment(OMP_NUM_THREADS="1"),
                # A group of its own: Ctrl-C in the terminal reaches only this process.
                start_new_session=True,
                # It holds the lock of the run until it has written its last checkpoint, also
                # where this process was killed.
                pass_fds=() if descriptor is None else (descriptor,),
            )
        )
        self.current.append(None)
        rank = len(self.listeners)
        self.listeners.append(threading.Thread(target=self._listen, args=(rank,), daemon=True))
        self.listeners[-1].start()

    def _listen(self, rank: int) -> None:
        output = self.processes[rank].stdout
        assert output is not None
        for line in output:
            self.messages.put((rank, line))
        self.messages.put((rank, None))

    def next_message(self, deadline: float | None) -> tuple[int, bytes | None]:
        """The rank of a process, and a line of it, or None at its end.

        Raises:
            Suspended: if the deadline comes first.
        """
        if deadline is None:
            return self.messages.get()
        try:
            return self.messages.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            raise Suspended from None

    def send(self, rank: int, data: Any) -> None:
        """Send the data to learn from."""
        with _input_of(self.processes[rank]) as stream:
            send_data(data, stream)

    def assign(self, rank: int, waiting: list[tuple[int, TrainingJob]]) -> None:
        """Send the next waiting job, if there is one."""
        self.current[rank] = None
        if not waiting:
            return
        index, job = waiting.pop()
        order = {
            "job": job.to_json(),
            "checkpoint": None if self.run is None else str(self.run.file_of(job)),
            "every": None if self.run is None else self.run.every,
        }
        self._write(rank, json.dumps(order).encode() + b"\n")
        self.current[rank] = index

    def stop(self) -> None:
        """Ask for an early end of all jobs."""
        self.is_stopped = True
        for rank in range(len(self.processes)):
            self._write(rank, STOP)

    def wait_for_checkpoints(self) -> None:
        """Ask for an early end, and wait until each job has written its state or has ended.

        Raises:
            TrainingError: if a job could not write it.
        """
        self.stop()
        errors = []
        while self.busy:
            rank, line = self.messages.get()
            message = {} if line is None else json.loads(line)
            if message.get("kind") == "error":
                errors.append(message["message"])
            if message.get("kind") != "epoch":
                self.current[rank] = None
        if errors:
            raise TrainingError(errors[0])

    def exit_code(self, rank: int) -> int:
        """The exit code of a process whose output has ended."""
        return self.processes[rank].wait()

    def _write(self, rank: int, line: bytes) -> None:
        with _input_of(self.processes[rank]) as stream:
            stream.write(line)
            stream.flush()

    def end(self) -> None:
        """Kill all, and wait until they are gone."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for listener in self.listeners:
            listener.join()
        for process in self.processes:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # flushing what a dead worker did not read
                    pipe.close()


class WorkerPool:
    """Processes that are kept from one list of jobs to the next, on the same data.

    A process takes 2 s to start, most of them for importing torch; a training with a choice of the
    design and with advice has three lists of jobs.
    """

    def __init__(self) -> None:
        self.workers: _Workers | None = None
        self.data: Any = None

    def workers_for(self, count: int, data: Any, run: OpenRun | None) -> _Workers:
        """At least `count` processes that have the data; those that are missing are started."""
        if self.workers is not None:
            fits = self.data is data and self.workers.run is run
            if not fits or any(process.poll() is not None for process in self.workers.processes):
                self.end()
        if self.workers is None:
            self.workers, self.data = _Workers(run), data
        started = range(len(self.workers.processes), count)
        for _ in started:
            self.workers.start()
        for rank in started:
            self.workers.send(rank, data)
        return self.workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """End all processes."""
        workers, self.workers, self.data = self.workers, None, None
        if workers is not None:
            workers.end()


@contextmanager
def _workers(
    pool: WorkerPool | None, count: int, data: Any, run: OpenRun | None
) -> Iterator[_Workers]:
    """At least `count` processes; they end with the block, or are the pool's if all went well."""
    keep, pool = pool is not None, pool or WorkerPool()
    try:
        workers = pool.workers_for(count, data, run)
        yield workers
        keep = keep and not workers.is_stopped
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            pool.end()


@contextmanager
def _input_of(worker: subprocess.Popen[bytes]) -> Iterator[BinaryIO]:
    """The input of a worker; if it is dead, the end of its output reports that in a moment."""
    assert worker.stdin is not None
    with suppress(OSError):
        yield cast(BinaryIO, worker.stdin)


def _death_notice(job: TrainingJob, code: int, run: OpenRun | None) -> str:
    end = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = "the machine may have run out of memory" if code == -9 else "its message is above"
    notice = f"the process that trained {job.network} with seed {job.seed} {end}: {hint}"
    return notice if run is None else f"{notice}. {run.how_to_resume()}"
