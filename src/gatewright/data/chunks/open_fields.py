"""From a user's data to what chunks read: sequences of events and, if there are any, of targets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.chunks.array_steps import ArraySteps, array_steps
from gatewright.data.chunks.file_maps import FileMaps
from gatewright.data.chunks.parquet_steps import ParquetSteps, ParquetTable, sequence_borders
from gatewright.data.chunks.step_source import (
    RepeatedValue,
    StepSource,
    StoredSequence,
    are_symbols,
)
from gatewright.data.chunks.text_steps import TextSteps
from gatewright.data.containers.recordings import Recordings
from gatewright.data.containers.series import Series
from gatewright.data.containers.tagged import Tagged
from gatewright.data.containers.text import Text
from gatewright.data.source.request import Reading
from gatewright.errors import ArgumentError, DataError, SizeError

#: Endings of files that are read as tables or archives, not as texts.
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".ts", ".tsf", ".npz", ".gz", ".h5")

Sequences = Sequence[StoredSequence]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """The arguments of `chunks` that say how a file is read."""

    target: str | None = None
    id: str | None = None
    ignore: Sequence[str] = field(default=())
    text: str = "characters"


@dataclass(frozen=True, slots=True)
class OpenedData:
    """The sequences of some data, as long as each other, and the alphabet of a text."""

    x: Sequences
    target: Sequences | None = None
    alphabet: tuple[str, ...] = ()


def open_data(data: Any, options: FileOptions, *, batch_first: bool) -> OpenedData:
    """Open data of any kind that `chunks` takes; only what describes them is read.

    Args:
        batch_first: Whether arrays of three axes are (sequence, time, channel).

    Raises:
        ArgumentError, DataError, SizeError: naming what does not fit.
    """
    if isinstance(data, Reading):
        data = data.data
    if isinstance(data, str | os.PathLike):
        opened = _open_file(Path(os.fsdecode(data)), options, batch_first)
    elif options != FileOptions():
        raise ArgumentError(
            "target, id, ignore and text are about files; give targets as gw.chunks((x, y), ...)"
        )
    elif isinstance(data, Text | Series | Tagged | Recordings):
        opened = _open_container(data)
    elif isinstance(data, tuple):
        opened = _open_pair(data, batch_first)
    else:
        opened = OpenedData(_sequences(data, "x", batch_first))
    if not any(sequence.length for sequence in opened.x):
        raise DataError("the data have no step; expected at least one")
    return opened


def _open_pair(pair: tuple[Any, ...], batch_first: bool) -> OpenedData:
    if len(pair) != 2:
        raise ArgumentError(
            f"the data are a tuple of {len(pair)}; expected (x, targets), or a list of sequences"
        )
    x = _sequences(pair[0], "x", batch_first)
    is_several = isinstance(pair[0], list) or np.ndim(pair[0]) == 3
    if is_several and hasattr(pair[1], "shape") and len(pair[1].shape) == 1:
        labels = pair[1]
        if len(labels) != len(x):
            raise SizeError(
                f"x has {len(x)} sequences and there are {len(labels)} targets; expected one for "
                "each, or a list of arrays with one at each step"
            )
        return OpenedData(x, _repeated(x, np.asarray(labels), "y"))
    target = _sequences(pair[1], "y", batch_first)
    if len(target) != len(x):
        raise SizeError(f"x has {len(x)} sequences and the targets have {len(target)}")
    for number, (own, other) in enumerate(zip(x, target, strict=True)):
        if own.length != other.length:
            raise SizeError(
                f"sequence {number} of x has {own.length:,} steps and its targets have "
                f"{other.length:,}; expected as many"
            )
    return OpenedData(x, target)


def _sequences(value: Any, name: str, batch_first: bool) -> list[StoredSequence]:
    """Return the sequences of an array, of a list of arrays or of a file of numpy."""
    if isinstance(value, str | os.PathLike):
        value = _mapped(Path(os.fsdecode(value)))
    maps = FileMaps()
    if isinstance(value, list):
        if not value:
            raise DataError(f"{name} is an empty list; expected at least one sequence")
        sources = [
            array_steps(sequence, f"{name}[{number}]", maps)
            for number, sequence in enumerate(value)
        ]
        _check_alike(sources)
    elif hasattr(value, "shape") and len(value.shape) == 3:
        rows = range(value.shape[0 if batch_first else 1])
        views = [value[row] if batch_first else value[:, row] for row in rows]
        sources = [array_steps(view, name, maps) for view in views]
        if not sources:
            raise DataError(f"{name} has the shape {tuple(value.shape)}: there is no sequence")
    else:
        sources = [array_steps(value, name, maps)]
    return [whole(source) for source in sources]


def whole(source: StepSource) -> StoredSequence:
    """Return all steps of a source as a sequence."""
    return StoredSequence(source, 0, len(source))


def _check_alike(sources: Sequence[StepSource]) -> None:
    first = sources[0]
    for source in sources:
        is_same_kind = are_symbols(source.step_shape, source.dtype) == are_symbols(
            first.step_shape, first.dtype
        )
        if source.step_shape != first.step_shape or not is_same_kind:
            raise SizeError(
                f"{source.name} has steps of shape {source.step_shape} and type {source.dtype}, "
                f"and {first.name} of {first.step_shape} and {first.dtype}; expected the same"
            )


def _repeated(x: Sequences, labels: NDArray[Any], name: str) -> list[StoredSequence]:
    return [
        whole(RepeatedValue(label, sequence.length, name))
        for label, sequence in zip(labels, x, strict=True)
    ]


def _open_container(data: Text | Series | Tagged | Recordings) -> OpenedData:
    if isinstance(data, Text):
        return _next_steps([whole(ArraySteps(data.codes, data.name))], data.alphabet)
    if isinstance(data, Series):
        columns = data.target_positions
        x = [whole(ArraySteps(values, data.name)) for values in data.values]
        targets = [whole(ArraySteps(values[:, columns], data.name)) for values in data.values]
        return _next_steps(x, (), targets)
    x = [whole(ArraySteps(values, data.name)) for values in data.sequences]
    if not data.classes:
        return OpenedData(x)
    if isinstance(data, Recordings):
        return OpenedData(x, _repeated(x, data.labels, data.name))
    return OpenedData(x, [whole(ArraySteps(labels, data.name)) for labels in data.labels])


def _next_steps(
    x: Sequences, alphabet: tuple[str, ...], targets: Sequences | None = None
) -> OpenedData:
    """Return events whose targets are the next step's; the last step of a sequence has none."""
    following = [sequence.after(min(sequence.length, 1)) for sequence in targets or x]
    shorter = [
        StoredSequence(own.source, own.begin, later.length)
        for own, later in zip(x, following, strict=True)
    ]
    return OpenedData(shorter, following, alphabet)


def _open_file(path: Path, options: FileOptions, batch_first: bool) -> OpenedData:
    try:
        if not path.is_file():
            raise DataError(f"there is no file {str(path)!r}; expected a .npy, .parquet or text")
        suffix = path.suffix.lower()
        if suffix in (".parquet", ".pq"):
            return _open_parquet(path, options)
        if options != FileOptions(text=options.text):
            raise ArgumentError(
                f"target, id and ignore are about the columns of a Parquet file; {path.name} has "
                "none"
            )
        if suffix == ".npy":
            return OpenedData(_sequences(_mapped(path), path.name, batch_first))
        if suffix in _TABLES:
            raise DataError(
                f"{path.name} cannot be read in chunks; expected .npy, .parquet or a plain text: "
                "convert it, or read it into memory with gw.read and give its .data"
            )
        source = TextSteps(path, options.text)
        return _next_steps([whole(source)], source.alphabet)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path} cannot be mapped as an array of numpy ({error}); expected a .npy file of "
            "numbers, as np.save writes it"
        ) from error
    return array


def _open_parquet(path: Path, options: FileOptions) -> OpenedData:
    table = ParquetTable(path)
    ignored = [options.ignore] if isinstance(options.ignore, str) else list(options.ignore)
    roles = {"target": options.target, "id": options.id}
    for role, name in roles.items():
        table.check_columns([name] if name is not None else [], role)
    table.check_columns(ignored, "ignore")
    used = {*ignored, *roles.values()}
    columns = [name for name in table.columns if name not in used]
    if not columns:
        raise DataError(f"{path.name} has no column left to read; its columns: {table.columns}")
    borders = [0, len(table)] if options.id is None else sequence_borders(table, options.id)
    x = _pieces(ParquetSteps(table, columns), borders)
    if options.target is None:
        return OpenedData(x)
    return OpenedData(x, _pieces(ParquetSteps(table, [options.target], single=True), borders))


def _pieces(source: StepSource, borders: Any) -> list[StoredSequence]:
    return [
        StoredSequence(source, int(first), int(stop - first)) for first, stop in pairwise(borders)
    ]
