"""Use a saved model on new data: check them against what it learned from, and write a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.data import Reading, read
from gatewright.errors import ArgumentError, ModelError
from gatewright.files import check_new_file, write_file
from gatewright.layers.saving import load
from gatewright.training.model import Model
from gatewright.training.tasks.symbols import NextSymbol, said


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model said, as a table, and what there is to remark on the data."""

    columns: Mapping[str, list[Any]]
    remarks: tuple[str, ...]

    def to_csv(self) -> str:
        """As text: a header, and one line a row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
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
        pyarrow.parquet.write_table(pyarrow.table(dict(self.columns)), sink)
        return sink.getvalue()


def predict(
    model: str | os.PathLike[str] | Model,
    data: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    **reading: Any,
) -> Predicted:
    """What a trained model says of new data.

    >>> found = predict("runs/weather", "this_week.csv", out="next.csv")    # doctest: +SKIP

    Args:
        model: A directory that `train` or `compare` has written, or the model in it.
        data: A file, a dataframe, a bundled data set or one of the data types; read with the
            columns that the model was trained with. Labels are not needed.
        out: A `.csv` or `.parquet` file to write.
        overwrite: Whether `out` may be there already.
        **reading: Arguments of `gatewright.data.read` that differ from the training's.

    Raises:
        ModelError: if the directory is damaged, or holds something else.
        DataError: if the data do not fit what the model learned from.
        ArgumentError: if `out` cannot be written.
    """
    write = None if out is None else _writer(out, overwrite)
    model = _model(model)
    data = data.data if isinstance(data, Reading) else data
    if isinstance(data, str | os.PathLike) or not hasattr(data, "about"):
        data = read(data, **{**model.reading, "labelled": False, **reading}).data
    ready, remarks = model.task.ready(data)
    found = Predicted(model.task.table(model, ready), tuple(remarks))
    if write is not None:
        write(found)
    return found


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
    return said(written)


def _model(given: str | os.PathLike[str] | Model) -> Model:
    model = given if isinstance(given, Model) else load(given)
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
