"""Predictions for rows in the body of a request, by the function behind `gatewright predict`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.errors import DataError, GatewrightError
from gatewright.names import comma_separated, did_you_mean
from gatewright.serve.refusal import Refusal
from gatewright.serve.streamed_model import parse_json
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model
from gatewright.training.predict import predict

#: The ending of a file with such a body, which decides how it is read.
TABLES = {"application/json": ".json", "text/csv": ".csv"}
TEXT = "text/plain"
#: The rows of a request in messages.
SOURCE = "the body"
#: The options of a request, which are those of `gatewright predict`.
OPTIONS = (
    "horizon",
    "unknown",
    "ignore",
    "fill",
    "decimal",
    "thousands",
    "encoding",
    "timezone",
)


@dataclass(frozen=True, slots=True)
class PredictionWork:
    """The body of a request and its options: `Work` that is done alone."""

    body: bytes
    media_type: str
    options: Mapping[str, str]
    as_csv: bool = False

    @property
    def key(self) -> Hashable:
        """The same for all, so that each is a batch of its own."""
        return None

    @property
    def steps(self) -> int:
        """Not known before the rows are read."""
        return 1


def predict_bodies(model: Model, batch: Sequence[PredictionWork]) -> list[bytes | Exception]:
    """The answers to requests: CSV as `gatewright predict` prints it, or JSON as with `--json`."""

    def answer(work: PredictionWork) -> bytes | Exception:
        try:
            return _answer(model, work)
        except GatewrightError as error:
            return error

    return [answer(work) for work in batch]


def check_request(model: Model, media_type: str, options: Mapping[str, str]) -> None:
    """Refuse a kind of body or an option that there is not.

    Raises:
        Refusal: 415 or 400.
    """
    is_text = isinstance(model.task, NextSymbol)
    expected = [TEXT] if is_text else list(TABLES)
    if media_type not in expected:
        raise Refusal(
            415,
            f"the Content-Type is {media_type or 'missing'}; expected {' or '.join(expected)}, as "
            f"in: curl -H 'Content-Type: {expected[-1]}' --data-binary @FILE",
        )
    for name in options:
        if name not in OPTIONS:
            raise Refusal(
                400,
                f"there is no option {name[:40]!r}; {did_you_mean(name, OPTIONS)}expected some of "
                f"{', '.join(OPTIONS)}",
            )


def _answer(model: Model, work: PredictionWork) -> bytes:
    is_json = work.media_type == "application/json"
    if is_json:
        parse_json(work.body)  # refuses NaN, which the reader of files takes for missing
    # A file in a folder of its own: the readers then do for a request what they do for a file.
    with tempfile.TemporaryDirectory(prefix="gatewright-") as folder:
        path = Path(folder, f"{SOURCE}{TABLES.get(work.media_type, '.txt')}")
        path.write_bytes(work.body)
        try:
            predicted = predict(model, path, **_arguments(work.options))
        except DataError as error:  # messages about a file have its name
            raise DataError(str(error).replace(path.name, SOURCE)) from error
    if work.as_csv:
        try:
            return predicted.to_csv().encode()
        except UnicodeEncodeError:
            raise Refusal(
                422,
                "the rows have half of a surrogate pair, which CSV cannot have; expected Unicode, "
                "or Accept: application/json",
            ) from None
    table = {"columns": predicted.written, "remarks": predicted.remarks}
    return json.dumps(table, allow_nan=False).encode()


def _arguments(options: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(options)
    if "ignore" in arguments:
        arguments["ignore"] = comma_separated(arguments["ignore"])
    if "horizon" in arguments:
        try:
            arguments["horizon"] = int(arguments["horizon"])
        except ValueError:
            raise Refusal(
                400, f"horizon is {arguments['horizon'][:40]!r}; expected a whole number from 1"
            ) from None
    return arguments
