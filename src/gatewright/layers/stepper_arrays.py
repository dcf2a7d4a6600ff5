"""What a stepper is given, as numpy arrays: checked, and without a copy where that can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.stream import Array
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.readable import check_readable

#: What a stepper computes in, and numpy's names for it.
DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype("float32"),
    torch.float64: np.dtype("float64"),
}


def as_array(role: str, given: Any, dtype: torch.dtype, *, truth: bool = False) -> Array:
    """A view of a tensor, of an array or of a buffer, which must have the dtype.

    Args:
        truth: Whether booleans are taken too.

    Raises:
        ArgumentError: naming what was given and what was expected.
    """
    if isinstance(given, Tensor):
        check_readable(given, role)
        if given.device.type != "cpu":
            raise ArgumentError(
                f"{role} is on {given.device}, and a stepper runs on the CPU; give x.cpu()"
            )
        if given.dtype != dtype and not (truth and given.dtype == torch.bool):
            raise ArgumentError(
                f"{role} is {given.dtype} and the stepper is {dtype}; "
                f"convert one, as in x.to({dtype})"
            )
        return given.numpy(force=True)
    try:
        array = given if isinstance(given, np.ndarray) else np.asarray(memoryview(given))
    except (TypeError, ValueError, BufferError):  # of no memory, or of a type without a format
        raise ArgumentError(
            f"{role} is a {type(given).__name__}; give a numpy array, a tensor, or something "
            "else with the buffer protocol"
        ) from None
    kind = DTYPES[dtype]
    if array.dtype != kind and not (truth and array.dtype == np.bool_):
        raise ArgumentError(
            f"{role} is {array.dtype} and the stepper is {kind}; "
            f'convert one, as in x.astype("{kind}")'
        )
    return array


def as_rows(role: str, given: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    """A further input as `(B, size)`, or `(B, 1)` where it has one value a row.

    Raises:
        ArgumentError, SizeError: naming what was given and what was expected.
    """
    rows, size = shape
    if isinstance(given, bool | int | float):
        given = np.asarray(given, DTYPES[dtype])
    array = as_array(role, given, dtype, truth=True)
    allowed = [(rows, size), (rows, 1), (rows,)]
    if rows == 1:
        allowed += [(size,), (1,), ()]
    if array.shape not in allowed:
        raise SizeError(
            f"{role} has shape {array.shape}; expected {shape}, or {(rows,)} for one value a row"
        )
    return array.reshape(rows, -1)


def as_output(out: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    """Where an output can be written.

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
    """Some of the rows of a batch, from a mask or from indices.

    Raises:
        ArgumentError: if it is neither.
    """
    which = as_indices(rows)
    if which.dtype == np.bool_ and which.shape == (count,):
        return which
    whole = np.issubdtype(which.dtype, np.integer) or which.size == 0
    if not whole or not ((which >= 0) & (which < count)).all():
        raise ArgumentError(
            f"rows={rows!r}; give a mask of {count} booleans, or indices from 0 to {count - 1}"
        )
    return which.astype(np.intp)


def as_indices(rows: Any) -> Array:
    """A mask or indices as an array of whatever type they have.

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


def as_tensors(given: Any) -> Any:
    """States with tensors for arrays."""
    if isinstance(given, tuple | list):
        return type(given)(as_tensors(one) for one in given)
    if not isinstance(given, np.ndarray):
        return given
    try:
        return torch.from_numpy(given)
    except (TypeError, ValueError) as error:  # a type, or strides, that torch has not
        raise ArgumentError(
            f"a state is an array that torch cannot read: {error}; give np.ascontiguousarray of "
            "floating-point numbers"
        ) from None
