"""The arguments of a stepper as numpy arrays: checked, and without a copy where possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.stream import Array
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.readable import check_readable

#: The dtypes that a stepper computes in, and numpy's names for them.
DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype("float32"),
    torch.float64: np.dtype("float64"),
}


def as_array(role: str, value: Any, dtype: torch.dtype, *, truth: bool = False) -> Array:
    """A view of a tensor, an array or a buffer, which must have the dtype.

    Args:
        truth: Whether booleans are allowed too.

    Raises:
        ArgumentError: naming what was given and what was expected.
    """
    if isinstance(value, Tensor):
        check_readable(value, role)
        if value.device.type != "cpu":
            raise ArgumentError(
                f"{role} is on {value.device}, and a stepper runs on the CPU; give x.cpu()"
            )
        if value.dtype != dtype and not (truth and value.dtype == torch.bool):
            raise ArgumentError(
                f"{role} is {value.dtype} and the stepper is {dtype}; "
                f"convert one, as in x.to({dtype})"
            )
        return value.numpy(force=True)
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(memoryview(value))
    except (TypeError, ValueError, BufferError):  # no buffer, or of a dtype without a format
        raise ArgumentError(
            f"{role} is a {type(value).__name__}; give a numpy array, a tensor, or something "
            "else with the buffer protocol"
        ) from None
    kind = DTYPES[dtype]
    if array.dtype != kind and not (truth and array.dtype == np.bool_):
        raise ArgumentError(
            f"{role} is {array.dtype} and the stepper is {kind}; "
            f'convert one, as in x.astype("{kind}")'
        )
    return array


def as_rows(role: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    """A further input as `(B, size)`, or `(B, 1)` where it has one value a row.

    Raises:
        ArgumentError, SizeError: naming what was given and what was expected.
    """
    rows, size = shape
    if isinstance(value, bool | int | float):
        value = np.asarray(value, DTYPES[dtype])
    array = as_array(role, value, dtype, truth=True)
    allowed = [(rows, size), (rows, 1), (rows,)]
    if rows == 1:
        allowed += [(size,), (1,), ()]
    if array.shape not in allowed:
        raise SizeError(
            f"{role} has shape {array.shape}; expected {shape}, or {(rows,)} for one value a row"
        )
    return array.reshape(rows, -1)


def as_output(out: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    """The array to which an output is written.

    Raises:
        ArgumentError, SizeError: if it is of another shape or dtype, or read-only.
    """
    kind = type(out)
    array = out if kind is np.ndarray and out.dtype == DTYPES[dtype] else None
    if array is None:
        array = as_array("out", out, dtype)
    if array.shape != shape:
        raise SizeError(f"out has shape {array.shape}; expected {tuple(shape)}")
    if not array.flags.writeable or (isinstance(out, Tensor) and out.is_neg()):
        raise ArgumentError("out cannot be written to; give an array of its own memory")
    return array


def as_choice(rows: Any, count: int) -> Array:
    """The indices of the rows of a batch that a mask or indices choose.

    Raises:
        ArgumentError: if it is neither.
    """
    chosen = as_indices(rows)
    if chosen.dtype == np.bool_ and chosen.shape == (count,):
        return np.flatnonzero(chosen)
    integers = np.issubdtype(chosen.dtype, np.integer) or chosen.size == 0
    if not integers or not ((chosen >= 0) & (chosen < count)).all():
        raise ArgumentError(
            f"rows={rows!r}; give a mask of {count} booleans, or indices from 0 to {count - 1}"
        )
    return chosen.astype(np.intp)


def as_indices(rows: Any) -> Array:
    """A mask or indices as an array, of any dtype.

    Raises:
        ArgumentError: if they are no array at all.
    """
    if isinstance(rows, Tensor):
        check_readable(rows, "rows")
        return rows.detach().cpu().numpy()
    try:
        return np.asarray(rows)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"rows is no row of indices: {error}") from None


def as_tensors(value: Any) -> Any:
    """States, nested as they are, with tensors in the place of arrays."""
    if isinstance(value, tuple | list):
        return type(value)(as_tensors(state) for state in value)
    if not isinstance(value, np.ndarray):
        return value
    try:
        return torch.from_numpy(value)
    except (TypeError, ValueError) as error:  # a dtype or strides unknown to torch
        raise ArgumentError(
            f"a state is an array that torch cannot read: {error}; give np.ascontiguousarray of "
            "floating-point numbers"
        ) from None
