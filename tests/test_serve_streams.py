"""Streams of a served model: exact, separate, bounded, and continued after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewright.designs.design import DESIGNS
from gatewright.errors import ArgumentError, ModelError
from gatewright.layers.saving import load
from gatewright.serve.limits import Limits
from gatewright.serve.refusal import Refusal
from gatewright.serve.saved_streams import FILE
from gatewright.serve.service import Service
from gatewright.serve.streamed_model import StreamedModel
from gatewright.serve.streams import OpenStreams, StreamWork
from served_models import PROSE, model_of, rows, saved

#: The layer computes a stream as it computes a sequence; the read-out's product is another size.
LIMIT = 1e-6


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of tags."""
    return saved("tag", tmp_path_factory.mktemp("model"))


def using(service: Service, work: Callable[[Service], Awaitable[Any]]) -> Any:
    """The result of work with a service, which ends with it."""

    async def run() -> Any:
        async with service:
            return await work(service)

    return asyncio.run(run())


def sequences(count: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [
        draw.normal(size=(int(draw.integers(1, 12)), 2)).astype(np.float32) for _ in range(count)
    ]


async def stream_of(service: Service, sequence: np.ndarray, seed: int) -> list[list[float]]:
    """Send a sequence in messages of one to three events; the probabilities after each event."""
    draw = np.random.default_rng(seed)
    stream = service.streams().open()
    answers: list[list[float]] = []
    start = 0
    while start < len(sequence):
        end = start + int(draw.integers(1, 4))
        message = {"events": sequence[start:end].tolist()}
        answer = await service.send(stream, message)
        answers += answer["probabilities"]
        assert answer["step"] == len(answers)
        start = end
    return answers


@pytest.mark.parametrize("kind", ["tag", "classify", "ensemble tag"])
def test_a_thousand_streams_are_separate(kind: str, tmp_path: Path) -> None:
    """All at once, in messages of different lengths: each is answered as if it were alone."""
    directory = saved(kind, tmp_path)
    events = sequences(1000)
    service = Service(directory)

    async def all_at_once(service: Service) -> list[list[list[float]]]:
        return await asyncio.gather(
            *(stream_of(service, sequence, k) for k, sequence in enumerate(events))
        )

    answers = using(service, all_at_once)
    assert max(service.status()["batches"]) >= 256
    model = load(directory)
    if kind == "classify":  # a classification has its answer after the last event
        last = np.array([answer[-1] for answer in answers])
        np.testing.assert_allclose(last, model.predict(events), atol=LIMIT)
        return
    for answer, expected in zip(answers, model.predict(events), strict=True):
        np.testing.assert_allclose(answer, expected, atol=LIMIT)


def test_predictions_and_streams_at_once_do_not_touch(directory: Path) -> None:
    """Two threads compute with one model."""
    events = sequences(60)
    tables = [rows("tag", seed).encode() for seed in range(20)]

    async def together(service: Service) -> Any:
        predictions = asyncio.gather(*(service.predict(table, "text/csv", {}) for table in tables))
        streams = (stream_of(service, sequence, k) for k, sequence in enumerate(events))
        return await asyncio.gather(*streams), await predictions

    async def alone(service: Service) -> Any:
        streams = [await stream_of(service, sequence, k) for k, sequence in enumerate(events)]
        return streams, [await service.predict(table, "text/csv", {}) for table in tables]

    limits = Limits(max_waiting=len(tables))
    streams, predictions = using(Service(directory, limits=limits), together)
    expected_streams, expected_predictions = using(Service(directory), alone)
    assert predictions == expected_predictions
    for answers, expected in zip(streams, expected_streams, strict=True):
        np.testing.assert_allclose(answers, expected, atol=LIMIT)


@pytest.mark.parametrize("kind", ["text", "bytes text", "counted text", "ensemble counted text"])
def test_texts_cost_as_many_bits_as_a_prediction_says(kind: str, tmp_path: Path) -> None:
    directory = saved(kind, tmp_path)
    texts = [PROSE[start : start + 20 + start] for start in range(12)]

    async def read(service: Service) -> list[list[list[float]]]:
        async def stream(text: str) -> list[list[float]]:
            opened = service.streams().open()
            parts = text[:3], text[3:4], text[4:]
            answers = [await service.send(opened, {"text": part}) for part in parts]
            return [row for answer in answers for row in answer["probabilities"]]

        return await asyncio.gather(*map(stream, texts))

    service = Service(directory)
    model: Any = load(directory)
    for text, probabilities in zip(texts, using(service, read), strict=True):
        codes = model.task.encode(text.encode() if kind == "bytes text" else text)
        bits = -np.log2([row[code] for row, code in zip(probabilities, codes[1:], strict=False)])
        content: Any = text.encode() if kind == "bytes text" else text
        np.testing.assert_allclose(bits, model.predict(content), atol=1e-4)


def test_a_stream_is_continued_after_a_restart_and_by_no_other_model(tmp_path: Path) -> None:
    directory, states = saved("counted text", tmp_path), tmp_path / "states"

    async def begin(service: Service) -> list[str]:
        streams = [service.streams().open() for _ in range(3)]
        for stream, text in zip(streams, ("a quick ", "", "brown"), strict=True):
            await service.send(stream, {"text": text})
        service.streams().close(service.streams().open())
        return [stream.id for stream in streams]

    ids = using(Service(directory, states=states), begin)

    async def resume(service: Service) -> list[Any]:
        streams = [service.streams().find(id) for id in ids]
        assert [stream.step for stream in streams] == [8, 0, 5] and len(service.streams()) == 3
        answers = [await service.send(stream, {"text": "fox"}) for stream in streams]
        return [answer["probabilities"] for answer in answers]

    resumed = using(Service(directory, states=states), resume)

    async def whole(service: Service) -> list[Any]:
        streams = service.streams()
        answers = [
            await service.send(streams.open(), {"text": text})
            for text in ("a quick fox", "fox", "brownfox")
        ]
        return [answer["probabilities"][-3:] for answer in answers]

    expected = using(Service(directory), whole)
    np.testing.assert_allclose(resumed, expected, atol=LIMIT)

    before = (states / FILE).read_bytes()
    with pytest.raises(ModelError, match="streams of another model"):
        Service(saved("text", tmp_path), states=states)
    with pytest.raises(ArgumentError, match="3 streams were saved"):
        Service(directory, states=states, limits=Limits(max_streams=2))
    assert (states / FILE).read_bytes() == before
    (states / FILE).write_bytes(before[:-7])
    with pytest.raises(ModelError, match="is damaged"):
        Service(directory, states=states)


def test_a_server_that_ends_under_load_saves_what_it_has_answered(
    directory: Path, tmp_path: Path
) -> None:
    """Each stream goes on at the event after its last answer, with the state of that moment."""
    events = np.random.default_rng(3).normal(size=(40, 500, 2)).astype(np.float32)
    answered: dict[str, list[list[float]]] = {}

    async def send(service: Service, id: str, sequence: np.ndarray, most: int) -> None:
        stream = service.streams().find(id)
        assert stream.step == len(answered[id])
        for event in sequence[stream.step : stream.step + most].tolist():
            try:
                answer = await service.send(stream, {"events": [event]})
            except Refusal as refusal:
                assert refusal.status == 503
                return
            answered[id] += answer["probabilities"]

    async def begin(service: Service) -> list[asyncio.Task[None]]:
        ids = [service.streams().open().id for _ in events]
        answered.update({id: [] for id in ids})
        sends = [
            asyncio.create_task(send(service, id, sequence, 500))
            for id, sequence in zip(ids, events, strict=True)
        ]
        while min(map(len, answered.values())) < 5:
            await asyncio.sleep(0)
        return sends  # which go on while the service ends

    async def end_under_load() -> None:
        async with Service(directory, states=tmp_path) as service:
            sends = await begin(service)
        await asyncio.gather(*sends)

    asyncio.run(end_under_load())
    steps = [len(answers) for answers in answered.values()]
    assert min(steps) >= 5 and max(steps) < 500

    async def go_on(service: Service) -> None:
        pairs = zip(answered, events, strict=True)
        await asyncio.gather(*(send(service, id, sequence, 3) for id, sequence in pairs))

    using(Service(directory, states=tmp_path), go_on)
    model = load(directory)
    for answers, sequence, before in zip(answered.values(), events, steps, strict=True):
        assert len(answers) == before + 3
        np.testing.assert_allclose(answers, model.predict([sequence[: before + 3]])[0], atol=LIMIT)


def test_a_folder_of_states_is_for_one_server(tmp_path: Path) -> None:
    directory, states = saved("tag", tmp_path), tmp_path / "states"
    service = Service(directory, states=states)
    with pytest.raises(ArgumentError, match="another server saves"):
        Service(directory, states=states)
    service.close()
    Service(directory, states=states).close()
    assert states.stat().st_mode & 0o077 == 0  # an id opens its stream


def test_streams_are_saved_at_intervals(tmp_path: Path) -> None:
    directory, states = saved("tag", tmp_path), tmp_path / "states"

    async def wait(service: Service) -> bool:
        await service.send(service.streams().open(), {"events": [[1, 2]]})
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if (states / FILE).exists():
                return True
        return False

    assert using(Service(directory, states=states, save_every_s=0.02), wait)


def test_a_full_disk_keeps_the_file_before(tmp_path: Path, monkeypatch: Any) -> None:
    directory, states = saved("tag", tmp_path), tmp_path / "states"

    async def read(service: Service) -> None:
        await service.send(service.streams().open(), {"events": [[1, 2]]})

    using(Service(directory, states=states), read)
    before = (states / FILE).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    service = Service(directory, states=states)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArgumentError, match="No space left"):
        using(service, read)
    assert (states / FILE).read_bytes() == before
    assert [path.name for path in states.iterdir()] == [FILE]


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_stream_that_nobody_uses_is_freed_and_a_held_one_is_not(tmp_path: Path) -> None:
    model = StreamedModel(model_of("tag", tmp_path))
    clock = Clock()
    streams = OpenStreams(model, Limits(max_streams=3, keep_s=60), clock)
    unused, used, held = streams.open(), streams.open(), streams.open()
    streams.hold(held, "a connection")
    clock.now += 40
    with pytest.raises(Refusal, match="3 streams are open") as full:
        streams.open()
    assert (full.value.status, full.value.retry_after) == (429, 20)
    assert streams.find(used.id) is used
    clock.now += 21
    with pytest.raises(Refusal, match="there is no stream") as missing:
        streams.find(unused.id)
    assert missing.value.status == 404
    later = streams.open()
    assert later.row == unused.row and later.id != unused.id
    clock.now += 1000
    streams.free_unused()
    assert len(streams) == 1 and streams.find(held.id) is held
    streams.release(held, "another connection")
    clock.now += 1000
    assert streams.find(held.id)  # the hold is still that of the first connection
    streams.release(held, "a connection")
    clock.now += 61
    streams.free_unused()
    assert len(streams) == 0


def test_a_row_that_is_used_again_starts_anew(tmp_path: Path) -> None:
    """Also where the last message of the stream before is computed after its end."""
    model = StreamedModel(model_of("tag", tmp_path))
    streams = OpenStreams(model, Limits(max_streams=1))
    events = model.read({"events": [[3, -4], [1, 1]]}, most=9)
    first = streams.open()
    (fresh,) = streams.do([StreamWork(first, events)])
    streams.close(first)
    second = streams.open()
    assert second.row == first.row
    late, answer = streams.do([StreamWork(first, events)]) + streams.do(
        [StreamWork(second, events)]
    )
    assert isinstance(late, Refusal) and late.status == 404
    np.testing.assert_array_equal(answer.probabilities, fresh.probabilities)
    (again,) = streams.do([StreamWork(second, events)])
    assert np.abs(again.probabilities - fresh.probabilities).max() > 1e-4
    (reset,) = streams.do([StreamWork(second, events, reset=True)])
    np.testing.assert_array_equal(reset.probabilities, fresh.probabilities)
    assert (again.step, reset.step) == (4, 2)


def test_an_answer_that_is_no_number_leaves_the_stream_as_it_was(tmp_path: Path) -> None:
    model = StreamedModel(model_of("tag", tmp_path))
    streams = OpenStreams(model, Limits())
    good, bad = streams.open(), streams.open()
    events = model.read({"events": [[0.5, 2]]}, most=9)
    streams.do([StreamWork(good, events), StreamWork(bad, events)])
    model.model.scale.fill_(1e-30)  # the largest numbers are infinite then
    huge = model.read({"events": [[0.5, 2], [3e38, 3e38]]}, most=9)
    answer, refusal = streams.do([StreamWork(good, events), StreamWork(bad, huge)])
    assert isinstance(refusal, Refusal) and refusal.status == 422 and bad.step == 1
    assert answer.step == 2 and np.isfinite(answer.probabilities).all()
    model.model.scale.fill_(1.0)
    model.model.mean.fill_(0.0)
    (after,) = streams.do([StreamWork(bad, events)])
    assert after.step == 2 and np.isfinite(after.probabilities).all()


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"events": [[1, 2, 3]]}, "event 0 is [1, 2, 3]; expected a list of 2 numbers"),
        ({"events": [[1, 2], [1]]}, "event 1 is [1]; expected a list of 2 numbers"),
        ({"events": [[1, "2"]]}, 'event 0 has "2"; expected finite numbers'),
        ({"events": [[1, True]]}, "event 0 has true; expected finite numbers"),
        ({"events": [[1, None]]}, "event 0 has null; expected finite numbers"),
        ({"events": [[1, [2]]]}, "event 0 has [2]; expected finite numbers"),
        ({"events": [[1, 1e39]]}, "event 0 has 1e+39; expected finite numbers"),
        ({"events": [[1, 10**400]]}, "expected finite numbers"),
        ({"events": [{"force": 1, "angel": 2}]}, "an object by channel: force, angle"),
        ({"events": {"force": 1}}, '"events" is {"force": 1}; expected a list of events'),
        ({"events": [[1, 2]] * 300}, "has 300 events; expected at most 256"),
        ({"event": [1, 2]}, "the message has 'event'; expected \"events\""),
        ({"text": "a"}, "the message has 'text'; expected \"events\""),
        ({"events": [[1, 2]], "reset": 1}, '"reset" is no truth value'),
        ([[1, 2]], "the message is no object"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused(
    message: Any, problem: str, directory: Path
) -> None:
    async def send(service: Service) -> None:
        stream = service.streams().open()
        await service.send(stream, {"events": [[1, 2]]})
        with pytest.raises(Refusal) as refusal:
            await service.send(stream, message)
        assert problem in str(refusal.value) and refusal.value.status == 422
        assert stream.step == 1
        named = await service.send(stream, {"events": [{"angle": 2, "force": 1}], "reset": True})
        listed = await service.send(stream, {"events": [[1, 2]], "reset": True})
        assert named == listed and named["step"] == 1

    using(Service(directory), send)


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("forecast", {}, "a forecast reads a whole window of past steps"),
        ("classify", {"design": DESIGNS["both-ways"]}, "it needs a whole sequence"),
        ("classify", {"network": "window"}, "has no recurrent layer"),
    ],
)
def test_a_model_without_streams_gives_the_reason(
    kind: str, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    directory = saved(kind, tmp_path, **options)
    with pytest.raises(ArgumentError, match=r"leave states=.* out; the model has no streams"):
        Service(directory, states=tmp_path / "states")
    service = Service(directory)
    with pytest.raises(Refusal, match=reason) as refusal:
        service.streams()
    assert refusal.value.status == 409 and "/predict" in str(refusal.value)
    assert not service.about()["streams"]
    json.dumps(service.about())
    service.close()
