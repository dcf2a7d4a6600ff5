"""Load a server with streams: events a second, the latency that clients see, sizes of batches.

    python benchmarks/serve_load.py
    python benchmarks/serve_load.py --model runs/wake --streams 1,100 --seconds 10

Each stream sends an event and waits for the answer before the next, over a WebSocket of its own or
by POST requests, whose client takes longer than the server. "service" is the same without HTTP, in
one process: the difference is the price of the connections. The points are measured in turns, so
that a slower minute of the machine hits all of them; a row has the median over the rounds and the
range. Before that, a few streams are compared with the model. Clients and server share the machine:
the client has a process and so a core of its own.

The figures are stored in `benchmarks/results/serve-DATE.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from websockets.asyncio.client import connect

import gatewright as gw
from gatewright.bench.machine import machine
from gatewright.data.containers.tagged import Tagged
from gatewright.designs.design import PLAIN
from gatewright.serve.limits import Limits
from gatewright.serve.service import Service
from gatewright.tasks.tag import Tag
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS

RESULTS = Path(__file__).parent / "results"
#: Sends one event to a stream and returns the answer.
Send = Callable[[list[float]], Awaitable[dict[str, Any]]]
#: Events that a stream is verified on, and the largest difference of a probability.
VERIFIED_EVENTS, MAX_DIFFERENCE = 20, 1e-5
#: Streams that are opened at the same time, so that no handshake waits too long.
OPENED_AT_ONCE = 50


def main() -> None:
    """Verify, measure all points in turns, print a line for each, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a model of tags (default: an untrained GRU)")
    parser.add_argument("--hidden", type=int, default=64, help="units of the untrained GRU (64)")
    parser.add_argument("--streams", default="1,10,100,1000", help="comma-separated")
    parser.add_argument("--ways", default="socket,post,service", help="comma-separated")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each point (5)")
    options = parser.parse_args()
    counts = [int(count) for count in options.streams.split(",")]
    points = [(way, count) for count in counts for way in options.ways.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        directory = options.model or untrained(options.hidden, Path(folder))
        rounds: dict[tuple[str, int], list[dict[str, Any]]] = {point: [] for point in points}
        with serving(directory, max(counts)) as url:
            asyncio.run(verify(url, directory))
            for number in range(options.rounds):
                for way, count in points:
                    print(f"round {number + 1}: {count} streams, {way}", file=sys.stderr)
                    measured = asyncio.run(measure(way, url, directory, count, options.seconds))
                    rounds[way, count].append(measured)
    rows = [
        {"way": way, "streams": count, **summary(measured), "rounds": measured}
        for (way, count), measured in rounds.items()
    ]
    for row in rows:
        print(line_of(row))
    settings = {name: str(value) for name, value in vars(options).items()}
    path = RESULTS / f"serve-{date.today()}.json"
    figures = {"machine": machine(), "settings": settings, "rows": rows}
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(path)


def untrained(hidden: int, folder: Path) -> Path:
    """A model that tags events of four channels with three classes."""
    draw = np.random.default_rng(0)
    sequences = tuple(draw.normal(size=(50, 4)).astype(np.float32) for _ in range(6))
    data = Tagged(sequences, tuple(draw.integers(0, 3, size=50) for _ in range(6)), ("a", "b", "c"))
    task = Tag.of(data)
    torch.manual_seed(0)
    model = Model(task, "gru", NETWORKS["gru"].build(task, hidden, PLAIN))
    model.fit_scaling(data)
    return gw.save(model, folder / "model")


@contextmanager
def serving(directory: Path, streams: int) -> Iterator[str]:
    """The URL of a server in a process of its own."""
    command = [sys.executable, "-m", "gatewright", "serve", str(directory), "--port", "0"]
    # Streams of the round before may not have been freed yet.
    command += ["--max-streams", str(2 * streams + 100), "--keep", "5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


async def verify(url: str, directory: Path) -> None:
    """Compare a few streams, read at once, with the model's own answers."""
    model = gw.load(directory)
    draw = np.random.default_rng(1)
    shape = (7, VERIFIED_EVENTS, model.task.inputs)
    events = draw.normal(size=shape).astype(np.float32)
    async with AsyncExitStack() as stack:
        sends = await opened("socket", url, None, len(events), stack)

        async def read(send: Send, sequence: list[list[float]]) -> list[list[float]]:
            return [(await send(event))["probabilities"][0] for event in sequence]

        answers = await asyncio.gather(*map(read, sends, events.tolist()))
    difference = np.abs(np.array(answers) - np.array(model.predict(events))).max()
    if not difference <= MAX_DIFFERENCE:
        sys.exit(f"the server's answers differ from the model's by {difference}: nothing is timed")


async def measure(
    way: str, url: str, directory: Path, count: int, seconds: float
) -> dict[str, Any]:
    """Let `count` streams send events for some seconds; events a second, latencies, batches."""
    async with AsyncExitStack() as stack:
        service = None
        if way == "service":
            limits = Limits(max_streams=count)
            service = await stack.enter_async_context(Service(directory, limits=limits))
        sends = await opened(way, url, service, count, stack)
        inputs = gw.load(directory).task.inputs
        event = np.random.default_rng(2).normal(size=inputs).tolist()
        for send in sends:  # the first event of each is not timed
            await send(event)
        before = await batches(url, service)
        latencies: list[float] = []
        start = time.perf_counter()

        async def load(send: Send) -> None:
            while (sent := time.perf_counter()) < start + seconds:
                await send(event)
                latencies.append(time.perf_counter() - sent)

        await asyncio.gather(*map(load, sends))
        took = time.perf_counter() - start
        sizes = await batches(url, service)
    sizes.subtract(before)
    percentiles = np.percentile(np.array(latencies) * 1e3, [50, 95, 99]).round(3).tolist()
    return {
        "events_per_second": round(len(latencies) / took, 1),
        "latency_ms": dict(zip(("p50", "p95", "p99"), percentiles, strict=True)),
        "batches": {size: number for size, number in sorted(sizes.items()) if number},
    }


async def opened(
    way: str, url: str, service: Service | None, count: int, stack: AsyncExitStack
) -> list[Send]:
    """Open streams; functions that send an event to each."""
    client = httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None))
    await stack.enter_async_context(client)

    async def open_one() -> Send:
        if service is not None:
            stream = service.streams().open()
            return lambda event: service.send(stream, {"events": [event]})
        if way == "post":
            id = (await client.post("/streams")).json()["id"]

            async def post(event: list[float]) -> Any:
                return (await client.post(f"/streams/{id}", json={"events": [event]})).json()

            return post
        address = f"ws{url.removeprefix('http')}/stream"
        connection = connect(address, compression=None, open_timeout=60)
        socket = await stack.enter_async_context(connection)
        await socket.recv()

        async def send(event: list[float]) -> Any:
            await socket.send(json.dumps({"events": [event]}))
            return json.loads(await socket.recv())

        return send

    sends: list[Send] = []
    while len(sends) < count:
        some = min(OPENED_AT_ONCE, count - len(sends))
        sends += await asyncio.gather(*(open_one() for _ in range(some)))
    return sends


async def batches(url: str, service: Service | None) -> Counter[int]:
    """Batches that were computed, by their size rounded up to a power of two."""
    if service is not None:
        return Counter(service.status()["batches"])
    async with httpx.AsyncClient(base_url=url) as client:
        sizes = (await client.get("/status")).json()["batches"]
    return Counter({int(size): number for size, number in sizes.items()})


def summary(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and range over the rounds."""
    rates = [figures["events_per_second"] for figures in measured]
    return {
        "events_per_second": [statistics.median(rates), min(rates), max(rates)],
        **{
            f"latency_ms_{level}": statistics.median(
                figures["latency_ms"][level] for figures in measured
            )
            for level in ("p50", "p95", "p99")
        },
    }


def line_of(row: dict[str, Any]) -> str:
    """A row for the screen."""
    median, low, high = row["events_per_second"]
    sizes: Counter[int] = sum((Counter(figures["batches"]) for figures in row["rounds"]), Counter())
    typical = max(sizes, key=lambda size: size * sizes[size]) if sizes else 0
    return (
        f"{row['streams']:5} streams, {row['way']:7}: {median:8.0f} events/s ({low:.0f} to "
        f"{high:.0f}), latency {row['latency_ms_p50']:.2f} ms, 95 %: {row['latency_ms_p95']:.2f}, "
        f"99 %: {row['latency_ms_p99']:.2f}; most events in batches of up to {typical}"
    )


if __name__ == "__main__":
    main()
