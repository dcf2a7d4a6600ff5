"""`gatewright serve`: a model behind a socket, until the process is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gatewright.errors import ArgumentError
from gatewright.serve.limits import Limits
from gatewright.serve.security import LOOPBACK_NAMES, check_access

if TYPE_CHECKING:
    import uvicorn

#: Connections that are no streams: requests, and probes of a load balancer.
FURTHER_CONNECTIONS = 256
#: Files that a process has open besides connections.
FURTHER_FILES = 128
#: Seconds for answers that are on their way when the server is told to stop. Containers are killed
#: after 10, and the streams are saved after these.
STOP_S = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger("gatewright.serve")


def run(
    directory: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    limits: Limits | None = None,
    states: str | os.PathLike[str] | None = None,
    save_every_s: float = 30.0,
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a trained model until SIGINT or SIGTERM, which end it in good order.

    >>> import gatewright as gw
    >>> gw.serve.run("runs/vowels", port=0)                             # doctest: +SKIP
    http://127.0.0.1:43121

    Args:
        directory: A model that `train` or `compare` wrote.
        host: The address to listen on. Any but the loopback needs a token.
        port: 0 takes a free one.
        token: The secret that requests have to send, as `Authorization: Bearer TOKEN`.
        limits: The limits of memory and time.
        states: A folder in which streams are saved, and from which they continue.
        save_every_s: Seconds between two savings of the streams.
        threads: Threads of a computation. A batch of events is too small for more than one, and the
            other processors are needed for the connections; large tables are predicted faster.
        say: Called with the URL when the server can be reached.

    Raises:
        ModelError: if the model or saved streams cannot be used.
        ArgumentError: if the address cannot be used, the token is missing, or the packages of the
            extra `serve` are.
    """
    limits = limits or Limits()
    is_local = check_access(host, token)
    if not save_every_s > 0:
        raise ArgumentError(f"save_every_s is {save_every_s}; expected a number above 0")
    if threads < 1:
        raise ArgumentError(f"threads is {threads}; expected a number from 1")
    _check_packages()
    from gatewright.serve.app import guarded_app
    from gatewright.serve.service import Service

    with listening(host, port) as listener, _computing_with(threads):
        service = Service(directory, limits=limits, states=states, save_every_s=save_every_s)
        hosts = LOOPBACK_NAMES | {host.lower()} if is_local else None
        app = guarded_app(service, token=token, hosts=hosts)
        files = limits.max_streams + FURTHER_CONNECTIONS + FURTHER_FILES
        if not allow_files(files):
            log.warning("the system allows fewer than %d open files: expect fewer streams", files)
        try:
            with _orderly_stop():
                say(url_of(listener))
                server_of(app, limits).run(sockets=[listener])
        finally:
            # Saves again what could not be saved, and so reports it.
            service.close()


def server_of(app: Any, limits: Limits) -> uvicorn.Server:
    """The server of an application, which is run with a socket that listens."""
    import uvicorn

    config = uvicorn.Config(
        app,
        ws_max_size=limits.max_message,
        # Messages are short, and compressing them takes longer than the model.
        ws_per_message_deflate=False,
        limit_concurrency=limits.max_streams + FURTHER_CONNECTIONS,
        timeout_graceful_shutdown=STOP_S,
        log_level="warning",
        access_log=False,
        server_header=False,
        # No browser takes JSON for a page, nor keeps an answer.
        headers=[("x-content-type-options", "nosniff"), ("cache-control", "no-store")],
        proxy_headers=False,
        lifespan="on",
    )
    logging.getLogger("uvicorn.error").addFilter(_is_failure)
    return uvicorn.Server(config)


def _is_failure(record: logging.LogRecord) -> bool:
    """False for a WebSocket that was refused with an answer, which uvicorn takes for a failure."""
    return "without completing handshake" not in record.getMessage()


def _check_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            f"gatewright serve needs the package {error.name}: pip install 'gatewright[serve]'"
        ) from error


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens, so that the port is known before the server starts.

    Raises:
        ArgumentError: if the address is in use, or not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"cannot listen on {host}, port {port}: {error}") from None
    with listener:
        try:
            if os.name == "posix":  # a port that a server has just left can be used again
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except (OSError, OverflowError) as error:
            raise ArgumentError(
                f"cannot listen on {host}, port {port}: {error}. Name another one with port=, or "
                "port=0 for any that is free"
            ) from None
        yield listener


def url_of(listener: socket.socket) -> str:
    """The URL of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _orderly_stop() -> Iterator[None]:
    """Let uvicorn, which sends itself the signal again after its end, end without it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread only, and uvicorn leaves them alone here
        return
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _computing_with(threads: int) -> Iterator[None]:
    """Let torch and our kernels use as many threads, and afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def allow_files(count: int) -> bool:
    """Let the process open `count` files; False if the system allows only fewer."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return True
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return needed == count
