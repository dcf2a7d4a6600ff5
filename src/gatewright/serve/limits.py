"""The limits of a server: each bounds memory or time that a client can take."""

from __future__ import annotations

from dataclasses import dataclass, fields

from gatewright.errors import ArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server.

    >>> Limits(max_streams=0)
    Traceback (most recent call last):
    ...
    gatewright.errors.ArgumentError: max_streams is 0; expected a number above 0

    Args:
        max_streams: Streams that may be open; each has a row in a table of states.
        keep_s: Seconds for which a stream that nobody reads can be resumed.
        max_body: Bytes of a request to /predict.
        max_message: Bytes of a message to a stream, which the event loop parses itself.
        max_events: Events of a message to a stream.
        max_waiting: Requests to /predict that may wait for their turn.
        body_s: Seconds in which the body of a request has to arrive.

    Raises:
        ArgumentError: if a limit is not above 0.
    """

    max_streams: int = 1024
    keep_s: float = 300.0
    max_body: int = 8 * 2**20
    max_message: int = 2**20
    max_events: int = 256
    max_waiting: int = 16
    body_s: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:  # also refuses NaN
                raise ArgumentError(f"{field.name} is {value}; expected a number above 0")
