"""The `.ts` format of aeon and sktime: a header of @tags, then one case a line.

A line holds the channels one after the other, parted by colons, each a list of numbers parted
by commas, and the class label last. What the header claims is held to the data. A line is
turned into numbers as it is read, so a file may be larger than memory, its numbers may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import Fill, filled
from gatewright.data.columns.number_column import NumberCells
from gatewright.data.columns.number_format import POINT
from gatewright.data.containers.recordings import Recordings
from gatewright.data.containers.series import Series
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.source.request import Reading, Request
from gatewright.errors import ArgumentError, DataError

# Lines that are for people: "%" is that of the older .arff files.
_REMARKS = ("#", "%")
_LONGEST_LINE = 1 << 26
_YES_NO = {"true": True, "false": False}
# The tags that are followed by true or false, and those by a number.
_FLAGS = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
_COUNTS = {"dimension": "dimensions", "dimensions": "dimensions", "serieslength": "serieslength"}


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    flags: dict[str, bool]
    counts: dict[str, int]
    classes: tuple[str, ...]  # () where the cases have no label
    lines: int  # how many lines it takes


@dataclass(frozen=True, slots=True)
class _Case:
    line: int
    values: NDArray[np.float64]  # (T, C)
    label: str | None


def read_ts(path: Path, name: str, request: Request, encoding: str = "utf-8-sig") -> Reading:
    """`Recordings` where the cases have class labels, else a `Series` of one series a case."""
    request.without_columns(path.name, "is a .ts file, which has no named columns")
    request.without_marks(path.name)
    with open_text(path, newline=None, encoding=encoding) as file:
        lines = lines_of(path.name, file, _LONGEST_LINE)
        header = _header(path.name, lines)
        cases = [
            _mended(path.name, case, request.fill) for case in _cases(path.name, lines, header)
        ]
    if not cases:
        raise DataError(f"{path.name} has a header and no case after @data; expected data")
    _check_claims(path.name, header, cases)
    name = header.name or name
    if request.task == "tag" or (request.task == "forecast" and header.classes):
        raise ArgumentError(
            f"{path.name} has {'a class label for each case' if header.classes else 'no label'}, "
            f"which does not go with the task {request.task}"
        )
    ids = tuple(f"line {case.line}" for case in cases)
    if not header.classes and request.task != "classify":
        series = Series(
            ids=ids,
            times=tuple(np.arange(len(case.values)) for case in cases),
            values=tuple(case.values for case in cases),
            channels=tuple(f"channel {at + 1}" for at in range(cases[0].values.shape[1])),
            period=1.0,
            name=name,
        )
        return Reading(series, "forecast", "its cases have no class labels", path.name)
    labels = np.full(len(cases), -1)
    known = header.classes
    if not known and request.labelled:
        raise DataError(f"{path.name} says @classLabel false; expected labels for classify")
    unknown = [case for case in cases if case.label is None]
    if known and unknown and request.labelled:
        raise DataError(f"{path.name}, line {unknown[0].line}: the label is missing; write it")
    if unknown:
        known = ()
    if known:
        places = {label: at for at, label in enumerate(known)}
        labels = np.array([places[case.label or ""] for case in cases])
        if request.labelled and len(np.unique(labels)) < 2:
            raise DataError(
                f"{path.name} holds one class alone, {known[labels[0]]}; expected at least two"
            )
    recordings = Recordings(
        sequences=tuple(case.values.astype(np.float32) for case in cases),
        labels=labels,
        classes=known,
        ids=ids,
        name=name,
    )
    why = "its header names class labels" if known else "that was asked for"
    return Reading(recordings, "classify", why, path.name)


def _header(source: str, lines: Iterator[str]) -> _Header:
    """Read up to the line @data."""
    flags: dict[str, bool] = {}
    counts: dict[str, int] = {}
    classes: tuple[str, ...] | None = None
    name, number = "", 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith(_REMARKS):
            continue
        where = f"{source}, line {number}"
        tag = words[0].lower()
        if not tag.startswith("@"):
            raise DataError(f"{where}: expected a tag like @problemName or @data before the data")
        tag, values = tag[1:], words[1:]
        if tag == "data":
            break
        if tag == "problemname":
            name = " ".join(values)
        elif tag in _COUNTS:
            if len(values) != 1 or not (values[0].isascii() and values[0].isdigit()):
                raise DataError(f"{where}: @{tag} has {' '.join(values)!r}; expected a number")
            counts[_COUNTS[tag]] = int(values[0][:18])
        elif tag in (*_FLAGS, "classlabel"):
            flag = _YES_NO.get(values[0].lower()) if values else None
            if flag is None:
                raise DataError(f"{where}: @{tag} has {' '.join(values)!r}; expected true or false")
            if tag == "classlabel":
                classes = tuple(values[1:])
                if flag != bool(classes) or len(set(classes)) < len(classes):
                    raise DataError(
                        f"{where}: @classLabel {'true' if flag else 'false'} with the classes "
                        f"{', '.join(classes) or 'none'}; expected each class once after true, "
                        "and none after false"
                    )
            flags[tag] = flag
        else:
            raise DataError(f"{where}: the tag @{tag} is not known; take the line out")
    else:
        raise DataError(f"{source} ends without the line @data, so it holds no data")
    if flags.get("timestamps"):
        raise DataError(f"{source} has time stamps, which are not read; write the values alone")
    if flags.get("targetlabel"):
        raise DataError(f"{source} is for regression; expected class labels or none")
    return _Header(name, flags, counts, classes or (), number)


def _cases(source: str, lines: Iterator[str], header: _Header) -> Iterator[_Case]:
    known = {*header.classes, "?"}
    for number, line in enumerate(lines, start=header.lines + 1):
        text = line.strip()
        if not text or text.startswith(_REMARKS):
            continue
        where = f"{source}, line {number}"
        parts = text.split(":")
        label = None
        if header.classes:
            label = parts.pop().strip()
            if label not in known:
                raise DataError(
                    f"{where}: the label {label!r} is none of those after @classLabel: "
                    f"{', '.join(header.classes[:10])}"
                )
        yield _Case(number, _values(where, parts), None if label == "?" else label)


def _values(where: str, channels: list[str]) -> NDArray[np.float64]:
    """(T, C), NaN where a value is missing."""
    columns: list[NDArray[np.float64]] = []
    for at, channel in enumerate(channels, start=1):
        if not channel.strip():
            raise DataError(f"{where}: channel {at} is empty; expected at least one value")
        column = NumberCells((POINT,))
        if fault := column.add(channel.split(","), 1):
            raise DataError(f"{where}, channel {at}, step {fault[0]}: {fault[1]}")
        columns.append(column.done())
        if len(columns[-1]) != len(columns[0]):
            raise DataError(
                f"{where}: channel {at} has {len(columns[-1])} steps and channel 1 has "
                f"{len(columns[0])}; expected as many in each"
            )
    if not columns:
        raise DataError(f"{where} holds a label and no values; expected values before it")
    return np.stack(columns, axis=1)


def _mended(source: str, case: _Case, fill: Fill | None) -> _Case:
    """The case with nothing missing."""
    missing = ~np.isfinite(case.values)
    if not missing.any():
        return case
    steps = np.arange(len(case.values))
    if fill == "drop":
        values = case.values[~missing.any(axis=1)]
    elif fill is not None:
        values = filled(case.values, steps, fill)
    else:
        values = case.values
    if not len(values) or not np.isfinite(values).all():
        step, channel = np.argwhere(missing)[0]
        raise DataError(
            f"{source}, line {case.line}, channel {channel + 1}, step {step + 1}: the value is "
            + (
                "missing; write a number, or say fill='linear', 'previous' or 'drop'"
                if fill is None
                else f"missing, and nothing is there to fill it with fill={fill!r}"
            )
        )
    return _Case(case.line, values, case.label)


def _check_claims(source: str, header: _Header, cases: list[_Case]) -> None:
    """Hold what the header claims to the data; also where it claims nothing, channels agree."""
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
                "its header says; say @equalLength false there if lengths differ"
            )
