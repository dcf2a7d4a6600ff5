"""A model at work: predictions and streams, each with a thread of its own; no HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from gatewright.errors import ArgumentError, GatewrightError, ModelError
from gatewright.files import check_new_file, locked
from gatewright.layers.saving import SEAL, load, read_config
from gatewright.serve.batching import Batcher
from gatewright.serve.describe import describe_model
from gatewright.serve.limits import Limits
from gatewright.serve.predictions import PredictionWork, check_request, predict_bodies
from gatewright.serve.refusal import Refusal
from gatewright.serve.saved_streams import FILE, read_streams, write_streams
from gatewright.serve.streamed_model import StreamedModel, why_not_streamed
from gatewright.serve.streams import OpenStream, OpenStreams, StreamAnswer, StreamWork
from gatewright.training.model import Model

#: Limit of (longest message × streams) in a batch: 64 units for each of them take 16 MB.
MAX_BATCH_STEPS = 2**16
#: Messages that may wait, for each stream that may be open: a client awaits its answer, and may
#: have been replaced by another while it did.
WAITING_A_STREAM = 2
#: Seconds for which a prediction may go on when the server ends.
PREDICTION_END_S = 1.0
#: Seconds between two looks for streams that nobody uses.
LOOK_S = 1.0

log = logging.getLogger("gatewright.serve")


class Service:
    """A saved model that answers requests, for one event loop.

    >>> import asyncio
    >>> async def main() -> dict:
    ...     async with Service("runs/vowels") as service:
    ...         stream = service.streams().open()
    ...         return await service.send(stream, {"events": [[0.5, 0.1]]})
    >>> asyncio.run(main())["step"]                                     # doctest: +SKIP
    1

    Args:
        directory: A model that `train` or `compare` wrote.
        limits: The limits of memory and time.
        states: A folder in which the streams are saved, and from which they continue; by default
            they end with the server.
        save_every_s: Seconds between two savings, in addition to the one at the end.

    Raises:
        ModelError: if the model, or the streams that were saved, cannot be used.
        ArgumentError: if the folder cannot be written, or another server uses it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        limits: Limits | None = None,
        states: str | os.PathLike[str] | None = None,
        save_every_s: float = 30.0,
    ) -> None:
        self.limits = limits or Limits()
        self.model = load_model(directory)
        self.digest: str = read_config(Path(directory))[SEAL]
        self.why_not_streamed = why_not_streamed(self.model)
        self._streams: OpenStreams | None = None
        if self.why_not_streamed is None:
            self._streams = OpenStreams(StreamedModel(self.model), self.limits)
        self._save_every_s = save_every_s
        self._folder: Path | None = None
        self._saved_changes = 0
        self._saving = threading.Lock()
        self._lock = ExitStack()  # on the folder
        if states is not None:
            with ExitStack() as lock:  # released again if the streams cannot be restored
                self._restore(Path(states), lock)
                self._lock = lock.pop_all()
        self._predictions: Batcher[PredictionWork] = Batcher(
            partial(predict_bodies, self.model),
            max_waiting=self.limits.max_waiting,
            max_steps=1,
            name="predictions",
        )
        self._messages: Batcher[StreamWork] | None = None
        if self._streams is not None:
            self._messages = Batcher(
                self._streams.do,
                max_waiting=WAITING_A_STREAM * self.limits.max_streams,
                max_steps=MAX_BATCH_STEPS,
                name="streams",
            )
        self._upkeep: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._upkeep = asyncio.create_task(self._keep_up())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End as `close` does, while the loop delivers the last answers."""
        if self._upkeep is not None:
            self._upkeep.cancel()
        await asyncio.to_thread(self.close)

    async def predict(
        self, body: bytes, media_type: str, options: dict[str, str], *, as_csv: bool = False
    ) -> bytes:
        """The predictions for rows: JSON, or CSV as `gatewright predict` prints it.

        Args:
            body: The rows, as a file of this type has them.
            media_type: "text/csv" or "application/json"; "text/plain" for a model of texts.
            options: Options of `gatewright predict`, by name.

        Raises:
            GatewrightError: if the rows cannot be predicted.
        """
        check_request(self.model, media_type, options)
        answer: bytes = await self._predictions.ask(
            PredictionWork(body, media_type, options, as_csv)
        )
        return answer

    def streams(self) -> OpenStreams:
        """The open streams.

        Raises:
            Refusal: 409, with the reason why the model has none.
        """
        if self._streams is None:
            raise Refusal(409, f"this model has no streams: {self.why_not_streamed}")
        return self._streams

    def opening(self, stream: OpenStream) -> dict[str, Any]:
        """The first answer of a stream: its id, its step, and the names of its outputs."""
        return {
            "id": stream.id,
            "step": stream.step,
            "outputs": list(self.streams().model.outputs),
            "kept_seconds": self.limits.keep_s,
        }

    async def send(self, stream: OpenStream, message: Any) -> dict[str, Any]:
        """Read the events of a message; the answer has the probabilities after each.

        Raises:
            Refusal: if the message cannot be read; then the stream is as it was.
        """
        model = self.streams().model
        assert self._messages is not None
        if not isinstance(message, dict):
            raise Refusal(422, "the message is no object of JSON; expected {...}")
        reset = message.get("reset", False)
        if not isinstance(reset, bool):
            raise Refusal(422, '"reset" is no truth value; expected true or false')
        events = model.read(message, most=self.limits.max_events)
        answer: StreamAnswer = await self._messages.ask(StreamWork(stream, events, reset))
        probabilities: list[list[float]] = answer.probabilities.tolist()
        return {
            "step": answer.step,
            "predicted": [model.outputs[row.index(max(row))] for row in probabilities],
            "probabilities": probabilities,
        }

    def about(self) -> dict[str, Any]:
        """The model and the limits, in JSON's types."""
        return describe_model(self.model, self.digest, self.why_not_streamed, self.limits)

    def status(self) -> dict[str, Any]:
        """The load: open streams, work that waits, and batches by their size, rounded up."""
        messages = self._messages
        return {
            "streams": 0 if self._streams is None else len(self._streams),
            "waiting": {
                "predictions": self._predictions.waiting,
                "messages": 0 if messages is None else messages.waiting,
            },
            "batches": {} if messages is None else dict(sorted(messages.sizes.items())),
        }

    def close(self) -> None:
        """Read the messages that wait, save the streams, and end the threads.

        Called again, it only saves.

        Raises:
            ArgumentError: if the streams cannot be saved.
        """
        if self._messages is not None:
            self._messages.close()
        self.save()
        self._lock.close()
        # A large table may take minutes, and its client has gone.
        self._predictions.close(PREDICTION_END_S)

    def save(self) -> None:
        """Save the streams if they have changed since.

        Raises:
            ArgumentError: if the file cannot be written; then the one before is still there.
        """
        if self._folder is None or self._streams is None:
            return
        with self._saving:  # or an older snapshot might replace a newer one
            changes = self._streams.changes
            if changes != self._saved_changes:
                write_streams(self._folder, self._streams.snapshot(), self.digest)
                self._saved_changes = changes

    def _restore(self, folder: Path, lock: ExitStack) -> None:
        """Continue the streams of a folder, which no other server may use meanwhile."""
        if self._streams is None:
            raise ArgumentError(
                f"leave states={os.fspath(folder)!r} out; the model has no streams to save, and "
                "/predict needs none"
            )
        check_new_file(folder / FILE, overwrite=True)
        # Whoever knows an id reads the stream, so nobody else may list them.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if lock.enter_context(locked(folder)) is False:
            raise ArgumentError(
                f"another server saves its streams in {folder}; name a folder for each server"
            )
        saved = read_streams(folder, self.digest, self._streams.model.starts)
        if saved is not None:
            self._streams.restore(saved)
        self._folder, self._saved_changes = folder, self._streams.changes

    async def _keep_up(self) -> None:
        """Free unused streams, and save the others at intervals, until this is cancelled."""
        due = time.monotonic() + self._save_every_s
        while True:
            await asyncio.sleep(min(LOOK_S, self._save_every_s, self.limits.keep_s))
            if self._streams is not None:
                self._streams.free_unused()
            if time.monotonic() < due:
                continue
            try:
                await asyncio.to_thread(self.save)
            except Exception as error:  # a full disk may have room again
                is_bug = not isinstance(error, GatewrightError)
                log.error("the streams were not saved: %s", error, exc_info=is_bug)
            due = time.monotonic() + self._save_every_s


def load_model(directory: str | os.PathLike[str]) -> Model:
    """The trained model of a directory, in eval mode.

    Raises:
        ModelError: if the directory is damaged or holds something else.
    """
    model = load(directory)
    if not isinstance(model, Model):
        raise ModelError(
            f"{os.fspath(directory)} holds a {type(model).__name__}; expected a model that "
            "`gatewright train` or `compare` has written"
        )
    model.check_weights()
    return model.eval()
