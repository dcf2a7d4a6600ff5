"""Steps that are read by their position, wherever they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import DataError


class StepSource(Protocol):
    """T steps in memory or on disk; only those that are asked for are read."""

    @property
    def name(self) -> str:
        """Return its name, for messages."""

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Return () for one value a step, (I,) for I values."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of its values."""

    def __len__(self) -> int:
        """Return the number of steps, T."""

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return the steps from `first` up to `stop`, which is excluded, (stop - first, ...)."""


@dataclass(frozen=True, slots=True)
class StoredSequence:
    """A sequence: a part of a source, from its step `begin` on."""

    source: StepSource
    begin: int
    length: int

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return steps of the sequence, which count from its own beginning."""
        return self.source.read(self.begin + first, self.begin + stop)

    def after(self, steps: int) -> StoredSequence:
        """Return the sequence without its first steps."""
        return StoredSequence(self.source, self.begin + steps, self.length - steps)


@dataclass(frozen=True, slots=True)
class RepeatedValue:
    """The label of a whole sequence, at each of its steps."""

    value: Any
    length: int
    name: str

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of a step."""
        return ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the value."""
        return np.asarray(self.value).dtype

    def __len__(self) -> int:
        return self.length

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return the value, (stop - first,)."""
        return np.full(stop - first, self.value)


def are_symbols(step_shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """True for one whole number a step: a symbol or a class, not a measured value."""
    return step_shape == () and dtype.kind in "iub"


def check_numbers(dtype: np.dtype[Any], name: str) -> None:
    """Refuse steps that are no real numbers.

    Raises:
        DataError: naming the type.
    """
    if dtype.kind not in "fiub":
        kind = "Python objects" if dtype.kind == "O" else f"of type {dtype}"
        raise DataError(
            f"{name} is {kind}; expected whole or real numbers: convert the values first, such as "
            "with .astype('float32')"
        )


def check_symbols(values: NDArray[Any], name: str, sequence: int) -> None:
    """Refuse symbols that int64 does not hold.

    Raises:
        DataError: naming the greatest of them.
    """
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise DataError(
            f"{name}, sequence {sequence}: the symbol {values.max():,} does not fit into int64; "
            "number the symbols from 0"
        )


def check_finite_steps(
    values: NDArray[Any], name: str, sequence: NDArray[np.int64], position: NDArray[np.int64]
) -> None:
    """Refuse missing and infinite values, as `gatewright.read` does.

    Args:
        values: (T, B, I), or symbols (T, B).
        sequence, position: Where each step comes from, (T, B).

    Raises:
        DataError: naming the sequence, the step and the channel of the first one.
    """
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    step, row, channel = np.argwhere(~np.isfinite(values))[0].tolist()
    if np.isnan(values[step, row, channel]):
        fact = "nan"
        hint = "fill the gaps first, or read the data with gw.read(..., fill='linear')"
    else:  # numbers of a wider type become infinite in this one
        fact = f"infinite, or too large for {values.dtype}"
        hint = "scale the values first, or give dtype=torch.float64"
    raise DataError(
        f"{name}, sequence {sequence[step, row]}: step {position[step, row]:,}, value {channel}, "
        f"is {fact}; expected finite numbers: {hint}"
    )
