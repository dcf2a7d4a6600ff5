"""Batches of work: what arrives while a batch is computed is the next batch.

The event loop never computes: it hands work to a thread and awaits the answer. The queue between
the two is bounded, and nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gatewright.serve.refusal import FAILED, RETRY_SOON, Refusal

log = logging.getLogger("gatewright.serve")


class Work(Protocol):
    """A piece of work that may share a batch with others."""

    @property
    def key(self) -> Hashable:
        """Work with the same key never shares a batch, and is done in the order of arrival."""

    @property
    def steps(self) -> int:
        """The length of the work; a batch is as long as its longest work."""


Item = TypeVar("Item", bound=Work)


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    """Work in the queue, and the future that its answer resolves."""

    item: Item
    answer: asyncio.Future[Any]


class Batcher(Generic[Item]):
    """A thread that does the work that waits, a batch at a time.

    Args:
        do: Does a batch of work and returns the answers in its order. An exception among the
            answers is raised for its own work only.
        max_waiting: Work that may wait; more is refused.
        max_steps: Limit of (longest work × number of works) in a batch, which bounds its memory
            and the time that the next batch waits. Longer work is a batch of its own.
    """

    def __init__(
        self,
        do: Callable[[list[Item]], Sequence[Any]],
        *,
        max_waiting: int,
        max_steps: int,
        name: str,
    ) -> None:
        self.max_waiting = max_waiting
        #: Batches that were computed, by their size rounded up to a power of two.
        self.sizes: Counter[int] = Counter()
        self._do, self._max_steps = do, max_steps
        self._waiting: deque[_Waiting[Item]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # A daemon, so that a process that is told twice to stop does not wait for a batch.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Work in the queue."""
        return len(self._waiting)

    async def ask(self, item: Item) -> Any:
        """The answer to a piece of work; ask from one event loop only.

        Raises:
            Refusal: 503, if the queue is full or the server stops.
        """
        answer = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server stops; ask again later", retry_after=RETRY_SOON)
            if len(self._waiting) >= self.max_waiting:
                raise Refusal(
                    503,
                    f"{self.max_waiting} requests wait already, the most that this server queues; "
                    "ask again later",
                    retry_after=RETRY_SOON,
                )
            self._waiting.append(_Waiting(item, answer))
            self._changed.notify()
        return await answer

    def close(self, wait_s: float | None = None) -> None:
        """Refuse new work, and wait until the thread has done what waits, or `wait_s` are over."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(wait_s)

    def _work(self) -> None:
        while batch := self._next_batch():
            self.sizes[1 << (len(batch) - 1).bit_length()] += 1
            try:
                answers = self._do([waiting.item for waiting in batch])
            except Exception:  # a bug: these requests fail, and the server lives on
                log.exception("a batch of %d %s failed", len(batch), self._thread.name)
                answers = [Refusal(500, FAILED)] * len(batch)
            # A single call for the whole batch, since each wakes the loop up through a pipe.
            with suppress(RuntimeError):  # the loop is closed: nobody waits for the answers
                loop = batch[0].answer.get_loop()
                loop.call_soon_threadsafe(_resolve, [entry.answer for entry in batch], answers)

    def _next_batch(self) -> list[_Waiting[Item]]:
        """Wait for work; nothing is returned when the queue is closed and empty."""
        batch: list[_Waiting[Item]] = []
        keys: set[Hashable] = set()
        longest = 0
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            while self._waiting:
                item = self._waiting[0].item
                longest = max(longest, item.steps)
                full = longest * (len(batch) + 1) > self._max_steps
                if batch and (full or item.key in keys):
                    break
                keys.add(item.key)
                batch.append(self._waiting.popleft())
        return batch


def _resolve(futures: list[asyncio.Future[Any]], answers: Sequence[Any]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # cancelled: the client has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
