"""The open streams of a model, by id, and their states: a row each in one table."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.serve.limits import Limits
from gatewright.serve.refusal import Refusal
from gatewright.serve.saved_streams import SavedStream, SavedStreams
from gatewright.serve.streamed_model import STREAM_AXIS, Events, StreamedModel

#: Bytes of an id from the system's generator: nobody guesses the stream of somebody else.
ID_BYTES = 16


@dataclass(slots=True, eq=False)
class OpenStream:
    """One open stream.

    Attributes:
        row: Its row in the table of states.
        step: Events that it has read since its start.
        used: When it was last used, on the clock of its `OpenStreams`.
        holder: The connection that reads it, which keeps it from being freed.
        open: False once its row may belong to another stream.
    """

    id: str
    row: int
    used: float
    step: int = 0
    holder: Any = None
    open: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class StreamWork:
    """Events for a stream: `Work` of a batch, in which a stream is only once."""

    stream: OpenStream
    events: Events
    reset: bool = False

    @property
    def key(self) -> int:
        """The row, so that two works on one state are done one after the other."""
        return self.stream.row

    @property
    def steps(self) -> int:
        """Events, at least 1."""
        return max(len(self.events), 1)


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """The probabilities (T, outputs) after the events of a message, and the steps up to then."""

    step: int
    probabilities: NDArray[np.float64]


@dataclass(slots=True)
class OpenStreams:
    """The open streams of a model.

    The methods are for the event loop, except `do` and `snapshot`, which a thread may call while
    the loop goes on.

    Args:
        clock: Seconds that never go back.
    """

    model: StreamedModel
    limits: Limits
    clock: Callable[[], float] = time.monotonic
    #: Grows with every change of the streams or their states.
    changes: int = field(default=0, init=False)
    _by_id: dict[str, OpenStream] = field(default_factory=dict, init=False)
    _free: list[int] = field(init=False)
    _table: list[Tensor] = field(init=False)
    #: Held while rows of the table change or are read.
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        rows = self.limits.max_streams
        self._free = list(range(rows))[::-1]
        self._table = [start.repeat(1, rows, 1) for start in self.model.starts]

    def __len__(self) -> int:
        return len(self._by_id)

    def open(self) -> OpenStream:
        """A new stream at the start of its states.

        Raises:
            Refusal: 429, if as many are open as there may be.
        """
        if not self._free:
            self.free_unused()
        if not self._free:
            raise Refusal(
                429,
                f"{len(self)} streams are open, the most that this server keeps; close one that "
                "is no longer needed with DELETE /streams/ID, or try again later",
                retry_after=self._next_free_s(),
            )
        return self._add(secrets.token_urlsafe(ID_BYTES))

    def find(self, id: str) -> OpenStream:
        """The open stream of an id, which is now in use.

        Raises:
            Refusal: 404, if there is none.
        """
        stream = self._by_id.get(id)
        if stream is None or self._is_unused(stream):
            raise Refusal(
                404,
                f"there is no stream {id[:40]!r}; expected an id that POST /streams returned, at "
                f"most {self.limits.keep_s:g} seconds after its last use: open a new stream",
            )
        stream.used = self.clock()
        return stream

    def hold(self, stream: OpenStream, connection: Any) -> Any:
        """Make a connection the reader of a stream; return the one before, which has lost it."""
        before, stream.holder = stream.holder, connection
        return before

    def release(self, stream: OpenStream, connection: Any) -> None:
        """End the hold of a connection, if it still has it; the stream can be resumed."""
        if stream.holder is connection:
            stream.holder = None
        stream.used = self.clock()

    def close(self, stream: OpenStream) -> Any:
        """Free a stream and its row; return the connection that has lost it, or None."""
        if self._by_id.pop(stream.id, None) is stream:
            stream.open = False
            self._free.append(stream.row)
            self.changes += 1
        return self.hold(stream, None)

    def free_unused(self) -> None:
        """Close the streams that nobody has used for longer than they are kept."""
        for stream in list(self._by_id.values()):
            if self._is_unused(stream):
                self.close(stream)

    def do(self, batch: Sequence[StreamWork]) -> list[StreamAnswer | Refusal]:
        """Read the events of a batch of streams: `do` of a `Batcher`."""
        nothing = np.zeros((0, len(self.model.outputs)))
        answers: dict[StreamWork, StreamAnswer | Refusal] = {}
        with self._lock:
            reading = []
            for work in batch:
                if not work.stream.open:
                    answers[work] = _gone(work.stream)
                    continue
                if work.reset or work.stream.step == 0:
                    self._restart(work.stream)
                answers[work] = StreamAnswer(work.stream.step, nothing)
                if len(work.events):
                    reading.append(work)
            self.changes += 1
            answers.update(zip(reading, self._read(reading), strict=True))
        return [answers[work] for work in batch]

    def snapshot(self) -> SavedStreams:
        """The open streams and copies of their states, between two batches."""
        with self._lock:
            # A closed stream's row may be another's, though not before the lock is free.
            streams = [stream for stream in list(self._by_id.values()) if stream.open]
            rows = torch.tensor([stream.row for stream in streams], dtype=torch.int64)
            states = [table.index_select(STREAM_AXIS, rows) for table in self._table]
            saved = tuple(SavedStream(stream.id, stream.step) for stream in streams)
        return SavedStreams(saved, tuple(states))

    def restore(self, saved: SavedStreams) -> None:
        """Open the streams of a snapshot again.

        Raises:
            ArgumentError: if they are more than there may be.
        """
        if len(saved.streams) > len(self._free):
            raise ArgumentError(
                f"{len(saved.streams)} streams were saved; expected at most max_streams="
                f"{len(self._free)}: give the server a larger max_streams"
            )
        for position, entry in enumerate(saved.streams):
            stream = self._add(entry.id)
            stream.step = entry.step
            for table, states in zip(self._table, saved.states, strict=True):
                table[:, stream.row] = states[:, position]

    def _is_unused(self, stream: OpenStream) -> bool:
        return stream.holder is None and stream.used < self.clock() - self.limits.keep_s

    def _add(self, id: str) -> OpenStream:
        stream = OpenStream(id, self._free.pop(), self.clock())
        self._by_id[id] = stream
        self.changes += 1
        return stream

    def _next_free_s(self) -> int:
        """Whole seconds until the next stream may be freed, at least 1."""
        unheld = [stream.used for stream in self._by_id.values() if stream.holder is None]
        since = min(unheld, default=self.clock())
        return max(1, math.ceil(since + self.limits.keep_s - self.clock()))

    def _restart(self, stream: OpenStream) -> None:
        stream.step = 0
        for table, start in zip(self._table, self.model.starts, strict=True):
            table[:, stream.row] = start[:, 0]

    def _read(self, reading: Sequence[StreamWork]) -> list[StreamAnswer | Refusal]:
        """Run the model on streams with events; a state that is no number is not stored."""
        if not reading:
            return []
        rows = torch.tensor([work.stream.row for work in reading])
        states = [table.index_select(STREAM_AXIS, rows) for table in self._table]
        probabilities, after = self.model.run([work.events for work in reading], states)
        # Padding is finite where its stream is, so that it need not be left out.
        valid: NDArray[np.bool_] = np.asarray(np.isfinite(probabilities).all((0, 2)))
        for state in after:
            valid &= ~state.isnan().any(-1).any(0).numpy()
        chosen = torch.from_numpy(np.flatnonzero(valid))
        for table, state in zip(self._table, after, strict=True):
            table.index_copy_(STREAM_AXIS, rows[chosen], state.index_select(STREAM_AXIS, chosen))
        answers: list[StreamAnswer | Refusal] = []
        for row, (work, is_valid) in enumerate(zip(reading, valid.tolist(), strict=True)):
            if is_valid:
                work.stream.step += len(work.events)
                values = probabilities[: len(work.events), row]
                answers.append(StreamAnswer(work.stream.step, values))
            else:
                answers.append(
                    Refusal(
                        422,
                        "the model's answer is not a finite number; expected events nearer to the "
                        "training data: the stream is as it was before this message",
                    )
                )
        return answers


def _gone(stream: OpenStream) -> Refusal:
    return Refusal(404, f"the stream {stream.id} was closed; open a new stream")
