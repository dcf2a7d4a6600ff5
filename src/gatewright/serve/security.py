"""The rules for who may send requests: a token, the Host, and no pages of other sites.

A web page in the user's own browser can reach the loopback address. It cannot read answers without
CORS, which is off; but with a name that resolves to this machine it could pose as the server's own
page (DNS rebinding), and WebSockets know no CORS. So the Host has to be a name of the loopback, and
an Origin has to be the server's own.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from gatewright.errors import ArgumentError
from gatewright.serve.refusal import Refusal, as_json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Answers without a token: they have nothing of the model, and a browser or a probe cannot send it.
OPEN_PATHS = frozenset({"/health", "/docs", "/openapi.json"})
#: The fewest characters of a token; 22 of `secrets.token_urlsafe` are 128 bits.
MIN_TOKEN = 16
_TOKEN = re.compile(r"[!-~]+")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def check_access(host: str, token: str | None) -> bool:
    """Check that a server on this host is not open to all; return True if it is on the loopback.

    >>> check_access("127.0.0.1", None)
    True
    >>> check_access("0.0.0.0", None)
    Traceback (most recent call last):
    ...
    gatewright.errors.ArgumentError: host is 0.0.0.0, which other machines can reach, and there is \
no token; set GATEWRIGHT_TOKEN to a secret of at least 16 characters (python -c "import secrets; \
print(secrets.token_urlsafe())"), or leave host out

    Raises:
        ArgumentError: if other machines can reach it and there is no token, or a weak one.
    """
    secret = 'python -c "import secrets; print(secrets.token_urlsafe())"'
    if token is not None and (len(token) < MIN_TOKEN or not _TOKEN.fullmatch(token)):
        raise ArgumentError(
            f"the token has {len(token)} characters; expected at least {MIN_TOKEN}, visible ones "
            f"of ASCII without spaces: {secret}"
        )
    is_local = is_loopback(host)
    if not is_local and token is None:
        raise ArgumentError(
            f"host is {host}, which other machines can reach, and there is no token; set "
            f"GATEWRIGHT_TOKEN to a secret of at least {MIN_TOKEN} characters ({secret}), or leave "
            "host out"
        )
    return is_local


def is_loopback(host: str) -> bool:
    """True if all addresses of a host are of the loopback, which only this machine can reach.

    Raises:
        ArgumentError: if the host has no address.
    """
    try:
        addresses = {
            str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        }
    except (OSError, UnicodeError) as error:
        raise ArgumentError(
            f"host is {host!r}, which has no address ({error}); expected a name or an address of "
            "this machine, such as 127.0.0.1"
        ) from None
    return all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in addresses)


class Guard:
    """An ASGI application that passes on only requests that may come in.

    Args:
        application: The one behind it.
        token: The secret of `Authorization: Bearer`, or None.
        hosts: The names that a Host may have, or None for any.
    """

    def __init__(
        self, application: Application, *, token: str | None, hosts: frozenset[str] | None
    ) -> None:
        self._application = application
        self._token = None if token is None else token.encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            refusal = self.refusal(scope["path"], scope["headers"])
            if refusal is not None:
                await _refuse(refusal, scope, send)
                return
        await self._application(scope, receive, send)

    def refusal(self, path: str, headers: list[tuple[bytes, bytes]]) -> Refusal | None:
        """The reason why a request may not come in, or None."""
        values: dict[bytes, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.lower(), []).append(value.decode("latin-1"))
        host = values.get(b"host", [""])[0]
        if self._hosts is not None and host_name(host) not in self._hosts:
            return Refusal(
                403,
                f"the Host is {host[:80]!r}; expected {', '.join(sorted(self._hosts))}: another "
                "name may be a web page that poses as this server",
            )
        for origin in values.get(b"origin", []):
            if _host_of(origin) != host.lower():
                return Refusal(
                    403,
                    f"the Origin is {origin[:80]!r}; expected none, or this server's: pages of "
                    "other sites may not send requests",
                )
        if self._token is None or path in OPEN_PATHS:
            return None
        scheme, _, secret = values.get(b"authorization", [""])[0].partition(" ")
        # Compared in constant time, or the time would tell how many characters are right.
        is_right = hmac.compare_digest(secret.strip().encode(), self._token)
        if scheme.lower() == "bearer" and is_right:
            return None
        problem = "is wrong" if secret else "is missing"
        return Refusal(401, f"the token {problem}; expected the header Authorization: Bearer TOKEN")


def host_name(host: str) -> str:
    """The name in a Host header, without the port.

    >>> host_name("[::1]:8000"), host_name("LocalHost:80"), host_name("::1")
    ('::1', 'localhost', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() and ":" not in name else host).lower()


def _host_of(origin: str) -> str | None:
    """The Host that requests to an origin have, or None if it is no address.

    >>> _host_of("http://LocalHost:8000"), _host_of("http://[")
    ('localhost:8000', None)
    """
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # of brackets that enclose no address
        return None


async def _refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    """Answer a request, or the opening of a WebSocket, with a refusal as JSON."""
    body = json.dumps(as_json(refusal)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the request is not read
    ]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    kind = "http" if scope["type"] == "http" else "websocket.http"
    await send({"type": f"{kind}.response.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
