"""Training jobs that all ranks do together: rank 0 leads, the others follow.

Rank 0 makes the plan, reads and writes all files and prints. The others get the data and each job
from it, so that they need neither the files nor the same plan; the test part is never sent.
"""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from gatewright.errors import ArgumentError, Suspended, TrainingError
from gatewright.training.checkpoint import JobKeeper, from_bytes, read_outcome, to_bytes
from gatewright.training.history import BY_HAND, Epoch, History
from gatewright.training.job import Outcome, TrainingJob, perform
from gatewright.training.loop import Keeper, LoopState
from gatewright.training.processes.wire import receive_data, send_data
from gatewright.training.ranks.team import Team, lost
from gatewright.training.run import OpenRun

#: Time after which a rank gives up waiting for others: at the start and in a step, and between two
#: jobs, where rank 0 may fit slow baselines. The end of a rank is noticed at once, since its
#: connections end.
STEP_PATIENCE, PATIENCE = timedelta(minutes=10), timedelta(days=7)
#: What rank 0 sends.
DATA, JOB, END = "data", "job", "end"


class Leader:
    """Rank 0 of several, between and during its jobs."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self.data: Any = None  # that the others have
        self.at_work = False

    def perform(
        self, job: TrainingJob, data: Any, keeper: JobKeeper | None, **options: Any
    ) -> tuple[Any, History]:
        """Do a job together with the others."""
        if data is not self.data:
            content = io.BytesIO()
            send_data(data, content)
            self._send(DATA)
            self.team.sent(content.getvalue())
            self.data = data
        every = None if keeper is None else keeper.every
        self._send(JOB, job=job.to_json(), every=every)
        # Not reset by an error: then the others are in the middle of the job.
        self.at_work = True
        shared = Follower(self.team, None) if keeper is None else SharedKeeper(self.team, keeper)
        result = perform(job, data, keeper=shared, team=self.team, **options)
        self.at_work = False
        return result

    def end(self) -> None:
        """Let the others end, unless they wait for this rank in the middle of a job."""
        if not self.at_work:
            with suppress(TrainingError):  # they may have ended before
                self._send(END)

    def _send(self, kind: str, **values: Any) -> None:
        self.team.sent(json.dumps({"kind": kind, **values}).encode())


class Follower(Keeper):
    """The keeper of a rank that writes nothing.

    A state has the rows of all ranks, so that this one takes part in what it does not write.
    """

    def __init__(self, team: Team, every: int | None) -> None:
        self.team = team
        self.every = every

    def restore(self, state: LoopState) -> None:
        content = self.team.sent(None if self.team.rank else b"")
        if content:
            state.load_state_dict(from_bytes(content, Path("the checkpoint")))

    def after_step(self, state: LoopState) -> None:
        if self.every and state.steps % self.every == 0:
            state.state_dict()

    def before_stop(self, state: LoopState) -> None:
        state.state_dict()


class SharedKeeper(Keeper):
    """The keeper of rank 0, which gives the others the state that it restores."""

    def __init__(self, team: Team, keeper: JobKeeper) -> None:
        self.team = team
        self.keeper = keeper

    def restore(self, state: LoopState) -> None:
        content = self.keeper.stored()
        self.team.sent(b"" if content is None else to_bytes(content))
        self.keeper.restore(state)

    def after_step(self, state: LoopState) -> None:
        self.keeper.after_step(state)

    def after_epoch(self, state: LoopState) -> None:
        self.keeper.after_epoch(state)

    def before_stop(self, state: LoopState) -> None:
        self.keeper.before_stop(state)


def perform_together(
    leader: Leader,
    jobs: Sequence[TrainingJob],
    data: Any,
    *,
    on_epoch: Callable[[TrainingJob, Epoch], None],
    on_end: Callable[[TrainingJob, History], None],
    keep: bool,
    run: OpenRun | None,
    deadline: float | None,
) -> list[Outcome]:
    """Do what `pool.perform_all` does, one job after the other, each by all ranks."""
    outcomes: list[Outcome] = []
    for job in jobs:
        path = None if run is None else run.file_of(job)
        outcome = None if path is None else read_outcome(path, job)
        if outcome is not None:
            outcomes.append(outcome)
            on_end(job, outcome.history)
            continue
        keeper = None if path is None or run is None else JobKeeper(path, job, run.every)
        with stopping() as stop:

            def stop_now(stop: Stop = stop) -> bool:
                return bool(stop.signal) or (deadline is not None and time.monotonic() > deadline)

            def report(state: LoopState, job: TrainingJob = job) -> None:
                on_epoch(job, state.latest())

            model, history = leader.perform(job, data, keeper, on_epoch=report, stop=stop_now)
        weights = model.state_dict()
        if keeper is not None:
            keeper.finish(history, weights)
        on_end(job, history)
        if history.stopped != BY_HAND:
            outcomes.append(Outcome(job, history, weights))
            continue
        if stop.signal != signal.SIGINT and deadline is not None and time.monotonic() > deadline:
            raise Suspended
        if stop.signal == signal.SIGTERM:
            stop.deliver()
        if not keep:
            raise KeyboardInterrupt
        outcomes.append(Outcome(job, history, weights))
        break
    return outcomes


class Stop:
    """A signal that arrived during a job: the job ends after its step, and then it is handled."""

    def __init__(self) -> None:
        self.signal = 0
        self.before: dict[int, Any] = {}

    def handle(self, number: int, frame: Any) -> None:
        """Note the signal; a second one has its usual effect."""
        if self.signal:
            self.restore()
            os.kill(os.getpid(), number)
        self.signal = number

    def restore(self) -> None:
        """Handle signals as before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Handle the signal as it would have been before."""
        handler = self.before[self.signal]
        if callable(handler):
            handler(self.signal, None)
        raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yield what notes Ctrl-C and SIGTERM, which would else end a rank while others wait for it."""
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        stop.before[number] = signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        stop.restore()


def follow(team: Team) -> None:
    """Do the jobs that rank 0 sends, until it ends.

    Raises:
        TrainingError: if a loss is not finite, or another rank ended before the training did.
    """
    data: Any = None
    # While it waits, nothing is lost: it ends at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        message = json.loads(team.sent(None))
        if message["kind"] == END:
            return
        if message["kind"] == DATA:
            data = receive_data(io.BytesIO(team.sent(None)))
            continue
        job = TrainingJob.from_json(message["job"])
        with stopping() as stop:
            perform(
                job,
                data,
                stop=lambda stop=stop: bool(stop.signal),  # type: ignore[misc]
                keeper=Follower(team, message["every"]),
                team=team,
            )


_LEADER: list[Leader] = []


def current_leader() -> Leader | None:
    """The leader of the ranks that this process was started with, or None where it is alone."""
    return _LEADER[-1] if _LEADER else None


@contextmanager
def joined() -> Iterator[bool]:
    """Join the ranks of `torchrun`, if this process is one of several; yield whether it leads.

    A process that does not lead has done its part when the block begins, and skips its body.

    Raises:
        ArgumentError: if the ranks cannot find each other.
        TrainingError: if another rank ended before the training did.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ or not distributed.is_available():
        yield True
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, timeout=STEP_PATIENCE)
        waiting = distributed.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ArgumentError(
            f"WORLD_SIZE is {size}, and the processes cannot find each other: {error}. Start them "
            "with torchrun, or unset WORLD_SIZE and RANK"
        ) from error
    team = Team(distributed.get_rank(), size, waiting)
    try:
        if team.rank:
            follow(team)
            yield False
        else:
            leader = Leader(team)
            _LEADER.append(leader)
            try:
                yield True
            finally:
                _LEADER.pop()
                leader.end()
    except RuntimeError as error:
        raise lost(error) from error
    if team.rank == 0 and leader.at_work:
        return  # others are waiting, and learn of the end by that of this process
    distributed.destroy_process_group()
