"""A process that performs runs: one JSON line in asks for one, JSON lines out tell of it.

Before the first line it is given the data to learn from (`gatewright.training.processes.wire`).

It is started by `gatewright.training.processes.pool` with `python -m`, not by
multiprocessing, so that a plain script or a notebook can compare networks without
`if __name__ == "__main__"`, and nothing is pickled. The line `stop` ends the run at hand
early, with the best weights so far. It ends when its input does: whoever started it is gone.
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
from typing import Any

import torch
from safetensors.torch import save

from gatewright.errors import GatewrightError
from gatewright.training.job import Run, perform
from gatewright.training.loop import History
from gatewright.training.processes.wire import receive

#: The line that asks for an early end.
STOP = b"stop\n"


def main() -> None:
    """Perform the runs that arrive, one after the other, on one thread."""
    # Ctrl-C is for the one who started us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    # What others may print must not get between the lines that are the answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        data = receive(sys.stdin.buffer)
    except EOFError:
        return
    asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def listen() -> None:
        for line in sys.stdin.buffer:
            if line == STOP:
                stopped.set()
            else:
                asked.put(line)
        asked.put(None)
        stopped.set()

    def tell(kind: str, **told: Any) -> None:
        try:
            answers.write(json.dumps({"kind": kind, **told}) + "\n")
            answers.flush()
        except OSError:  # nobody listens any more: whoever started us is gone
            os._exit(1)

    def on_epoch(history: History) -> None:
        tell("epoch", epoch=len(history.train_loss), loss=history.train_loss[-1])

    threading.Thread(target=listen, daemon=True).start()
    while (line := asked.get()) is not None:
        try:
            run = Run.from_json(json.loads(line))
            model, history = perform(run, data, on_epoch, stopped.is_set)
        except GatewrightError as error:
            tell("error", message=str(error))
            continue
        weights = base64.b64encode(save(model.state_dict())).decode()
        tell("done", history=asdict(history), weights=weights)


if __name__ == "__main__":
    main()
