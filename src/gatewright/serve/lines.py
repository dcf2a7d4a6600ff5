"""A trained model in a pipe: a line with an event comes in, a line with the answer goes out."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.errors import ArgumentError, DataError
from gatewright.serve.refusal import Refusal
from gatewright.serve.service import load_model
from gatewright.serve.streamed_model import StreamedModel, parse_json, why_not_streamed

#: Symbols of a text that one line may have.
MAX_SYMBOLS = 2**16


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """The answer after a line.

    Attributes:
        step: Events since the start of the sequence.
        probabilities: By class or symbol; they sum to 1.
    """

    step: int
    probabilities: dict[str, float]

    @property
    def predicted(self) -> str:
        """The most probable class or symbol."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def as_json(self) -> str:
        """One line of JSON with all of it."""
        fields = {"step": self.step, "predicted": self.predicted}
        return json.dumps({**fields, "probabilities": self.probabilities}, ensure_ascii=False)


def answer_lines(directory: str | os.PathLike[str], lines: Iterable[str]) -> Iterator[LineAnswer]:
    r"""Yield the answer of a model after each line, as soon as it has come.

    A line is an event: comma-separated numbers in the order of the model's channels, numbers
    separated by semicolons (with decimal points or decimal commas), a list of JSON, or an object
    of JSON by channel. A first line of names sets the order of the columns, of
    which the model's channels are read. An empty line begins a new sequence. For a model of
    texts, a line is the text itself, with its line break.

    >>> for answer in answer_lines("runs/machine", ["0.4,12.5\n", "0.6,11.0\n"]):
    ...     print(answer.step, answer.predicted)                        # doctest: +SKIP
    1 idle
    2 moving

    Raises:
        ModelError: if the directory holds no model that was trained.
        ArgumentError: if the model has no answer after an event, with what to use instead.
        DataError: with the number of the line that cannot be read.
    """
    model = load_model(directory)
    reason = why_not_streamed(model, "use gatewright predict for whole sequences")
    if reason is not None:
        raise ArgumentError(reason)
    streamed = StreamedModel(model)
    read: Callable[[str], dict[str, Any] | None]
    read = _read_text if streamed.reads_text else _Values(streamed.channels)
    states, step = streamed.starts, 0
    for number, line in enumerate(lines, start=1):
        try:
            message = read(line)
            if message is None:
                continue
            events = streamed.read(message, most=MAX_SYMBOLS)
        except Refusal as error:
            reason = str(error).replace("event 0", "the event")
            raise DataError(f"line {number}: {reason}") from None
        if not len(events):
            states, step = streamed.starts, 0
            continue
        probabilities, states = streamed.run([events], states)
        last = probabilities[-1, 0]
        if not (last >= 0.0).all():  # also where they are NaN
            raise DataError(
                f"line {number}: its numbers are too large for the network, whose states are no "
                "numbers now; expected values as in the training data"
            )
        step += len(events)
        yield LineAnswer(step, dict(zip(streamed.outputs, last.tolist(), strict=True)))


def _read_text(line: str) -> dict[str, Any] | None:
    """The message of a line of a text; none of them begins a new sequence."""
    return {"text": line} if line else None


class _Values:
    """Lines of values, the first of which may hold the names of their columns."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.channels = channels
        self.columns: Sequence[str] | None = None  # unknown until the first line

    def __call__(self, line: str) -> dict[str, Any] | None:
        """The message of a line: no events for an empty one, None for a line of names."""
        text = line.removeprefix("\N{BOM}").strip()
        if not text:
            return {"events": []}
        if text[0] in "[{":
            return {"events": [parse_json(text)]}
        fields = _fields(text)
        if self.columns is None:
            has_names = not any(_is_number(field) for field in fields)
            self.columns = fields if has_names else self.channels
            if has_names:
                self._check_names(fields)
                return None
        if len(fields) != len(self.columns):
            raise Refusal(
                422,
                f"it has {len(fields)} value{'s'[: len(fields) != 1]}; expected "
                f"{len(self.columns)}: {', '.join(self.columns)}",
            )
        by_name = dict(zip(self.columns, fields, strict=True))
        return {"events": [[_number(name, by_name[name]) for name in self.channels]]}

    def _check_names(self, names: Sequence[str]) -> None:
        missing = [channel for channel in self.channels if channel not in names]
        if missing or len(set(names)) < len(names):
            raise Refusal(
                422,
                f"it names the columns {', '.join(names)}; expected the model's channels, each "
                f"once: {', '.join(self.channels)}",
            )


def _fields(text: str) -> list[str]:
    """The fields of a line, numbers with decimal points."""
    by_semicolon = [field.strip() for field in next(csv.reader([text], delimiter=";"))]
    if len(by_semicolon) == 1:
        return [field.strip() for field in next(csv.reader([text]))]
    # Where semicolons separate, a comma is a decimal mark, as in the files of such locales.
    pointed = [field.replace(",", ".") for field in by_semicolon]
    return [new if _is_number(new) else old for old, new in zip(by_semicolon, pointed, strict=True)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(name: str, text: str) -> float:
    if not _is_number(text):
        raise Refusal(
            422, f"{name} is {text[:40]!r}; expected a number without thousands marks, such as 0.5"
        )
    return float(text)
