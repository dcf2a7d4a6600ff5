"""Use a saved model on new data: check them against what it learned from, and write a table."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewright.data import Reading, read
from gatewright.data.source.request import as_names
from gatewright.errors import ArgumentError, DataError, ModelError
from gatewright.files import check_new_file, write_file
from gatewright.layers.saving import load
from gatewright.tasks.forecast.new_series import Unknown
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.text.presentation import readable
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model


@dataclass(frozen=True, slots=True)
class Predicted:
    """The answers of a model as a table, and remarks on the data.

    `columns` calls the ids and the times of a table "id" and "time", whatever the data call
    them; what is written has the data's own names.
    """

    columns: Mapping[str, list[Any]]
    remarks: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)  # of the data, for "id" and "time"

    @property
    def written(self) -> dict[str, list[Any]]:
        """The columns under the names that a file has, those of the data."""
        named = {name: self.names.get(name, name) for name in self.columns}
        # A name that another column has already would hide it.
        unique = {own for own, count in Counter(named.values()).items() if count == 1}
        return {own if own in unique else name: self.columns[name] for name, own in named.items()}

    def to_csv(self) -> str:
        """As text: a header, and one line a row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.written)
        writer.writerows(zip(*self.written.values(), strict=True))
        return text.getvalue()

    def to_parquet(self) -> bytes:
        """As the bytes of a Parquet file; needs pyarrow."""
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
    **reading: Any,
) -> Predicted:
    """Answer new data with a trained model.

    >>> table = predict("runs/weather", "this_week.csv", out="next.csv")    # doctest: +SKIP

    Args:
        model: A directory that `train` or `compare` has written, or the model in it.
        data: A file, a dataframe, a bundled data set or one of the data types; read with the
            columns that the model was trained with. Labels are not needed, and rows may stand
            in any order of time. A series that is too short is left out and remarked on.
        out: A `.csv` or `.parquet` file to write.
        overwrite: Whether `out` may be there already.
        horizon: Steps that a forecast tells, at most those of the model.
        unknown: "refuse" a category of a static column that the model has not learned, or
            forecast its series as one of none of them ("other").
        **reading: Arguments of `gatewright.data.read` that differ from the training's; what
            `ignore` names is left out in addition.

    Raises:
        ModelError: if the directory is damaged, or holds something else.
        DataError: if the data do not fit what the model learned from.
        ArgumentError: if `out` cannot be written.
    """
    write = None if out is None else _writer(out, overwrite)
    model = _model(model)
    data, names = _read(model, data, reading)
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
    predicted = Predicted(columns, tuple(remarks), names)
    if write is not None:
        write(predicted)
    return predicted


def _read(model: Model, data: Any, reading: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
    """New data, and their own names for "id" and "time"."""
    if isinstance(data, Reading):
        roles = {} if data.roles is None else {"id": data.roles.id, "time": data.roles.time}
        return data.data, {role: name for role, name in roles.items() if name}
    if not isinstance(data, str | os.PathLike) and hasattr(data, "about"):
        return data, {}
    asked = {**model.reading, "labelled": False, **reading}
    asked["ignore"] = (*model.reading.get("ignore", ()), *as_names(reading.get("ignore", ())))
    answer = read(data, **asked)
    names = {"id": asked.get("id"), "time": asked.get("time")}
    return answer.data, {role: name for role, name in names.items() if name}


def _check_finite(columns: Mapping[str, list[Any]]) -> None:
    for name, values in columns.items():
        for row, value in enumerate(values):
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(
                    f"the model's answer is {value} in row {row + 1}, column {name}; expected a "
                    "finite number: the data are too far from what the model learned from"
                )


def sample(
    model: str | os.PathLike[str] | Model,
    prompt: str = "",
    *,
    symbols: int = 400,
    temperature: float = 0.8,
    seed: int = 0,
) -> str:
    """What a saved model of the next symbol writes after `prompt`.

    Raises:
        ModelError: if the directory is damaged, or holds something else.
        ArgumentError: if the model's task is another one.
        DataError: if the prompt has a symbol that was not learned.
    """
    model = _model(model)
    task = model.task
    whole = prompt.encode() if isinstance(task, NextSymbol) and task.unit == "bytes" else prompt
    written = model.sample(whole, symbols=symbols, temperature=temperature, seed=seed)
    return readable(written)


def _model(given: str | os.PathLike[str] | Model) -> Model:
    model = given if isinstance(given, Model) else load(given)
    if isinstance(model, Model):
        model.check_weights()
    if not isinstance(model, Model):
        raise ModelError(
            f"{given} holds a {type(model).__name__}; expected a model that "
            "`gatewright train` or `compare` has written"
        )
    return model


def _writer(out: str | os.PathLike[str], overwrite: bool) -> Any:
    path = Path(out)
    if path.suffix not in (".csv", ".parquet"):
        raise ArgumentError(f"--out is {path}; expected a name that ends with .csv or .parquet")
    check_new_file(path, overwrite=overwrite)

    def write(found: Predicted) -> None:
        content = found.to_parquet() if path.suffix == ".parquet" else found.to_csv().encode()
        write_file(path, content, overwrite=overwrite)

    return write
