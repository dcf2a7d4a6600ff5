"""Read sequences from every form that an estimator takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data
from torch import Tensor

from gatewright.errors import DataError, SizeError
from gatewright.tasks.padding import check_shapes

Sequences = tuple[NDArray[np.float32], ...]


def are_sequences(X: Any) -> TypeGuard[Sequence[Any]]:
    """Tell N arrays (T_i, C) or (T_i,), in a list or as a single array, from a table.

    Arrays (T,) of one length are a table (N, T), for which scikit-learn's own rules hold.
    """
    if not isinstance(X, list | tuple | np.ndarray) or not len(X):
        return False
    if isinstance(X, np.ndarray) and (X.ndim != 1 or X.dtype != object):
        return X.ndim == 3
    if any(hasattr(item, "ndim") and item.ndim > 1 for item in X):
        return True
    if not all(hasattr(item, "__len__") and not isinstance(item, str | bytes | dict) for item in X):
        return False
    nested = any(len(item) and hasattr(item[0], "__len__") for item in map(plain, X))
    return nested or len({len(item) for item in X}) > 1 or isinstance(X, np.ndarray)


def plain(X: Any) -> Any:
    """Turn a column of arrays into a list and a tensor into an array; leave the rest as it is."""
    if isinstance(X, Tensor):
        return as_numbers(X, "X")
    # A column of a dataframe library, whose values are sequences, is a list of them.
    is_column = hasattr(X, "to_list") and getattr(X, "dtype", None) is not None
    return X.to_list() if is_column and getattr(X, "ndim", 1) == 1 else X


def read_sequences(estimator: Any, X: Any, *, reset: bool) -> Sequences:
    """Read N arrays (T_i, C) in float32 from any form that an estimator takes.

    A table (N, T) is one channel over T steps. scikit-learn's own rules hold for it: a table
    with other columns than in `fit` is refused.

    Args:
        reset: True in `fit`, which learns the columns; False in other methods.

    Raises:
        SizeError: for sequences that differ in their channels, or have no step.
        DataError: for values that are not finite, or not numbers.
        ValueError, TypeError: scikit-learn's, for a table that cannot be read.
    """
    X = plain(X)
    if are_sequences(X):
        if reset:  # attributes of an earlier table do not hold for sequences
            for name in ("n_features_in_", "feature_names_in_"):
                vars(estimator).pop(name, None)
        arrays = tuple(_sequence(index, item) for index, item in enumerate(X))
    else:
        refuse_odd_table(X)
        table = validate_data(estimator, X, reset=reset, dtype=np.float32)
        arrays = tuple(table[:, :, None])
    channels = arrays[0].shape[1]
    if not reset and channels != estimator.n_channels_:
        raise SizeError(
            f"X has {channels} channels; the {type(estimator).__name__} was fitted on "
            f"{estimator.n_channels_}: give the same ones"
        )
    check_shapes(arrays, channels)
    for index, array in enumerate(arrays):
        if not np.isfinite(array).all():
            step, channel = map(int, np.argwhere(~np.isfinite(array))[0])
            raise DataError(
                f"sequence {index} has {array[step, channel]} at step {step}, channel {channel}; "
                "expected finite numbers within float32: fill or leave out what is missing"
            )
    return arrays


def _sequence(index: int, values: Any) -> NDArray[np.float32]:
    """An array (T, C) in float32; values (T,) are one channel."""
    # A value too large for float32 becomes infinite, and `read_sequences` refuses it.
    with np.errstate(over="ignore"):
        array = as_numbers(values, f"sequence {index}").astype(np.float32)
    return array[:, None] if array.ndim == 1 else array


def as_numbers(value: Any, name: str) -> NDArray[Any]:
    """Turn a value into an array of real numbers; error messages call it `name`.

    Raises:
        DataError: for values that are not real numbers: times, texts, complex or sparse values.
        SizeError: for rows of different lengths.
    """
    try:
        array = np.asarray(value.detach() if isinstance(value, Tensor) else value)
        if array.dtype == object:
            array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SizeError(f"{name} cannot be read as numbers (time, channels): {error}") from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} holds {array.dtype}; expected real numbers (time, channels): turn times and "
            "texts into numbers first"
        )
    return array


def refuse_odd_table(X: Any) -> None:
    """Refuse tables that scikit-learn would misread, or refuse without a hint.

    It would turn times into numbers of days or nanoseconds.
    """
    if issparse(X):
        raise DataError(
            "X is a sparse matrix; expected a dense table, or sequences: X.toarray() makes one"
        )
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        raise DataError(f"X holds {dtype}; expected real numbers: turn times into numbers first")
