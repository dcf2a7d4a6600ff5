"""The `.ts` format of aeon and sktime: a header of @tags, then one case per line.

A line has the channels, separated by colons, each a list of numbers separated by commas, and the
class label last. The claims of the header are checked against the data. Each line is converted
as it is read, so a file may be larger than memory, but not its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import Fill, fill_missing
from gatewright.data.columns.number_column import NumberColumn
from gatewright.data.columns.number_format import POINT
from gatewright.data.containers.recordings import Recordings
from gatewright.data.containers.series import Series
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.source.request import Reading, Request
from gatewright.errors import ArgumentError, DataError

_COMMENTS = ("#", "%")  # "%" comes from the older .arff files
_MAX_LINE_LENGTH = 1 << 26
_FLAG_VALUES = {"true": True, "false": False}
# Tags with true or false, and tags with a number, by the name that is used for them.
_FLAGS = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
_COUNTS = {"dimension": "dimensions", "dimensions": "dimensions", "serieslength": "serieslength"}
_MAX_DIGITS = 18  # of a count: it stays below 2**63
_MAX_CLASSES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class _TsHeader:
    name: str
    flags: dict[str, bool]
    counts: dict[str, int]
    classes: tuple[str, ...]  # () if the cases have no label
    lines: int  # the number of lines up to @data


@dataclass(frozen=True, slots=True)
class _TsCase:
    line: int  # in the file, from 1
    values: NDArray[np.float64]  # (T, C)
    label: str | None


def read_ts(path: Path, name: str, request: Request, encoding: str = "utf-8-sig") -> Reading:
    """Return `Recordings` if the cases have class labels, else a `Series` with one per case."""
    request.without_columns(path.name, "is a .ts file, which has no named columns")
    request.without_marks(path.name)
    with open_text(path, newline=None, encoding=encoding) as file:
        lines = lines_of(path.name, file, _MAX_LINE_LENGTH)
        header = _read_header(path.name, lines)
        cases = [
            _repair(path.name, case, request.fill) for case in _cases(path.name, lines, header)
        ]
    if not cases:
        raise DataError(f"{path.name} has a header and no case after @data; expected data")
    _check_claims(path.name, header, cases)
    name = header.name or name
    if request.task == "tag" or (request.task == "forecast" and header.classes):
        fact, task = "no label", "forecast or classify"
        if header.classes:
            fact, task = "a class label for each case", "classify"
        raise ArgumentError(
            f"{path.name} has {fact}, which does not go with the task {request.task}; "
            f"expected {task}"
        )
    if not header.classes and request.task != "classify":
        series = _series(name, cases)
        return Reading(series, "forecast", "its cases have no class labels", path.name)
    recordings = _recordings(path.name, name, header, cases, request.labelled)
    why = "its header names class labels" if recordings.classes else "that was asked for"
    return Reading(recordings, "classify", why, path.name)


def _ids(cases: list[_TsCase]) -> tuple[str, ...]:
    return tuple(f"line {case.line}" for case in cases)


def _series(name: str, cases: list[_TsCase]) -> Series:
    channels = cases[0].values.shape[1]
    return Series(
        ids=_ids(cases),
        times=tuple(np.arange(len(case.values)) for case in cases),
        values=tuple(case.values for case in cases),
        channels=tuple(f"channel {number}" for number in range(1, channels + 1)),
        period=1.0,
        name=name,
    )


def _recordings(
    source: str, name: str, header: _TsHeader, cases: list[_TsCase], labelled: bool
) -> Recordings:
    """Return the cases with their labels; without labels if `labelled` is False and one lacks."""
    classes = header.classes
    if not classes and labelled:
        raise DataError(f"{source} has @classLabel false; expected labels for the task classify")
    unlabelled = [case for case in cases if case.label is None]
    if classes and unlabelled and labelled:
        raise DataError(f"{source}, line {unlabelled[0].line}: the label is missing; write it")
    if unlabelled:
        classes = ()
    labels = np.full(len(cases), -1)
    if classes:
        positions = {label: position for position, label in enumerate(classes)}
        labels = np.array([positions[case.label or ""] for case in cases])
        if labelled and len(np.unique(labels)) < 2:
            raise DataError(
                f"{source} has only one class, {classes[labels[0]]}; expected at least two"
            )
    return Recordings(
        sequences=tuple(case.values.astype(np.float32) for case in cases),
        labels=labels,
        classes=classes,
        ids=_ids(cases),
        name=name,
    )


def _read_header(source: str, lines: Iterator[str]) -> _TsHeader:
    """Read the lines up to @data."""
    flags: dict[str, bool] = {}
    counts: dict[str, int] = {}
    classes: tuple[str, ...] | None = None
    name, number = "", 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith(_COMMENTS):
            continue
        place = f"{source}, line {number}"
        tag = words[0].lower()
        if not tag.startswith("@"):
            raise DataError(
                f"{place} has {words[0][:40]!r}; expected a tag like @problemName, and the line "
                "@data before the data"
            )
        tag, values = tag[1:], words[1:]
        if tag == "data":
            break
        if tag == "problemname":
            name = " ".join(values)
        elif tag in _COUNTS:
            if len(values) != 1 or not (values[0].isascii() and values[0].isdigit()):
                raise DataError(f"{place}: @{tag} has {' '.join(values)!r}; expected a number")
            counts[_COUNTS[tag]] = int(values[0][:_MAX_DIGITS])
        elif tag in (*_FLAGS, "classlabel"):
            flag = _FLAG_VALUES.get(values[0].lower()) if values else None
            if flag is None:
                raise DataError(f"{place}: @{tag} has {' '.join(values)!r}; expected true or false")
            if tag == "classlabel":
                classes = tuple(values[1:])
                if flag != bool(classes) or len(set(classes)) < len(classes):
                    raise DataError(
                        f"{place}: @classLabel {'true' if flag else 'false'} with the classes "
                        f"{', '.join(classes) or 'none'}; expected each class once after true, "
                        "and none after false"
                    )
            flags[tag] = flag
        else:
            raise DataError(f"{place}: the tag @{tag} is not known; remove the line")
    else:
        raise DataError(
            f"{source} ends without the line @data, so it has no data; expected this line before "
            "the cases"
        )
    if flags.get("timestamps"):
        raise DataError(f"{source} has time stamps, which are not read; write only the values")
    if flags.get("targetlabel"):
        raise DataError(f"{source} is for regression; expected class labels or none")
    return _TsHeader(name, flags, counts, classes or (), number)


def _cases(source: str, lines: Iterator[str], header: _TsHeader) -> Iterator[_TsCase]:
    known = {*header.classes, "?"}
    for number, line in enumerate(lines, start=header.lines + 1):
        text = line.strip()
        if not text or text.startswith(_COMMENTS):
            continue
        place = f"{source}, line {number}"
        parts = text.split(":")
        label = None
        if header.classes:
            label = parts.pop().strip()
            if label not in known:
                raise DataError(
                    f"{place}: the label {label!r} is not among those after @classLabel; expected "
                    f"one of {', '.join(header.classes[:_MAX_CLASSES_SHOWN])}"
                )
        yield _TsCase(number, _values(place, parts), None if label == "?" else label)


def _values(place: str, channels: list[str]) -> NDArray[np.float64]:
    """Convert the channels of a line to (T, C), with NaN where a value is missing."""
    columns: list[NDArray[np.float64]] = []
    for number, channel in enumerate(channels, start=1):
        if not channel.strip():
            raise DataError(f"{place}: channel {number} is empty; expected at least one value")
        column = NumberColumn((POINT,))
        if fault := column.add(channel.split(","), 1):
            raise DataError(f"{place}, channel {number}, step {fault[0]}: {fault[1]}")
        columns.append(column.result())
        if len(columns[-1]) != len(columns[0]):
            raise DataError(
                f"{place}: channel {number} has {len(columns[-1])} steps and channel 1 has "
                f"{len(columns[0])}; expected the same number in each"
            )
    if not columns:
        raise DataError(f"{place} has a label and no values; expected values before it")
    return np.stack(columns, axis=1)


def _repair(source: str, case: _TsCase, fill: Fill | None) -> _TsCase:
    """Fill or leave out missing values; raise `DataError` if some remain."""
    missing = ~np.isfinite(case.values)
    if not missing.any():
        return case
    steps = np.arange(len(case.values))
    if fill == "drop":
        values = case.values[~missing.any(axis=1)]
    elif fill is not None:
        values = fill_missing(case.values, steps, fill)
    else:
        values = case.values
    if not len(values) or not np.isfinite(values).all():
        step, channel = np.argwhere(missing)[0]
        hint = (
            "; write a number, or pass fill='linear', 'previous' or 'drop'"
            if fill is None
            else f", and the line has no value to fill it with fill={fill!r}; write a number"
        )
        raise DataError(
            f"{source}, line {case.line}, channel {channel + 1}, step {step + 1}: the value is "
            f"missing{hint}"
        )
    return _TsCase(case.line, values, case.label)


def _check_claims(source: str, header: _TsHeader, cases: list[_TsCase]) -> None:
    """Raise `DataError` for cases that contradict the header, or differ in their channels."""
    channels = header.counts.get("dimensions", cases[0].values.shape[1])
    if header.flags.get("univariate"):
        channels = 1
    steps = header.counts.get("serieslength")
    if steps is None and header.flags.get("equallength"):
        steps = len(cases[0].values)
    for case in cases:
        if case.values.shape[1] != channels:
            raise DataError(
                f"{source}, line {case.line} has {case.values.shape[1]} channels; expected "
                f"{channels}, as in its header or its first case"
            )
        if steps and header.flags.get("equallength", True) and len(case.values) != steps:
            raise DataError(
                f"{source}, line {case.line} has {len(case.values)} steps; expected {steps}, as "
                "in its header; write @equalLength false there if lengths differ"
            )
