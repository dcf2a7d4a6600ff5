"""`gatewright serve` over HTTP: what users send and get, and what is refused and how."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from typer.testing import CliRunner
from websockets.asyncio.client import ClientConnection, connect

import gatewright as gw
from example_count import example_count
from gatewright import cli
from gatewright.errors import ArgumentError
from gatewright.serve.app import guarded_app
from gatewright.serve.limits import Limits
from gatewright.serve.security import LOOPBACK_NAMES, check_access
from gatewright.serve.server import allow_files, listening, server_of, url_of
from gatewright.serve.service import Service
from served_models import PROSE, rows, saved

PAGE = Path(__file__).parent.parent / "docs" / "serve.md"
CURL = shutil.which("curl")
CSV = {"Content-Type": "text/csv"}
JSON = {"Content-Type": "application/json"}
TOKEN = "a-secret-of-enough-characters"


@contextmanager
def running(
    directory: Path,
    *,
    token: str | None = None,
    hosts: frozenset[str] | None = LOOPBACK_NAMES,
    states: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    **limits: Any,
) -> Iterator[httpx.Client]:
    """A client of a server that runs in a thread, as `gatewright serve` would run it."""
    service = Service(directory, limits=Limits(**limits), states=states)
    if service.why_not_streamed is None:
        service.streams().clock = clock
    server = server_of(guarded_app(service, token=token, hosts=hosts), service.limits)
    with listening("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            with httpx.Client(base_url=url_of(listener), headers=headers, timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tag(folder: Path) -> Iterator[httpx.Client]:
    with running(saved("tag", folder)) as client:
        yield client


def socket_of(client: httpx.Client, query: str = "", **options: Any) -> Any:
    url = f"ws{str(client.base_url).removeprefix('http')}/stream{query}"
    return connect(url, compression=None, **options)


async def talk(socket: ClientConnection, message: Any) -> Any:
    await socket.send(message if isinstance(message, str) else json.dumps(message))
    return json.loads(await socket.recv())


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """The status, and a message as JSON with these words and no traceback."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["status"] == status and "Traceback" not in error["message"]
    for word in words:
        assert word in error["message"]


# Predictions.
@pytest.mark.parametrize("kind", ["tag", "classify", "forecast"])
def test_predictions_are_those_of_the_command_to_the_last_digit(kind: str, folder: Path) -> None:
    directory, table = saved(kind, folder / "same"), folder / "new.csv"
    text = rows(kind, seed=5)
    table.write_text(text, encoding="utf-8")
    expected = gw.predict(directory, table)
    header, *lines = text.splitlines()
    names = header.split(",")
    records = [dict(zip(names, line.split(","), strict=True)) for line in lines]
    for record in records:
        for name in record.keys() - {"id", "label"}:
            record[name] = float(record[name])
    with running(directory) as client:
        answer = client.post("/predict", content=text, headers={**CSV, "Accept": "text/csv"})
        assert answer.status_code == 200 and answer.text == expected.to_csv()
        for body in (text, json.dumps(records)):
            kind_of_body = CSV if body is text else JSON
            answer = client.post("/predict", content=body, headers=kind_of_body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["columns"] == json.loads(json.dumps(expected.written))
        if kind == "forecast":
            columns = answer.json()["columns"]
            assert len(columns["sold"]) == 3 and {"step", "sold_q10", "sold_q90"} <= set(columns)
            first = client.post("/predict?horizon=1", content=text, headers=CSV).json()
            assert first["columns"]["sold"] == columns["sold"][:1]
            refused(
                client.post("/predict?horizon=9", content=text, headers=CSV), 400, "horizon is 9"
            )
            refused(
                client.post("/predict?horizon=x", content=text, headers=CSV), 400, "horizon is 'x'"
            )
            refused(client.post("/predict", content=f"{header}\n{lines[0]}\n", headers=CSV), 422)
            refused(client.post("/streams"), 409, "a forecast reads a whole window")


def test_a_text_is_predicted_from_plain_text(folder: Path) -> None:
    directory = saved("text", folder)
    with running(directory) as client:
        answer = client.post("/predict", content=PROSE, headers={"Content-Type": "text/plain"})
        bits = gw.load(directory).predict(PROSE)
        assert answer.json()["columns"]["bits"] == bits.tolist()
        refused(client.post("/predict", content=PROSE, headers=CSV), 415, "expected text/plain")
        wrong = client.post("/predict", content="ÄÖ", headers={"Content-Type": "text/plain"})
        refused(wrong, 422, "which the model has not learned")


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        ('[{"id": 1,', JSON, 400, ["is not JSON", "correct it"]),
        ('[{"time": NaN}]', JSON, 400, ["NaN is no value of JSON"]),
        ("[" * 100_000, JSON, 400, ["nested too deeply"]),
        ('{"a": 1}', JSON, 422, ["which is not a table"]),
        ("[3, 4]", JSON, 422, ["the body, record 1 has 3", "expected a list of records"]),
        ("[]", JSON, 422, ["the body has no record"]),
        (b"\xff\xfe\x00", JSON, 400, ["is not JSON"]),
        ("id,time,force\na,1,2\n", CSV, 422, ["the body has", "angle missing"]),
        ("id,time,force,angle\na,1,2,\n", CSV, 422, ["angle"]),
        ("id,time,force,angle\na,1,2,nan\n", CSV, 422, ["angle"]),
        ("id,time,force,angle\na,1,2,x\n", CSV, 422, ["angle"]),
        ("", CSV, 422, ["the body"]),
        ("\0\0\0", CSV, 422, ["the body"]),
        ("id,time,force,angle\na,1,1e300,2\n", CSV, 422, ["too large"]),
        ("x", {"Content-Type": "multipart/form-data"}, 415, ["curl", "--data-binary"]),
        ("x", {}, 415, ["the Content-Type is missing"]),
        ("x", {**CSV, "Content-Encoding": "gzip"}, 415, ["compressed"]),
    ],
)
def test_rows_that_cannot_be_predicted_are_refused(
    tag: httpx.Client, content: Any, headers: dict[str, str], status: int, words: list[str]
) -> None:
    refused(tag.post("/predict", content=content, headers=headers), status, *words)
    assert tag.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?fil=linear", ["no option 'fil'", "did you mean fill?"]),
        ("?fill=cubic", ["fill is 'cubic'", "expected one of"]),
        ("?horizon=2", ["the model's task is tag"]),
        ("?encoding=klingon", ["klingon"]),
        ("?out=/tmp/x.csv", ["no option 'out'"]),
    ],
)
def test_an_option_that_there_is_not_is_refused(
    tag: httpx.Client, query: str, words: list[str]
) -> None:
    refused(tag.post(f"/predict{query}", content=rows("tag"), headers=CSV), 400, *words)


def test_options_are_those_of_the_command(tag: httpx.Client) -> None:
    text = rows("tag").replace("label", "ignored").replace(",b\n", ",\n")
    holes = re.sub(r"(?m)^(s1,3,)[^,]*", r"\1", text)
    answer = tag.post("/predict", content=holes, headers=CSV)
    assert answer.status_code == 200, answer.text
    assert answer.json()["remarks"] == ["1 missing value is interpolated; fill= sets another way"]
    many = re.sub(r"(?m)^(s[12],[^,]*,)[^,]*", r"\1", text)
    refused(tag.post("/predict", content=many, headers=CSV), 422)
    answer = tag.post("/predict?fill=previous&ignore=ignored", content=holes, headers=CSV)
    assert answer.status_code == 200, answer.text
    assert answer.json()["remarks"] == ["1 missing values: previous"]


def test_a_body_is_bounded_in_length_and_time(folder: Path) -> None:
    with running(saved("tag", folder / "bounded"), max_body=400, body_s=0.7) as client:
        long = rows("tag")
        assert len(long) > 400
        refused(client.post("/predict", content=long, headers=CSV), 413, "400 bytes")
        pieces = client.post("/predict", content=iter([long.encode()[:300]] * 9), headers=CSV)
        refused(pieces, 413, "400 bytes")  # without a Content-Length

        def slow() -> Iterator[bytes]:
            yield b"id,time"
            time.sleep(1.2)
            yield b",force"

        refused(client.post("/predict", content=slow(), headers=CSV), 408, "0.7 seconds")


def test_a_client_that_leaves_is_no_failure(
    tag: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\nid,time"
    for request in (head, "GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"):
        with create_connection(("127.0.0.1", tag.base_url.port)) as connection:
            connection.sendall(request.encode())
            time.sleep(0.05)
    assert tag.get("/health").status_code == 200
    assert caplog.text == ""


def test_no_body_makes_the_server_fail(tag: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged rows and messages are read or refused, and leave neither a 500 nor a log."""
    draw = random.Random(0)
    records = [{"id": "a", "time": 0, "force": 0.5, "angle": 2}]
    seeds = [
        ("/predict", CSV, rows("tag").encode()),
        ("/predict", JSON, json.dumps(records).encode()),
        (f"/streams/{tag.post('/streams').json()['id']}", JSON, b'{"events": [[1.5, -2], [3, 4]]}'),
    ]
    statuses: Counter[int] = Counter()
    for _ in range(example_count(60)):
        path, headers, body = draw.choice(seeds)
        damaged = bytearray(body)
        for _ in range(draw.randint(1, 4)):
            start = draw.randrange(len(damaged))
            pieces = (b"", b"nan", b"1e999", b'"', b",", b"[" * 50, b"\xff", b"\0", b"-", b"\n")
            damaged[start : start + draw.randint(0, 3)] = draw.choice(pieces)
        answer = tag.post(path, content=bytes(damaged), headers=headers)
        statuses[answer.status_code] += 1
        if answer.status_code != 200:
            assert answer.json()["error"]["message"]
    assert set(statuses) <= {200, 400, 422} and caplog.text == "", statuses


def test_half_of_a_surrogate_pair_is_no_failure(
    tag: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """JSON can escape it, and UTF-8 cannot encode it: refusals repeat it, answers in CSV cannot."""
    stream = f"/streams/{tag.post('/streams').json()['id']}"
    for message in (
        rb'"\ud800"',
        rb'{"\ud800": 1}',
        rb'{"events": "\ud800"}',
        rb'{"events": ["\ud800"]}',
        rb'{"events": [[1, "\ud800"]]}',
        rb'{"events": [{"force": 1, "\ud800": 2}]}',
        b'{"events": ["\xed\xa0\x80"]}',
    ):
        refused(tag.post(stream, content=message, headers=JSON), 422)
    row = rb'{"id": "\ud800", "time": 0, "force": 0.5, "angle": 2}'
    for record in (
        row,
        row.replace(b'"angle"', rb'"\udfff"'),
        row.replace(b"2}", rb'"\udfff"}'),
        row.replace(b"0,", rb'"\udfff",'),
    ):
        for accept in ("application/json", "text/csv"):
            headers = {**JSON, "Accept": accept}
            answer = tag.post("/predict", content=b"[%b]" % record, headers=headers)
            if answer.status_code != 200:
                refused(answer, 422)
    refused(tag.post("/predict", content=b"[%b]" % row, headers=headers), 422, "CSV cannot have")
    assert caplog.text == ""


# Streams.
def test_a_stream_by_requests(tag: httpx.Client) -> None:
    opened = tag.post("/streams")
    assert opened.status_code == 201
    stream = opened.json()
    assert (stream["step"], stream["outputs"]) == (0, ["a", "b"])
    path = f"/streams/{stream['id']}"
    first = tag.post(path, json={"events": [[1.5, 2], [3, 4]]}).json()
    second = tag.post(path, json={"events": [{"angle": 6, "force": 5}]}).json()
    assert (first["step"], second["step"], tag.get(path).json()["step"]) == (2, 3, 3)
    assert all(name in "ab" for name in first["predicted"] + second["predicted"])
    whole = tag.post(path, json={"reset": True, "events": [[1.5, 2], [3, 4], [5, 6]]}).json()
    np.testing.assert_allclose(
        whole["probabilities"], first["probabilities"] + second["probabilities"], atol=1e-6
    )
    refused(tag.post(path, content="{"), 400, "is not JSON")
    refused(tag.post(path, content='{"events": [[NaN, 1]]}'), 400, "NaN is no value of JSON")
    refused(tag.post(path, json={"events": [[1]]}), 422, "a list of 2 numbers")
    assert tag.delete(path).status_code == 204
    refused(tag.post(path, json={"events": []}), 404, "there is no stream")
    refused(tag.delete(path), 404, "open a new stream")


def test_a_stream_by_a_socket_is_resumed_by_its_id(tag: httpx.Client) -> None:
    async def stream() -> None:
        async with socket_of(tag) as socket:
            opened = json.loads(await socket.recv())
            answer = await talk(socket, {"events": [[1, 2]]})
            assert answer["step"] == 1 and len(answer["probabilities"][0]) == 2
            for wrong in ("{", "[1]", '{"events": [[1]]}', '{"events": [[Infinity, 1]]}'):
                error = (await talk(socket, wrong))["error"]
                assert error["status"] in (400, 422) and error["message"]
            await socket.send(b'{"events": []}')  # binary frames are read too
            assert json.loads(await socket.recv())["step"] == 1
        async with socket_of(tag, f"?id={opened['id']}") as resumed:
            assert json.loads(await resumed.recv())["step"] == 1
            # A third connection takes the stream over: the second may be on a dead line.
            async with socket_of(tag, f"?id={opened['id']}") as third:
                assert json.loads(await third.recv())["step"] == 1
                with pytest.raises(websockets.ConnectionClosed):
                    await resumed.recv()
                assert resumed.close_code == 4409
                assert (await talk(third, {"events": [[1, 2]]}))["step"] == 2
            async with socket_of(tag) as ended:
                id = json.loads(await ended.recv())["id"]
                assert tag.delete(f"/streams/{id}").status_code == 204
                with pytest.raises(websockets.ConnectionClosed):
                    await ended.recv()
                assert ended.close_code == 4404
        with pytest.raises(websockets.InvalidStatus) as missing:
            await socket_of(tag, "?id=nobody")
        assert missing.value.response.status_code == 404
        assert b"there is no stream" in missing.value.response.body

    asyncio.run(stream())


def test_streams_are_bounded(folder: Path) -> None:
    now = [1000.0]
    directory = saved("tag", folder / "few")
    with running(directory, max_streams=2, keep_s=60, clock=lambda: now[0]) as client:
        ids = [client.post("/streams").json()["id"] for _ in range(2)]
        now[0] += 20
        full = client.post("/streams")
        refused(full, 429, "2 streams are open")
        assert full.headers["retry-after"] == "40"

        async def hold() -> None:
            with pytest.raises(websockets.InvalidStatus) as status:
                await socket_of(client)
            assert status.value.response.status_code == 429
            assert status.value.response.headers["retry-after"] == "40"
            async with socket_of(client, f"?id={ids[0]}") as socket:
                await socket.recv()
                now[0] += 41
                refused(client.get(f"/streams/{ids[1]}"), 404, "60 seconds after its last use")
                assert (await talk(socket, {"events": [[1, 2]]}))["step"] == 1
                assert client.post("/streams").status_code == 201
                now[0] += 61
                while client.get("/status").json()["streams"] > 1:  # freed without a request
                    await asyncio.sleep(0.05)
                assert (await talk(socket, {"events": [[1, 2]]}))["step"] == 2

        asyncio.run(hold())


def test_a_message_that_is_too_long_ends_the_socket(folder: Path) -> None:
    with running(saved("tag", folder / "short"), max_message=200) as client:

        async def send() -> None:
            async with socket_of(client) as socket:
                stream = json.loads(await socket.recv())
                await socket.send(json.dumps({"events": [[1, 2]] * 50}))
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 1009
            long = {"events": [[1, 2]] * 50}
            refused(client.post(f"/streams/{stream['id']}", json=long), 413, "200 bytes")
            async with socket_of(client, f"?id={stream['id']}") as socket:
                assert json.loads(await socket.recv())["step"] == 0

        asyncio.run(send())


def sockets_are_separate(client: httpx.Client, count: int, model: Any) -> None:
    """Read `count` streams over sockets at once; each is answered as if it were alone."""
    events = np.random.default_rng(0).normal(size=(count, 3, 2)).astype(np.float32)

    async def stream(sequence: np.ndarray) -> list[list[float]]:
        async with socket_of(client, open_timeout=60) as socket:
            await socket.recv()
            answers = [await talk(socket, {"events": [event]}) for event in sequence.tolist()]
        assert [answer["step"] for answer in answers] == [1, 2, 3]
        return [answer["probabilities"][0] for answer in answers]

    async def all_at_once() -> list[list[list[float]]]:
        return await asyncio.gather(*map(stream, events))

    np.testing.assert_allclose(asyncio.run(all_at_once()), model.predict(events), atol=1e-6)
    assert max(map(int, client.get("/status").json()["batches"])) > 1


@pytest.mark.quick
def test_a_hundred_sockets_are_separate(tag: httpx.Client, folder: Path) -> None:
    sockets_are_separate(tag, 100, gw.load(folder / "tag"))


@pytest.mark.slow(instead="test_a_hundred_sockets_are_separate")
def test_a_thousand_sockets_are_separate(folder: Path) -> None:
    if not allow_files(3000):  # the clients are in this process too
        pytest.skip("the system allows too few open files")
    directory = saved("tag", folder / "thousand")
    with running(directory, max_streams=1000) as client:
        sockets_are_separate(client, 1000, gw.load(directory))


def test_the_server_answers_while_it_computes(folder: Path, monkeypatch: Any) -> None:
    """A prediction of any length holds up neither other requests nor streams."""
    started, may_end = threading.Event(), threading.Event()

    def wait(model: Any, batch: Any) -> list[bytes]:
        started.set()
        may_end.wait(20)
        return [b"{}" for _ in batch]

    monkeypatch.setattr("gatewright.serve.service.predict_bodies", wait)
    with running(saved("tag", folder / "busy"), max_waiting=1) as client:
        url = str(client.base_url)

        def post() -> httpx.Response:
            return httpx.post(f"{url}/predict", content="x", headers=CSV, timeout=20)

        threads = [threading.Thread(target=post) for _ in range(2)]
        threads[0].start()
        assert started.wait(10)
        threads[1].start()
        while client.get("/status").json()["waiting"]["predictions"] == 0:
            time.sleep(0.01)
        full = post()
        refused(full, 503, "1 requests wait already")
        assert full.headers["retry-after"] == "1"
        stream = client.post("/streams").json()["id"]
        assert client.post(f"/streams/{stream}", json={"events": [[1, 2]]}).json()["step"] == 1
        may_end.set()
        for thread in threads:
            thread.join()


def test_a_bug_is_an_error_500_and_the_server_lives_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with running(saved("tag", folder / "bug")) as client:
        stream = client.post("/streams").json()["id"]
        with monkeypatch.context() as patch:
            patch.setattr("gatewright.serve.predictions.predict", fail)
            patch.setattr("gatewright.serve.streamed_model.StreamedModel.run", fail)
            refused(client.post("/predict", content=rows("tag"), headers=CSV), 500, "its log has")
            message = {"events": [[1, 2]]}
            refused(client.post(f"/streams/{stream}", json=message), 500, "its log has")

            async def send() -> Any:
                async with socket_of(client, f"?id={stream}") as socket:
                    await socket.recv()
                    return await talk(socket, message)

            assert asyncio.run(send())["error"]["status"] == 500
        assert caplog.text.count("ZeroDivisionError: a bug") == 3
        assert client.post(f"/streams/{stream}", json=message).json()["step"] == 1
        assert client.post("/predict", content=rows("tag"), headers=CSV).status_code == 200


# What is no request of a user's own program.
def test_only_the_loopback_is_served_without_a_token(tag: httpx.Client) -> None:
    port = tag.base_url.port
    for host in ("localhost", "127.0.0.1", f"[::1]:{port}", f"LOCALHOST:{port}"):
        assert tag.get("/health", headers={"Host": host}).status_code == 200
    for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "", "evil.example:x@localhost"):
        refused(tag.get("/health", headers={"Host": host}), 403, "the Host is")
    own = {"Origin": str(tag.base_url).rstrip("/")}
    assert tag.get("/health", headers=own).status_code == 200
    foreign = ("https://evil.example", "null", f"http://localhost:{port}", "http://[", "http://[x]")
    for origin in foreign:
        refused(tag.post("/streams", headers={"Origin": origin}), 403, "the Origin is")
    answer = tag.get("/health", headers=own)
    assert not [name for name in answer.headers if name.startswith("access-control")]

    async def from_a_page(origin: str) -> int:
        with pytest.raises(websockets.InvalidStatus) as status:
            await socket_of(tag, origin=origin)
        return status.value.response.status_code

    for origin in foreign:
        assert asyncio.run(from_a_page(origin)) == 403


def test_a_token_is_required_where_there_is_one(folder: Path) -> None:
    with running(saved("tag", folder / "secret"), token=TOKEN, hosts=None) as client:
        assert client.get("/model", headers={"Host": "model.example"}).status_code == 200
        for header in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "ü"):
            wrong = {"Authorization": header.encode("latin-1")}
            for path in ("/model", "/status", "/streams/x", "/nowhere"):
                answer = client.get(path, headers=wrong)
                refused(answer, 401, "expected the header Authorization: Bearer TOKEN")
                assert answer.headers["www-authenticate"] == "Bearer"
            assert client.get("/health", headers=wrong).status_code == 200

        async def open_socket(token: str) -> int:
            try:
                headers = {"Authorization": f"Bearer {token}"}
                async with socket_of(client, additional_headers=headers) as socket:
                    await socket.recv()
                return 101
            except websockets.InvalidStatus as status:
                return status.response.status_code

        assert asyncio.run(open_socket("wrong")) == 401
        assert asyncio.run(open_socket(TOKEN)) == 101


@pytest.mark.parametrize(
    ("host", "token", "problem"),
    [
        ("0.0.0.0", None, "which other machines can reach, and there is no token"),
        ("::", None, "there is no token"),
        ("192.168.1.7", None, "there is no token"),
        ("127.0.0.1", "short", "the token has 5 characters; expected at least 16"),
        ("0.0.0.0", "a secret with spaces in it", "without spaces"),
        ("no.such.name.invalid", TOKEN, "which has no address"),
    ],
)
def test_a_server_that_would_be_open_to_all_is_refused(
    host: str, token: str | None, problem: str
) -> None:
    with pytest.raises(ArgumentError, match=problem):
        check_access(host, token)


def test_the_addresses_that_only_this_machine_reaches() -> None:
    assert check_access("127.0.0.1", None) and check_access("127.8.9.1", None)
    assert check_access("::1", None) and check_access("localhost", None)
    assert not check_access("0.0.0.0", TOKEN)


# The rest of the page of paths.
def test_information_and_paths_that_there_are_not(tag: httpx.Client) -> None:
    about = tag.get("/model").json()
    assert (about["task"], about["channels"], about["outputs"]) == (
        "tag",
        ["force", "angle"],
        ["a", "b"],
    )
    assert about["streams"] and about["limits"]["max_streams"] == 1024
    schema = tag.get("/openapi.json").json()
    assert {"/predict", "/streams", "/streams/{id}", "/health"} <= schema["paths"].keys()
    page = tag.get("/docs")
    for path in schema["paths"]:
        assert path in page.text
    assert "<script" not in page.text and "http://" not in page.text.replace("ws://", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    refused(tag.get("/nowhere"), 404, "there is no such path")
    refused(tag.get("/../../etc/passwd"), 404)
    refused(tag.get("/predict"), 405, "does not have this method")
    refused(tag.get("/streams/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), 404)


# The command.
@pytest.mark.usefixtures("forked_python")
def test_the_command_serves_until_it_is_told_to_stop(folder: Path) -> None:
    """The next server continues a stream, though its socket was open at the end."""
    directory, states = saved("tag", folder / "command"), folder / "states"
    options = ["--port", "0", "--json", "--states", str(states)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewright", "serve", directory, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    with httpx.Client(base_url=url) as client:

        async def stop() -> str:
            async with socket_of(client) as socket:
                stream = json.loads(await socket.recv())
                await talk(socket, {"events": [[1, 2], [3, 4]]})
                process.send_signal(signal.SIGTERM)
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 1012  # the server restarts
                return str(stream["id"])

        id = asyncio.run(stop())
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    with running(directory, states=states) as client:
        assert client.get(f"/streams/{id}").json()["step"] == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["{model}", "--host", "0.0.0.0"], "there is no token; set GATEWRIGHT_TOKEN"),
        (["{model}", "--token", "short"], "the token has 5 characters"),
        (["{model}", "--max-body", "-1"], "--max-body is -1; expected a finite number above 0"),
        (["{model}", "--max-body", "0"], "--max-body is 0; expected a finite number above 0"),
        (["{model}", "--keep", "-1"], "--keep is -1; expected a finite number above 0"),
        (["{model}", "--save-every", "0"], "--save-every is 0; expected a finite number above 0"),
        (["{model}", "--keep", "nan"], "--keep is nan"),
        (["{model}", "--port", "1", "--host", "8.8.8.8", "--token", TOKEN], "cannot listen on"),
        (["{model}/nowhere", "--port", "0"], "is no directory"),
        (["{layer}", "--port", "0"], "holds a GRU; expected a model"),
        (["{model}", "--states", "{model}/config.json", "--port", "0"], "is a file"),
    ],
)
def test_the_command_refuses_with_exit_code_2(
    arguments: list[str], problem: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"model": folder / "refused" / "tag", "layer": folder / "layer"}
    if not places["layer"].exists():
        gw.save(gw.GRU(2, 3), places["layer"])
    if not places["model"].exists():
        saved("tag", folder / "refused")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(
            sys, "argv", ["gatewright", "serve"] + [a.format(**places) for a in arguments]
        )
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("error: ") and problem in err


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ArgumentError, match=r"needs the package uvicorn: pip install 'gatewright"):
        gw.serve.run("nowhere", port=0)


def test_the_options_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr("gatewright.serve.server.run", lambda model, **own: options.update(own))
    monkeypatch.setenv("GATEWRIGHT_TOKEN", TOKEN)
    arguments = ["m", "--max-body", "0.5", "--keep", "9", "--port", "0"]
    monkeypatch.setattr(sys, "argv", ["gatewright", "serve", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert options["token"] == TOKEN and options["host"] == "127.0.0.1" and options["port"] == 0
    assert options["limits"] == Limits(max_body=2**19, keep_s=9)


# The documentation.
def test_the_commands_of_the_page_run(tag: httpx.Client, tmp_path: Path) -> None:
    """They are run in the page's order in one shell, and answer with the fields of its examples."""
    text = PAGE.read_text(encoding="utf-8").replace("127.0.0.1:8000", tag.base_url.netloc.decode())
    shell = "".join(block for block in re.findall(r"(?s)```sh\n(.*?)```", text) if "curl" in block)
    assert shell.count("curl") == 7
    if CURL is None:
        pytest.skip("curl is not on the PATH")
    (tmp_path / "new.csv").write_text(rows("tag"), encoding="utf-8")
    quiet = shell.replace("curl ", "curl --silent --show-error --fail-with-body -w '\\n' ")
    done = subprocess.run(["bash", "-e", "-c", quiet], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    _, records, two, more = answers
    shown, step, error = (json.loads(x) for x in re.findall(r"(?s)```json\n(.*?)```", text))
    assert records["columns"].keys() == shown["columns"].keys()
    assert records.keys() == shown.keys() and more.keys() == step.keys()
    assert (two["step"], more["step"]) == (2, step["step"])
    stream = tag.post("/streams").json()["id"]
    assert tag.post(f"/streams/{stream}", json={"events": [[0.4]]}).json() == error
    (program,) = re.findall(r"(?s)```python\n(.*?)```", text)
    exec(compile(program, "page", "exec"), {"__name__": "page"})


def test_the_container_is_served_as_the_page_says() -> None:
    """No container can be built here: the file is held to the page and to the command."""
    text = PAGE.read_text(encoding="utf-8")
    file = (PAGE.parent / "serve.Dockerfile").read_text(encoding="utf-8")
    entry, further = re.findall(r"(?m)^(?:ENTRYPOINT|CMD) (\[.*\])$", file)
    program, *arguments = json.loads(entry) + json.loads(further)
    assert program == "gatewright" and arguments[:2] == ["serve", "/model"]
    options = {name for name in arguments if name.startswith("--")}
    done = CliRunner().invoke(cli.app, ["serve", "--help"], env={"COLUMNS": "200"})
    assert options == {"--host", "--port", "--states"}
    assert all(option in done.output for option in options)
    for word in (
        "--read-only",
        "--cap-drop ALL",
        ":/model:ro",
        ":/states",
        "docs/serve.Dockerfile",
    ):
        assert word in text
    for source in re.findall(r"(?m)^COPY (.+) \S+$", file):
        for name in source.split():
            assert (PAGE.parent.parent / name).exists()
    assert file.index("\nUSER server") > file.rindex("\nRUN ")
