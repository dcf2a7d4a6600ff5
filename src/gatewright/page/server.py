"""A server for one page on this machine: it answers on loopback only, and with nothing else."""

from __future__ import annotations

import errno
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gatewright.errors import ArgumentError
from gatewright.page.html import Page

#: The only address that it listens on.
ADDRESS = "127.0.0.1"
#: Names of that address: a page elsewhere whose name leads here is refused by its Host header.
HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageServer(ThreadingHTTPServer):
    """A server of one page; `url` is its address.

    >>> with PageServer(Page("<p>hello</p>", "default-src 'none'")) as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True

    Args:
        page: The page.
        port: The port; 0 takes a free one.

    Raises:
        ArgumentError: if the port is out of range, or in use.
    """

    daemon_threads = True

    def __init__(self, page: Page, port: int = 0) -> None:
        if not 0 <= port < 65536:
            raise ArgumentError(f"port is {port}; expected a number from 0 to 65535")
        self.content = page.html.encode()
        # No other page may frame it, which the policy inside the page cannot forbid.
        self.policy = f"{page.policy}; frame-ancestors 'none'"
        try:
            super().__init__((ADDRESS, port), PageHandler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise ArgumentError(
                f"port {port} cannot be used: {error.strerror}; leave --port out, which takes a "
                "free one, or give another"
            ) from None

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_port}/"


class PageHandler(BaseHTTPRequestHandler):
    """Answers `GET /` with the page, and everything else with an error."""

    server: PageServer
    server_version = "gatewright"
    sys_version = ""
    timeout = 10.0  # seconds for a request to arrive

    def do_GET(self) -> None:
        """Send the page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Send the headers of the page."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        host = self.headers.get("Host", "")
        allowed = {f"{name}:{self.server.server_port}" for name in HOSTS}
        if host not in allowed:
            self.send_error(421, "This server answers only to its own address")
            return
        if self.path != "/":
            self.send_error(404, "There is only the page /")
            return
        self.send_response(200)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        if with_body:
            self.wfile.write(self.server.content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send an error; of methods that there are none of, that only GET is allowed."""
        if code == 501:
            code, message = 405, "Only GET is allowed"
        super().send_error(code, message, explain)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing for a request."""
