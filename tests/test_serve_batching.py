"""The queue of the server: batches of what waits, in order, bounded, and no request lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from gatewright.serve.batching import Batcher
from gatewright.serve.refusal import Refusal


@dataclass(frozen=True)
class Number:
    """A number that is doubled; -1 is refused, and 1300 is a bug."""

    value: int
    key: Any = None
    steps: int = 1


class Doubling:
    """Doubles numbers once it may, and records the batches."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, batch: Sequence[Number]) -> list[Any]:
        self.may.wait(10)
        values = [number.value for number in batch]
        self.batches.append(values)
        if 1300 in values:
            raise RuntimeError("a bug")
        return [Refusal(422, "no -1") if value == -1 else 2 * value for value in values]


def answers(numbers: Sequence[Number], **options: Any) -> tuple[list[Any], list[list[int]]]:
    """Ask for numbers while the first is held up; the answers and the batches."""
    double = Doubling()
    batcher = Batcher(double, **{"max_waiting": 100, "max_steps": 100, "name": "test", **options})

    async def ask_all() -> list[Any]:
        tasks = [asyncio.create_task(batcher.ask(Number(0, key="first")))]
        await asyncio.sleep(0)
        while batcher.waiting:  # the thread takes the first alone
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(batcher.ask(number)) for number in numbers]
        await asyncio.sleep(0)
        double.may.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(ask_all())
    batcher.close()
    assert not batcher._thread.is_alive()
    return results[1:], double.batches[1:]


def test_what_arrives_meanwhile_is_one_batch_in_its_order() -> None:
    results, batches = answers([Number(k, key=k) for k in range(1, 30)])
    assert results == [2 * k for k in range(1, 30)]
    assert batches == [list(range(1, 30))]


def test_work_with_the_same_key_is_never_in_one_batch() -> None:
    results, batches = answers([Number(k, key=k % 3) for k in range(1, 8)])
    assert results == [2 * k for k in range(1, 8)]
    assert batches == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_batch_has_a_limit_by_its_longest_work() -> None:
    steps = [1, 1, 50, 1, 200, 1]
    _, batches = answers([Number(k, key=k, steps=count) for k, count in enumerate(steps)])
    # Two of length 50 fit into 100; 200 is too long for any company, and goes alone.
    assert batches == [[0, 1], [2, 3], [4], [5]]


def test_a_full_queue_refuses_and_answers_the_others() -> None:
    results, _ = answers([Number(k, key=k) for k in range(1, 6)], max_waiting=3)
    assert results[:3] == [2, 4, 6]
    for refusal in results[3:]:
        assert isinstance(refusal, Refusal) and refusal.status == 503
        assert refusal.retry_after == 1 and "3 requests wait already" in str(refusal)


def test_an_error_is_that_of_its_own_request() -> None:
    results, _ = answers([Number(1, key=1), Number(-1, key=2), Number(3, key=3)])
    assert [results[0], results[2]] == [2, 6]
    assert isinstance(results[1], Refusal)


def test_a_bug_fails_its_batch_and_the_thread_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    results, batches = answers([Number(1300, key=0), Number(1, key=1), Number(5, key=1)])
    assert [result.status for result in results[:2]] == [500, 500] and results[2] == 10
    assert caplog.text.count("RuntimeError: a bug") == 1 and "batch of 2 test" in caplog.text
    assert batches == [[1300, 1], [5]]


def test_the_end_answers_what_waits_and_refuses_the_rest() -> None:
    double = Doubling()
    double.may.set()
    batcher = Batcher(double, max_waiting=9, max_steps=9, name="test")

    async def end() -> int:
        waiting = asyncio.create_task(batcher.ask(Number(4)))
        await asyncio.sleep(0)
        await asyncio.to_thread(batcher.close)
        with pytest.raises(Refusal, match="the server stops"):
            await batcher.ask(Number(5))
        return await waiting

    assert asyncio.run(end()) == 8
    batcher.close()  # again, without harm


def test_a_client_that_has_gone_holds_nobody_up() -> None:
    double = Doubling()
    batcher = Batcher(double, max_waiting=9, max_steps=9, name="test")

    async def leave() -> int:
        gone = asyncio.create_task(batcher.ask(Number(1, key=1)))
        stays = asyncio.create_task(batcher.ask(Number(2, key=2)))
        await asyncio.sleep(0)
        gone.cancel()
        double.may.set()
        return await stays

    assert asyncio.run(leave()) == 4
    batcher.close()
