"""The forms in which time series may be given to an estimator."""

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
from gatewright.training.source import how


@dataclass(frozen=True, slots=True)
class Given:
    """Time series as an estimator was given them."""

    series: Series
    many: bool  # whether answers are one a series, also where there is one series
    reading: Mapping[str, Any]  # how a dataframe was read; {} of other forms


def read_given(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    targets: tuple[str, ...] = (),
    reading: Mapping[str, Any],
) -> Given:
    """Time series from any form that an estimator takes.

    A dataframe is read by `gatewright.read` with `reading`. A table (T, C) is one series, a list
    of them or an array (N, T, C) are several; their channels are called "channel 0" and so on,
    and their steps are numbered. scikit-learn's own rules hold for tables and dataframes, so that
    others than were learned from are refused. `reset` is true in `fit`.

    Raises:
        SizeError, DataError: where the data are no series.
        ValueError, TypeError: scikit-learn's, for a table that cannot be read.
    """
    X = as_numbers(X, "X") if isinstance(X, Tensor) else X
    if isinstance(X, Series) or are_sequences(X):
        if reset:  # what an earlier table left behind says nothing of these
            for name in ("n_features_in_", "feature_names_in_"):
                vars(estimator).pop(name, None)
        if isinstance(X, Series):
            return Given(X, len(X) > 1, {})
        return Given(_numbered([_series(at, one) for at, one in enumerate(X)], targets), True, {})
    frame = as_frame(X)
    if frame is not None:
        validate_data(estimator, frame, reset=reset, skip_check_array=True)
        found = read(frame, **{"task": "forecast", **reading})
        assert isinstance(found.data, Series)
        learned = how(found)
        return Given(found.data, learned["id"] is not None, learned)
    refuse_odd_table(X)
    table = validate_data(estimator, X, reset=reset, dtype=np.float64, ensure_min_samples=2)
    return Given(_numbered([table], targets), False, {})


def as_frame(X: Any) -> Any:
    """X as a dataframe of its own library, if narwhals knows it as one or as a column; or None."""
    import narwhals

    found = narwhals.from_native(X, pass_through=True, allow_series=True)
    if isinstance(found, narwhals.LazyFrame):
        found = found.collect()
    if isinstance(found, narwhals.Series):
        found = found.to_frame()
    return found.to_native() if isinstance(found, narwhals.DataFrame) else None


def _numbered(arrays: list[NDArray[np.float64]], targets: Iterable[str]) -> Series:
    return Series(
        ids=tuple(str(at) for at in range(len(arrays))),
        times=tuple(np.arange(len(one)) for one in arrays),
        values=tuple(arrays),
        channels=numbered(arrays[0].shape[1]),
        targets=tuple(targets),
        period=1.0,
        name="X",
    )


def _series(at: int, one: Any) -> NDArray[np.float64]:
    array = as_numbers(one, f"series {at}").astype(np.float64)
    if array.ndim == 1:  # of one length they would be a table, whose rows are steps
        raise SizeError(
            f"series {at} has shape {array.shape}; expected (time, channels): give array[:, None] "
            "for one channel"
        )
    return array
