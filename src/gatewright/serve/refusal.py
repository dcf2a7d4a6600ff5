"""Requests that cannot be met, with the status that HTTP has for the reason."""

from __future__ import annotations

from gatewright.errors import ArgumentError, DataError, GatewrightError, SizeError

#: Seconds after which a client may try again where the server is only busy.
RETRY_SOON = 1
#: The message of status 500.
FAILED = "the server failed; its log has the reason"


class Refusal(GatewrightError):
    """A request that is refused: the message has the fact, the expectation and what to do.

    Args:
        status: The status of HTTP, 400 or above.
        message: For the client.
        retry_after: Seconds after which the same request may succeed, where it may.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def status_of(error: GatewrightError) -> int:
    """The status for an error of the library: 422 for data, 400 for an option, else 500.

    >>> status_of(DataError("row 3 has no time"))
    422
    """
    if isinstance(error, Refusal):
        return error.status
    if isinstance(error, DataError | SizeError):
        return 422
    return 400 if isinstance(error, ArgumentError) else 500


def as_json(error: GatewrightError) -> dict[str, object]:
    """The body of the answer to a refused request.

    >>> as_json(Refusal(404, "there is no stream x; open one with POST /streams"))
    {'error': {'status': 404, 'message': 'there is no stream x; open one with POST /streams'}}
    """
    return {"error": {"status": status_of(error), "message": str(error)}}
