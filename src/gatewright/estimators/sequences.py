"""The forms in which sequences may be given to an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from gatewright.errors import DataError, SizeError
from gatewright.training.batches import check_shapes

Sequences = tuple[NDArray[np.float32], ...]


def are_sequences(X: Any) -> TypeGuard[Sequence[Any]]:
    """Whether this is N arrays (T_i, C), in a list or as one array, rather than a table."""
    return isinstance(X, list | tuple | np.ndarray) and len(X) > 0 and np.ndim(X[0]) == 2


def read_sequences(estimator: Any, X: Any, *, reset: bool) -> Sequences:
    """N arrays (T_i, C) in float32, from any form that an estimator takes.

    A table (N, T) is one channel over T steps; scikit-learn's own rules hold for it, so that
    one with other columns than were learned from is refused. Arrays (T_i,), in a list or as a
    column of a dataframe, are one channel too. `reset` is true in `fit`.

    Raises:
        SizeError: for sequences that do not have the same channels, or no step.
        DataError: for values that are not finite.
        ValueError, TypeError: scikit-learn's, for a table that cannot be read.
    """
    X = one_channel(X)
    if are_sequences(X):
        if reset:  # what an earlier table left behind says nothing of these
            for name in ("n_features_in_", "feature_names_in_"):
                vars(estimator).pop(name, None)
        arrays = tuple(_array(at, one) for at, one in enumerate(X))
    else:
        table = validate_data(estimator, X, reset=reset, dtype=np.float32)
        arrays = tuple(table[:, :, None])
    channels = arrays[0].shape[1]
    if not reset and channels != estimator.n_channels_:
        raise SizeError(
            f"X has {channels} channels; the {type(estimator).__name__} was fitted on "
            f"{estimator.n_channels_}: give the same ones"
        )
    check_shapes(arrays, channels)
    for at, one in enumerate(arrays):
        if not np.isfinite(one).all():
            step, channel = (int(place) for place in np.argwhere(~np.isfinite(one))[0])
            raise DataError(
                f"sequence {at} has {one[step, channel]} at step {step}, channel {channel}; "
                "expected finite numbers within float32: fill or leave out what is missing"
            )
    return arrays


def one_channel(X: Any) -> Any:
    """Listed arrays with (T_i, 1) in the place of (T_i,); anything else as it is."""
    column = getattr(X, "ndim", None) == 1 and getattr(X.dtype, "kind", None) == "O"
    listed = list(X) if column else X  # of a dataframe, or an array of arrays
    if not isinstance(listed, list | tuple) or not listed:
        return X
    if not all(isinstance(one, np.ndarray) and one.ndim for one in listed):
        return X
    return [one[:, None] if one.ndim == 1 else one for one in listed]


def _array(at: int, one: Any) -> NDArray[np.float32]:
    try:
        # Too large for float32 becomes infinite, and is refused with its place.
        with np.errstate(over="ignore"):
            return np.asarray(one, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise SizeError(
            f"sequence {at} cannot be read as numbers (time, channels): {error}"
        ) from None
