"""The web application: paths, media types and status codes around a `Service`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gatewright.errors import GatewrightError
from gatewright.serve.api_page import api_page
from gatewright.serve.predictions import OPTIONS
from gatewright.serve.refusal import FAILED, Refusal, as_json, status_of
from gatewright.serve.security import Guard
from gatewright.serve.service import Service
from gatewright.serve.streamed_model import parse_json

#: Codes with which a WebSocket is closed, of the range that is free for applications.
CLOSED, TAKEN_OVER = 4404, 4409
#: Reasons that HTTP has for requests that no path takes.
NO_PATH = {
    404: "there is no such path; GET /docs lists them",
    405: "this path does not have this method; GET /docs lists them",
}

#: The description of an error, for programs.
REFUSED: dict[str, Any] = {
    "description": "The request was refused",
    "content": {
        "application/json": {"example": as_json(Refusal(404, "there is no stream 'x'; ..."))}
    },
}

log = logging.getLogger("gatewright.serve")


class AsciiJSON(JSONResponse):
    """JSON with escapes for all but ASCII.

    A text of a client's, or a label of a model's, may have half of a surrogate pair, which JSON can
    escape and UTF-8 cannot encode.
    """

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def create_app(service: Service) -> FastAPI:
    """The application of a service; it starts and ends the service with itself.

    Put a `Guard` around it, as `gatewright serve` does, or a proxy that keeps strangers out.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with service:
                yield
        except GatewrightError as error:  # the states could not be saved
            log.error("%s", error)

    app = FastAPI(
        title="Gatewright",
        version=version("gatewright"),
        description="Predictions of one trained model, and streams of events with states.",
        docs_url=None,  # FastAPI's page loads its script from another site
        redoc_url=None,
        default_response_class=AsciiJSON,
        lifespan=lifespan,
        responses={"4XX": REFUSED, "5XX": REFUSED},
    )
    _answer_errors(app)
    _add_information(app, service)
    _add_predictions(app, service)
    _add_streams(app, service)
    return app


def guarded_app(service: Service, *, token: str | None, hosts: frozenset[str] | None) -> Guard:
    """The application of a service behind its `Guard`."""
    return Guard(create_app(service), token=token, hosts=hosts)


def _answer_errors(app: FastAPI) -> None:
    """Answer every error as JSON: none of a client's making has status 500 or a traceback."""

    @app.exception_handler(GatewrightError)
    def refused(_: Request, error: GatewrightError) -> AsciiJSON:
        return _refused(error)

    @app.exception_handler(HTTPException)
    def no_path(_: Request, error: HTTPException) -> AsciiJSON:
        return _refused(Refusal(error.status_code, NO_PATH.get(error.status_code, error.detail)))

    @app.exception_handler(Exception)
    def failed(_: Request, __: Exception) -> AsciiJSON:  # the server prints the traceback
        return _refused(Refusal(500, FAILED))


def _add_information(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether the server runs", tags=["server"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/status", summary="Open streams, work that waits, sizes of batches", tags=["server"])
    async def status() -> dict[str, Any]:
        return service.status()

    @app.get("/model", summary="The model: its task, inputs, outputs, and limits", tags=["server"])
    async def model() -> dict[str, Any]:
        return service.about()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        # Nothing of the page runs or loads; a style in the page is all that it needs.
        policy = (
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
        )
        return HTMLResponse(api_page(app.openapi()), headers={"Content-Security-Policy": policy})


def _add_predictions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/predict",
        summary="Predict for rows, as gatewright predict does for a file",
        description=(
            "The answer is JSON, the columns of a table; with Accept: text/csv it is CSV. The "
            "parameters are the options of gatewright predict."
        ),
        tags=["predictions"],
        openapi_extra={
            "parameters": [
                {"name": name, "in": "query", "schema": {"type": "string"}} for name in OPTIONS
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "text/csv": {"schema": {"type": "string"}},
                    "application/json": {
                        "schema": {"type": "array", "items": {"type": "object"}},
                    },
                    "text/plain": {"schema": {"type": "string"}},
                },
            },
        },
    )
    async def predict(request: Request) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        as_csv = "text/csv" in request.headers.get("accept", "").lower()
        options = dict(request.query_params)
        body = await _body(request, service.limits.max_body, service.limits.body_s)
        answer = await service.predict(body, media_type, options, as_csv=as_csv)
        return Response(answer, media_type="text/csv" if as_csv else "application/json")


def _add_streams(app: FastAPI, service: Service) -> None:
    message = {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "events": {"type": "array", "items": {}},
                            "text": {"type": "string"},
                            "reset": {"type": "boolean"},
                        },
                    },
                    "example": {"events": [[1.5, 2.0], [1.25, 2.5]]},
                }
            },
        }
    }

    @app.post(
        "/streams", status_code=201, summary="Open a stream with a new state", tags=["streams"]
    )
    async def open_stream() -> dict[str, Any]:
        return service.opening(service.streams().open())

    @app.get("/streams/{id}", summary="Its step: the events that it has read", tags=["streams"])
    async def find_stream(id: str) -> dict[str, Any]:
        return service.opening(service.streams().find(id))

    @app.post(
        "/streams/{id}",
        summary="Read events; the answer has the probabilities after each of them",
        tags=["streams"],
        openapi_extra=message,
    )
    async def send(id: str, request: Request) -> AsciiJSON:
        stream = service.streams().find(id)
        body = await _body(request, service.limits.max_message, service.limits.body_s)
        # Not validated again by the framework, which would take longer than the model.
        return AsciiJSON(await service.send(stream, parse_json(body)))

    @app.delete(
        "/streams/{id}",
        status_code=204,
        response_model=None,  # FastAPI 0.115 takes the annotation `None` for a body
        summary="Close a stream",
        tags=["streams"],
    )
    async def close_stream(id: str) -> None:
        streams = service.streams()
        holder = streams.close(streams.find(id))
        if holder is not None:
            await _end(holder, CLOSED, "the stream was closed")

    @app.websocket("/stream")
    async def stream_socket(socket: WebSocket) -> None:
        """Read the messages of a connection, each answered before the next is read."""
        streams = service.streams
        try:
            id = socket.query_params.get("id")
            stream = streams().open() if id is None else streams().find(id)
        except GatewrightError as error:
            await socket.send_denial_response(_refused(error))
            return
        before = streams().hold(stream, socket)
        try:
            if before is not None:  # its client may be on a line that is dead
                await _end(before, TAKEN_OVER, "another connection has resumed the stream")
            await socket.accept()
            await _send(socket, service.opening(stream))
            while True:
                answer = await _answer(service, stream, await _message(socket))
                if stream.holder is not socket:
                    return
                await _send(socket, answer)
        except WebSocketDisconnect:
            pass
        finally:
            streams().release(stream, socket)


async def _end(socket: WebSocket, code: int, reason: str) -> None:
    """Close a connection that another request has ended, if it is still open."""
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason)


async def _send(socket: WebSocket, answer: dict[str, Any]) -> None:
    """Send an answer.

    Raises:
        WebSocketDisconnect: if the connection has gone, or is about to go: its client has not
            answered a ping.
    """
    try:
        await socket.send_text(json.dumps(answer))
    except RuntimeError:
        raise WebSocketDisconnect(1006) from None


async def _message(socket: WebSocket) -> str | bytes:
    """The next message of a connection, in text or in binary frames."""
    received = await socket.receive()
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received.get("code", 1005))
    text: str | None = received.get("text")
    data: bytes | None = received.get("bytes")
    return text if text is not None else data or b""


async def _answer(service: Service, stream: Any, message: str | bytes) -> dict[str, Any]:
    """The answer to a message of a WebSocket, an error included: the connection stays."""
    try:
        return await service.send(stream, parse_json(message))
    except GatewrightError as error:
        return as_json(error)


async def _body(request: Request, max_bytes: int, seconds: float) -> bytes:
    """The body of a request, which may be neither too long nor too slow.

    Raises:
        Refusal: 413, 408 or 415.
    """
    if "content-encoding" in request.headers:
        raise Refusal(415, "the body is compressed; expected one without Content-Encoding")
    too_long = Refusal(
        413,
        f"the body is longer than {max_bytes:,} bytes, the most that this server reads; "
        "send less at a time",
    )
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_long
    chunks = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                chunks += chunk
                if len(chunks) > max_bytes:
                    raise too_long
    except ClientDisconnect:
        raise Refusal(400, "the connection ended before the body did") from None
    except TimeoutError:
        raise Refusal(
            408, f"the body has not arrived within {seconds:g} seconds; send it again"
        ) from None
    return bytes(chunks)


def _refused(error: GatewrightError) -> AsciiJSON:
    retry_after = error.retry_after if isinstance(error, Refusal) else None
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return AsciiJSON(as_json(error), status_of(error), headers)
