"""A further process of a search, and its start.

It receives the search as a line of JSON and the training part through its input, and ends with
it: then the process that started it is gone, or wants it to stop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gatewright.processes import module_command, module_environment
from gatewright.tasks.registry import task_from_config
from gatewright.training.processes.wire import receive_data, send_data
from gatewright.training.source import Source
from gatewright.training.tuning.space import make_space
from gatewright.training.tuning.study import SearchLimits, Stopped, open_study, quiet_optuna, search
from gatewright.training.tuning.trial import Trials, start_settings

#: Seconds in which a process has to store its trial and end.
GRACE = 20.0


def main() -> None:
    """Perform trials until the study is complete, or the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    sys.stdout = sys.stderr
    stream = sys.stdin.buffer
    try:
        request = json.loads(stream.readline())
        training = receive_data(stream)
    except (EOFError, ValueError):
        return
    ended = threading.Event()

    def listen() -> None:
        stream.read()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    task = task_from_config(request["task"])
    source = Source(request["name"], training, None, task, (), request["reading"])
    trials = Trials(source, request["folds"], request["computing"])
    limits = SearchLimits(**request["limits"])
    directory = Path(request["directory"])
    plan = trials.plan_of(request["start"])
    start = start_settings(plan, request["start"]["cell"])
    space = make_space(plan.task, start, request["cells"], request["windows"], request["search"])
    with quiet_optuna(), suppress(Stopped):
        study = open_study(directory, limits, request["rank"])
        search(study, space, trials, limits, directory, stop=ended.is_set)
    # Not by the interpreter's end, which would wait for the thread that reads.
    sys.stderr.flush()
    os._exit(0)


@contextmanager
def started(
    requests: Sequence[Mapping[str, Any]], training: Any
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start a process for each request; on the way out they are told to stop, and ended."""
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for request in requests:
            worker = subprocess.Popen(
                module_command("gatewright.training.tuning.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=module_environment(OMP_NUM_THREADS="1"),
                start_new_session=True,  # Ctrl-C in the terminal reaches only this process
            )
            workers.append(worker)
            assert worker.stdin is not None
            with suppress(OSError):  # it is dead, as its code tells in a moment
                worker.stdin.write(json.dumps(request).encode() + b"\n")
                send_data(training, worker.stdin)  # type: ignore[arg-type]
        yield workers
    finally:
        for worker in workers:
            assert worker.stdin is not None
            with suppress(OSError):
                worker.stdin.close()
        for worker in workers:
            try:
                worker.wait(GRACE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


if __name__ == "__main__":
    main()
