"""Worker processes that answer requests side by side, and may crash or hang.

A process that dies is the failure of its request, and a new one takes its place.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from gatewright.processes import ending, module_command, module_environment

WORKER = "gatewright.proving.worker"

Request = Mapping[str, Any]
Answer = dict[str, Any]


class Crew:
    """Some processes that share requests. Use it with `with`: at the end all are killed.

    Args:
        processes: How many answer at the same time.
        limit: Seconds for one request, after which its process is killed.
        environment: Variables for the processes.
    """

    def __init__(self, processes: int, limit: float, **environment: str) -> None:
        self.processes = processes
        self.limit = limit
        self.environment = environment
        self.closed = False
        self.alive: set[subprocess.Popen[str]] = set()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        for process in list(self.alive):
            process.kill()

    def answers(self, requests: Sequence[Request], end: float) -> Iterator[tuple[int, Answer]]:
        """Yield the position of each request and its answer, as they come.

        Requests that are not answered when the time is over have no answer.

        Args:
            end: The end of the time, as `time.monotonic` counts it.
        """
        waiting: SimpleQueue[tuple[int, Request]] = SimpleQueue()
        for numbered in enumerate(requests):
            waiting.put(numbered)
        ready: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
        count = min(self.processes, len(requests))
        threads = [
            threading.Thread(target=self._serve, args=(waiting, ready), daemon=True)
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        for _ in requests:
            try:
                yield ready.get(timeout=max(end - time.monotonic(), 0.001))
            except Empty:
                return

    def _serve(
        self,
        waiting: SimpleQueue[tuple[int, Request]],
        ready: SimpleQueue[tuple[int, Answer]],
    ) -> None:
        """Answer requests, in one process after another, until there are none."""
        while not self.closed:
            with tempfile.TemporaryFile("w+") as errors:
                process = subprocess.Popen(
                    module_command(WORKER),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=module_environment(**self.environment),
                )
                self.alive.add(process)
                try:
                    while not self.closed:
                        position, request = waiting.get_nowait()
                        reply = self._ask(process, request)
                        if reply is None:
                            code = process.wait()
                            errors.seek(0)
                            reply = {"failure": f"its process {ending(code, errors.read())}"}
                        ready.put((position, reply))
                        if "failure" in reply:
                            break
                except Empty:
                    return
                finally:
                    self._end(process)

    def _ask(self, process: subprocess.Popen[str], request: Request) -> Answer | None:
        """The answer of a process, or None if it died; it is killed at the limit."""
        assert process.stdin and process.stdout
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.limit, end)
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:  # it died before it could read
            line = ""
        finally:
            timer.cancel()
        if late.is_set():
            return {"failure": f"it did not end within {self.limit:.0f} seconds"}
        return dict(json.loads(line)) if line.endswith("\n") else None

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe
            with contextlib.suppress(OSError):  # what it has not read is lost
                pipe.close()
        self.alive.discard(process)
