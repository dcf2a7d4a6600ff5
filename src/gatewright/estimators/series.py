"""Read time series from every form that an estimator takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data
from torch import Tensor

from gatewright.data import Series, read
from gatewright.errors import SizeError
from gatewright.estimators.sequences import are_sequences, as_numbers, refuse_odd_table
from gatewright.tasks.training_ranges import numbered
from gatewright.training.source import read_arguments


@dataclass(frozen=True, slots=True)
class SeriesInput:
    """Time series with the form of the estimator's input."""

    series: Series
    many: bool  # whether predictions have an axis of series, even if there is only one
    reading: Mapping[str, Any]  # arguments of `read` for a dataframe; {} for other forms


def read_series(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    targets: tuple[str, ...] = (),
    reading: Mapping[str, Any],
) -> SeriesInput:
    """Read time series from any form that an estimator takes.

    A dataframe is read by `gatewright.read` with `reading`. A table (T, C) is one series, a list
    of them or an array (N, T, C) are several; their channels are called "channel 0" and so on,
    and their steps are numbered. scikit-learn's own rules hold for tables and dataframes: those
    with other columns than in `fit` are refused.

    Args:
        reset: True in `fit`, which learns the columns; False in other methods.

    Raises:
        SizeError, DataError: where the data are not time series.
        ValueError, TypeError: scikit-learn's, for a table that cannot be read.
    """
    X = as_numbers(X, "X") if isinstance(X, Tensor) else X
    if isinstance(X, Series) or are_sequences(X):
        if reset:  # attributes of an earlier table do not hold for these
            for name in ("n_features_in_", "feature_names_in_"):
                vars(estimator).pop(name, None)
        if isinstance(X, Series):
            return SeriesInput(X, len(X) > 1, {})
        arrays = [_series(index, item) for index, item in enumerate(X)]
        return SeriesInput(_numbered(arrays, targets), True, {})
    frame = as_frame(X)
    if frame is not None:
        validate_data(estimator, frame, reset=reset, skip_check_array=True)
        source = read(frame, **{"task": "forecast", **reading})
        assert isinstance(source.data, Series)
        arguments = read_arguments(source)
        return SeriesInput(source.data, arguments["id"] is not None, arguments)
    refuse_odd_table(X)
    table = validate_data(estimator, X, reset=reset, dtype=np.float64, ensure_min_samples=2)
    return SeriesInput(_numbered([table], targets), False, {})


def as_frame(X: Any) -> Any:
    """X as a dataframe of its own library if narwhals knows it as a frame or a column, or None."""
    import narwhals

    frame = narwhals.from_native(X, pass_through=True, allow_series=True)
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, narwhals.Series):
        frame = frame.to_frame()
    return frame.to_native() if isinstance(frame, narwhals.DataFrame) else None


def _numbered(arrays: list[NDArray[np.float64]], targets: Iterable[str]) -> Series:
    """Series whose ids, steps and channels are numbers."""
    return Series(
        ids=tuple(map(str, range(len(arrays)))),
        times=tuple(np.arange(len(array)) for array in arrays),
        values=tuple(arrays),
        channels=numbered(arrays[0].shape[1]),
        targets=tuple(targets),
        period=1.0,
        name="X",
    )


def _series(index: int, values: Any) -> NDArray[np.float64]:
    array = as_numbers(values, f"series {index}").astype(np.float64)
    # Values (T,) are refused: several of one length would be a table, whose rows are steps.
    if array.ndim == 1:
        raise SizeError(
            f"series {index} has shape {array.shape}; expected (time, channels): give "
            "array[:, None] for one channel"
        )
    return array
