"""Use a saved model on new data: compare them with its training data, and write a table."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewright.data import Reading
from gatewright.data.reading import read_as
from gatewright.data.source.request import NoColumns, Request, as_names
from gatewright.devices import find_device
from gatewright.errors import ArgumentError, DataError, ModelError
from gatewright.files import check_new_file, write_file
from gatewright.layers.saving import load
from gatewright.tasks.forecast.new_series import Unknown
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.text.presentation import readable
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.choose_device import choose_device
from gatewright.training.model import Model


@dataclass(frozen=True, slots=True)
class Predicted:
    """The predictions of a model as a table, and remarks on the data.

    `columns` calls the ids and the times "id" and "time"; a file that is written has the names
    of the data's own columns instead.
    """

    columns: Mapping[str, list[Any]]
    remarks: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)  # the data's own, by "id" and "time"

    @property
    def written(self) -> dict[str, list[Any]]:
        """The columns as a file has them, with the data's own names."""
        named = {name: self.names.get(name, name) for name in self.columns}
        # A name that a predicted column has too would hide that column.
        unique = {own for own, count in Counter(named.values()).items() if count == 1}
        return {own if own in unique else name: self.columns[name] for name, own in named.items()}

    def to_csv(self) -> str:
        """The table as text: a header, and a line for each row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.written)
        writer.writerows(zip(*self.written.values(), strict=True))
        return text.getvalue()

    def to_parquet(self) -> bytes:
        """The table as the bytes of a Parquet file; needs pyarrow."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ArgumentError(
                "Parquet needs pyarrow: pip install 'gatewright[parquet]', or write a .csv"
            ) from error
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(self.written), sink)
        return sink.getvalue()


def predict(
    model: str | os.PathLike[str] | Model,
    data: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    horizon: int | None = None,
    unknown: Unknown = "refuse",
    device: str | None = None,
    **reading: Any,
) -> Predicted:
    """Predict for new data with a trained model.

    >>> table = predict("runs/weather", "this_week.csv", out="next.csv")    # doctest: +SKIP

    Args:
        model: A directory that `train` or `compare` has written, or the model in it.
        data: A file, a dataframe, a bundled data set or an object of a data type; read with the
            columns that the model was trained with. Labels are not needed, and rows may be in
            any order of time. A series that is too short is left out, with a remark.
        out: A `.csv` or `.parquet` file to write.
        overwrite: Replace `out` if it exists.
        horizon: Steps to forecast, at most those of the model.
        unknown: "refuse" a category of a static column that the model has not learned, or
            forecast its series without a category ("other").
        device: As in `train`. Without it, a model runs where it is, and one from a directory on
            the CPU.
        **reading: Arguments of `gatewright.data.read` that differ from the training's; columns
            in `ignore` are left out in addition to the training's.

    Raises:
        ModelError: if the directory is damaged, or holds something else.
        DataError: if the data do not fit the model's training data.
        ArgumentError: if `out` cannot be written.
    """
    write = None if out is None else _writer(out, overwrite)
    model = _model(model, device)
    data, names, filled = read_new(model, data, reading)
    task = model.task
    if isinstance(task, Forecast):
        ready, remarks = task.adapt(data, unknown=unknown)
        columns = task.table(model, ready, horizon=horizon)
    elif horizon is not None or unknown != "refuse":
        raise ArgumentError(
            f"the model's task is {task.kind}: horizon= and unknown= are for a forecast; leave "
            "them out"
        )
    else:
        ready, remarks = task.adapt(data)
        columns = task.table(model, ready)
    _check_finite(columns)
    predicted = Predicted(columns, (*filled, *remarks), names)
    if write is not None:
        write(predicted)
    return predicted


def read_new(
    model: Model, data: Any, reading: Mapping[str, Any]
) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """Read new data as the training's.

    Returns:
        The data, the names of their id and time columns, and remarks on values that were filled in.

    Raises:
        DataError: if they cannot be read, or are for another task.
    """
    new, names, filled = _read_new(model, data, reading)
    model.task.check_type(new)
    return new, {role: name for role, name in names.items() if name}, filled


def _read_new(
    model: Model, data: Any, reading: Mapping[str, Any]
) -> tuple[Any, dict[str, str | None], tuple[str, ...]]:
    if isinstance(data, Reading):
        roles = {} if data.roles is None else {"id": data.roles.id, "time": data.roles.time}
        return data.data, roles, data.filled
    if not isinstance(data, str | os.PathLike) and hasattr(data, "about"):
        return data, {}, ()
    new = read_like(model, data, reading)
    columns = {**model.reading, **reading}
    return new.data, {role: columns.get(role) for role in ("id", "time")}, new.filled


def read_like(model: Model, data: Any, reading: Mapping[str, Any] | None = None) -> Reading:
    """Read a file or a dataframe as the training data were read, except for these arguments.

    Raises:
        DataError: if it cannot be read so.
        ArgumentError: if an argument does not fit it.
    """
    reading = reading or {}
    arguments = {**model.reading, "labelled": False, **reading}
    arguments["ignore"] = (*model.reading.get("ignore", ()), *as_names(reading.get("ignore", ())))
    try:
        return read_as(data, Request.of(**arguments, numbers=model.task.channels))
    except NoColumns as error:
        if error.role in reading:
            raise
        raise DataError(  # nobody typed this argument
            f"the model reads a column {error.name}; {error.source} {error.why}: give data like "
            "those of its training"
        ) from None


def _check_finite(columns: Mapping[str, list[Any]]) -> None:
    for name, values in columns.items():
        for row, value in enumerate(values):
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(
                    f"the model's prediction is {value} in row {row + 1}, column {name}; expected "
                    "a finite number: the data are too far from the training data"
                )


def sample(
    model: str | os.PathLike[str] | Model,
    prompt: str = "",
    *,
    symbols: int = 400,
    temperature: float = 0.8,
    seed: int = 0,
    device: str | None = None,
) -> str:
    """Continue `prompt` with a saved model of the next symbol; `device` as in `predict`.

    Raises:
        ModelError: if the directory is damaged, or holds something else.
        ArgumentError: if the model has another task.
        DataError: if the prompt has a symbol that the model has not learned.
    """
    model = _model(model, device)
    task = model.task
    is_bytes = isinstance(task, NextSymbol) and task.unit == "bytes"
    start = prompt.encode() if is_bytes else prompt
    return readable(model.sample(start, symbols=symbols, temperature=temperature, seed=seed))


def _model(source: str | os.PathLike[str] | Model, device: str | None = None) -> Model:
    """The model, loaded from its directory if need be, with finite weights, on a device."""
    if device is not None:
        find_device(device)
    model = source if isinstance(source, Model) else load(source)
    if not isinstance(model, Model):
        raise ModelError(
            f"{source} holds a {type(model).__name__}; expected a model that "
            "`gatewright train` or `compare` has written"
        )
    model.check_weights()
    if device is not None:
        members = getattr(model, "members", [model])
        model = model.to(choose_device(device, members)[0])
    return model


def _writer(out: str | os.PathLike[str], overwrite: bool) -> Callable[[Predicted], None]:
    """The function that writes the table; `out` is checked now, before anything is computed."""
    path = Path(out)
    if path.suffix not in (".csv", ".parquet"):
        raise ArgumentError(f"--out is {path}; expected a name that ends with .csv or .parquet")
    check_new_file(path, overwrite=overwrite)

    def write(table: Predicted) -> None:
        content = table.to_parquet() if path.suffix == ".parquet" else table.to_csv().encode()
        write_file(path, content, overwrite=overwrite)

    return write
