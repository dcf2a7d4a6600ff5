"""A process that performs training jobs: it reads a JSON line for each, and writes JSON lines.

Before the first job it receives the data to learn from (`gatewright.training.processes.wire`).

It is started by `gatewright.training.processes.pool` with `python -m`, not by
multiprocessing, so that a plain script or a notebook can compare networks without
`if __name__ == "__main__"`, and nothing is pickled. The line `stop` ends the current job
early, with the best weights so far; so does SIGTERM. The process ends with its input: then its
parent is gone. Where a job has a file for checkpoints, this process writes them, also then.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from gatewright.errors import GatewrightError
from gatewright.training.checkpoint import JobKeeper
from gatewright.training.job import TrainingJob, perform
from gatewright.training.loop import LoopState
from gatewright.training.processes.wire import receive_data

#: The line that asks for an early end.
STOP = b"stop\n"


def main() -> None:
    """Perform the jobs that arrive, one after the other, on one thread."""
    # Ctrl-C is for the parent, which then writes `stop`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    # Anything that a library prints must not get between the messages.
    output, sys.stdout = sys.stdout, sys.stderr
    try:
        data = receive_data(sys.stdin.buffer)
    except EOFError:
        return
    jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def listen() -> None:
        for line in sys.stdin.buffer:
            if line == STOP:
                stopped.set()
            else:
                jobs.put(line)
        jobs.put(None)
        stopped.set()

    def send(kind: str, **values: Any) -> None:
        try:
            output.write(json.dumps({"kind": kind, **values}) + "\n")
            output.flush()
        except OSError:  # nobody listens: the parent is gone
            os._exit(1)

    def on_epoch(state: LoopState) -> None:
        send("epoch", epoch=asdict(state.latest()))

    def on_write() -> None:
        if stopped.is_set():
            send("kept")

    # A scheduler that ends a job may signal every process of it, not only the first.
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())

    threading.Thread(target=listen, daemon=True).start()
    while (line := jobs.get()) is not None:
        try:
            order = json.loads(line)
            job = TrainingJob.from_json(order["job"])
            path, every = order["checkpoint"], order["every"]
            keeper = None if path is None else JobKeeper(Path(path), job, every, on_write)
            model, history = perform(job, data, on_epoch, stopped.is_set, keeper)
            weights = model.state_dict()
            if keeper is not None:
                keeper.finish(history, weights)
        except GatewrightError as error:
            send("error", message=str(error))
            continue
        encoded = base64.b64encode(save(weights)).decode()
        send("done", history=history.to_json(), weights=encoded)


if __name__ == "__main__":
    main()
