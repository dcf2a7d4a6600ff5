"""A trained model that answers after every event: many streams of it as one batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.errors import ArgumentError, GatewrightError
from gatewright.serve.refusal import Refusal
from gatewright.tasks.labelled import Labelled
from gatewright.tasks.task import Batch
from gatewright.tasks.text.mixture import REACH
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model

#: Events of one stream: values (T, I) in single precision, or codes of symbols (T,).
Events = NDArray[Any]
#: The axis of the streams in every state: (layers, streams, size).
STREAM_AXIS = 1
#: The code that is no symbol, in the history of a text that has just begun.
NO_SYMBOL = -1
#: The largest number of single precision.
MAX_NUMBER = torch.finfo(torch.float32).max


class StreamedModel:
    """A model that reads events one after the other, with explicit states.

    Raises:
        ArgumentError: with the reason why the model has no answer after an event.

    Attributes:
        reads_text: Whether events are symbols of a text, not values of channels.
        channels: The names of the values of an event; none for a text.
        outputs: The classes or symbols whose probabilities are the answer.
        starts: The states before the first event, each `(layers, 1, size)`.
    """

    def __init__(self, model: Model) -> None:
        reason = why_not_streamed(model)
        if reason is not None:
            raise ArgumentError(reason)
        self.model = model
        task: Any = model.task
        self.task = task
        members: list[Any] = list(model.members) if isinstance(model, Ensemble) else [model]
        self._members: list[Model] = members
        self._forms = [_start(member.streamed) for member in members]
        self.reads_text = isinstance(model.task, NextSymbol)
        self.channels: tuple[str, ...] = () if self.reads_text else task.seen.channels
        self.outputs: tuple[str, ...] = task.vocabulary if self.reads_text else task.classes
        self.starts = [leaf for form in self._forms for leaf in _leaves(form)]
        self._dtype = next(model.parameters()).dtype
        if model.completion is not None:  # it reads the latest symbols
            self.starts.append(torch.full((1, 1, REACH), NO_SYMBOL))
        self._build_kernels()

    def read(self, message: Mapping[str, Any], *, most: int) -> Events:
        """The events of a message: values (T, I), or codes of symbols (T,); T may be 0.

        Args:
            message: `{"events": [[1.5, 2.0], ...]}`, each a list in the order of the channels or
                an object by their names; for a text `{"text": "..."}`.
            most: Events that a message may have.

        Raises:
            Refusal: 422, if it has anything else.
        """
        field = "text" if self.reads_text else "events"
        unknown = sorted(message.keys() - {field, "reset"})
        if unknown:
            raise Refusal(
                422, f'the message has {unknown[0]!r}; expected "{field}", and perhaps "reset"'
            )
        value = message.get(field, "" if field == "text" else [])
        events = self._symbols(value) if field == "text" else self._listed(value)
        if len(events) > most:
            raise Refusal(
                422,
                f"the message has {len(events)} events; expected at most {most}: send the rest in "
                "a second message",
            )
        return events if isinstance(events, np.ndarray) else self._values(events)

    @torch.no_grad()
    def run(
        self, events: Sequence[Events], states: Sequence[Tensor]
    ) -> tuple[NDArray[np.float64], list[Tensor]]:
        """The probabilities after every event of each stream, and the states after the last.

        Args:
            events: Of each of B streams, as `read` gives them, at least one event each.
            states: Like `starts`, with the B streams on `STREAM_AXIS`.

        Returns:
            (T, B, outputs), of any value beyond the events of a stream, and the states in the
            order of `starts`.
        """
        padded, steps = _padded(events)
        x, lengths = torch.from_numpy(padded), torch.tensor(steps)
        if not self.reads_text:
            x = x.to(self._dtype)
        unequal = lengths if min(steps) < len(x) else None
        remaining = iter(states)
        logits, after = [], []
        for member, form in zip(self._members, self._forms, strict=True):
            layer: Any = member.streamed
            state = _rebuilt(form, remaining)
            output, state = layer(member.encode(x), state, lengths=unequal)
            logits.append(member.readout(output))
            after += _leaves(state)
        outputs = logits[0] if len(logits) == 1 else self.task.mean_outputs(torch.stack(logits))
        if self.model.completion is not None:
            history = next(remaining)[0].T  # (REACH, B)
            outputs = self.model.completed(outputs, Batch(x, unequal, x, further=history))
            after.append(_later_history(history, x, lengths))
        return outputs.softmax(-1).double().numpy(), after

    def _build_kernels(self) -> None:
        """Run the two forms of a batch, so that no client waits a second for its first answer."""
        size, dtype = ((), np.int64) if self.reads_text else ((self.task.inputs,), np.float32)
        events: Events = np.zeros((2, *size), dtype)
        for steps in ([1], [2, 1]):
            states = [start.repeat(1, len(steps), 1) for start in self.starts]
            self.run([events[:count] for count in steps], states)

    def _symbols(self, text: Any) -> Events:
        if not isinstance(text, str):
            raise Refusal(422, f'"text" is {_shown(text)}; expected a text, whose symbols are read')
        if not text:
            return np.zeros(0, np.int64)
        try:
            codes = self.task.encode(text.encode() if self.task.unit == "bytes" else text)
        except UnicodeEncodeError:
            raise Refusal(422, '"text" has half of a surrogate pair; expected Unicode') from None
        except GatewrightError as error:
            raise Refusal(422, f'"text" cannot be read: {error}') from None
        return np.asarray(codes, np.int64)

    def _listed(self, events: Any) -> list[Any]:
        if not isinstance(events, list):
            raise Refusal(
                422,
                f'"events" is {_shown(events)}; expected a list of events, each '
                f"{_form(self.channels)}",
            )
        return events

    def _values(self, events: list[Any]) -> Events:
        channels = self.channels
        rows = [self._row(number, event, channels) for number, event in enumerate(events)]
        # In single precision, as every sequence is read.
        return np.array(rows, np.float32).reshape(len(rows), len(channels))

    @staticmethod
    def _row(number: int, event: Any, channels: Sequence[str]) -> list[Any]:
        """The values of an event in the order of the channels."""
        if isinstance(event, dict) and event.keys() == set(channels):
            event = [event[channel] for channel in channels]
        if not isinstance(event, list) or len(event) != len(channels):
            raise Refusal(422, f"event {number} is {_shown(event)}; expected {_form(channels)}")
        for value in event:  # not `isinstance`: true and false are integers of Python
            if type(value) not in (int, float) or not abs(value) <= MAX_NUMBER:
                raise Refusal(
                    422,
                    f"event {number} has {_shown(value)}; expected finite numbers of single "
                    "precision",
                )
        return event


def why_not_streamed(
    model: Model, use_predict: str = "POST whole sequences to /predict"
) -> str | None:
    """The reason why a model has no answer after each event, with what can be done; or None.

    Args:
        use_predict: The advice to predict for whole sequences instead.
    """
    if model.task.kind == "forecast":
        return (
            f"a forecast reads a whole window of past steps, not a stream of events; {use_predict}"
        )
    if isinstance(model.task, NextSymbol) and model.task.joined:
        return (
            "the model reads pieces of several characters, which a stream of characters does not "
            f"show before they end; {use_predict}, or train on characters (--text characters)"
        )
    members: Any = model.members if isinstance(model, Ensemble) else [model]
    for member in members:
        if member.recurrent is None:
            return (
                f"the network {member.network} has no recurrent layer to carry a state; "
                f"{use_predict}, or train a recurrent cell, such as --cell gru"
            )
        if member.streamed is None:
            return (
                f"the model's design is {member.body.design.words()}: it needs a whole sequence "
                f"before it answers; {use_predict}, or train one that does not with --streaming"
            )
    assert isinstance(model.task, Labelled | NextSymbol)
    return None


def parse_json(text: str | bytes) -> Any:
    """A value of JSON, without the NaN and Infinity that Python's own parser takes.

    Raises:
        Refusal: 400, if it is not JSON.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no value of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise Refusal(
            400, "the message is nested too deeply; expected an object of lists"
        ) from None
    except ValueError as error:
        raise Refusal(400, f"the message is not JSON ({str(error)[:200]}); correct it") from None


@torch.no_grad()
def _start(layer: Any) -> Any:
    """The states before the first event of one stream, as the layer returns them."""
    weight = next(layer.parameters())
    nothing = torch.zeros(1, 1, layer.input_size, dtype=weight.dtype)
    _, state = layer(nothing, lengths=torch.tensor([0]))
    return state


def _padded(events: Sequence[Events]) -> tuple[Events, list[int]]:
    """Events of B streams as (T, B, ...), zero at their ends, and how many each has."""
    steps = [len(sequence) for sequence in events]
    longest = max(steps)
    if min(steps) == longest:
        return np.stack(list(events), axis=1), steps
    first = events[0]
    padded = np.zeros((longest, len(events), *first.shape[1:]), first.dtype)
    for row, sequence in enumerate(events):
        padded[: len(sequence), row] = sequence
    return padded, steps


def _leaves(state: Any) -> list[Tensor]:
    """The tensors of a layer's states, whatever their nesting."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state for leaf in _leaves(part)]


def _rebuilt(form: Any, leaves: Iterator[Tensor]) -> Any:
    """The next leaves in the nesting of `form`."""
    if isinstance(form, Tensor):
        return next(leaves)
    return type(form)([_rebuilt(part, leaves) for part in form])


def _later_history(history: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    """The latest symbols after x (T, B), of which a row has `lengths`: (1, B, REACH)."""
    codes = torch.cat([history, x])
    places = lengths + torch.arange(len(history))[:, None]  # (REACH, B)
    return codes.gather(0, places).T[None]


def _form(channels: Sequence[str]) -> str:
    return f"a list of {len(channels)} numbers, or an object by channel: {', '.join(channels)}"


def _shown(value: Any) -> str:
    """The beginning of a value as JSON, for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]} ..."
