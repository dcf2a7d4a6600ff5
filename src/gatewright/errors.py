"""The exceptions that Gatewright raises on purpose. They share one base class.

    GatewrightError
    ├── CellError                   a cell that cannot be read, or breaks a law of cells
    ├── ArgumentError  ValueError   an argument outside what is allowed
    │   ├── SizeError    ValueError, RuntimeError  sizes or shapes that do not fit each other
    │   ├── WrongTensor  ValueError, RuntimeError  a tensor of another dtype or device
    │   ├── WrongType    ValueError, TypeError     an argument of another type
    │   └── TooLarge     ValueError                too much for a picture that can be read
    ├── DataError      ValueError   a data set or file that cannot be used
    ├── ModelError                  a saved model that is damaged, or was not saved by Gatewright
    ├── TrainingError  RuntimeError a training that cannot continue
    ├── Suspended                   a training that ended at its time limit, to be resumed
    ├── AlreadyFinished             a training that was to be resumed has ended already
    ├── BackendError   RuntimeError a backend was asked for by name and cannot run
    └── KernelError    RuntimeError kernels and memory do not fit each other: a bug of Gatewright

A message has the fact, the expectation and what to do:
``state c has shape (4, 32); expected (4, 64) = (batch, hidden)``. Any other
exception that escapes from this package is a bug.
"""

from __future__ import annotations


class GatewrightError(Exception):
    """The base of all errors: `except GatewrightError` catches each of them."""


class CellError(GatewrightError):
    """A cell that cannot be read; the message names the cell, the line and a correction.

    >>> print(CellError("`if` on the gate f", cell="MyCell", line=12, hint="use gw.where"))
    MyCell, line 12: `if` on the gate f
      hint: use gw.where

    Inner code may raise the fact; the function that knows the cell adds the rest.
    """

    def __init__(
        self,
        fact: str,
        *,
        cell: str | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        # All parts go into `args`, not yet formatted, so that the exception survives pickling
        # (a process pool, pytest-xdist).
        super().__init__(fact, cell, line, hint)
        self.fact = fact
        self.cell = cell
        self.line = line
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.fact, self.cell, self.line, self.hint), self.__dict__

    def __str__(self) -> str:
        place = ", ".join(
            part
            for part in (self.cell, f"line {self.line}" if self.line is not None else None)
            if part
        )
        text = f"{place}: {self.fact}" if place else self.fact
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ArgumentError(GatewrightError, ValueError):
    """An argument outside what is allowed."""


class SizeError(ArgumentError, RuntimeError):
    """Sizes or shapes that do not fit each other.

    torch's layers raise RuntimeError for them, and code that catches it keeps working.
    """


class WrongTensor(ArgumentError, RuntimeError):
    """A tensor of another dtype or on another device than the weights; RuntimeError as in torch."""


class WrongType(ArgumentError, TypeError):
    """An argument of another type than the expected one; TypeError as in torch."""


class TooLarge(ArgumentError):
    """Too much for a picture that can be read."""


class DataError(GatewrightError, ValueError):
    """A data set or a file of data that cannot be used."""


class ModelError(GatewrightError):
    """A model directory that is damaged, incomplete, or was not written by Gatewright."""


class TrainingError(GatewrightError, RuntimeError):
    """A training that cannot continue: its loss is not a finite number, or its process died."""


class Suspended(GatewrightError):
    """A training that reached its time limit. Its state is kept, and it can be resumed."""


class AlreadyFinished(GatewrightError):
    """A training that was to be resumed is finished: its directory holds the model."""


class BackendError(GatewrightError, RuntimeError):
    """A backend was chosen by name and cannot run here. There is no silent fallback."""


class KernelError(GatewrightError, RuntimeError):
    """Kernels and memory do not fit each other, which is a bug of Gatewright.

    Calls of kernels are verified before the first one runs, and the checked build compares
    every load and store with the bounds of its buffer. The message names the kernel and the
    buffer.
    """


def _rebuild(
    kind: type[CellError],
    fact: str,
    cell: str | None,
    line: int | None,
    hint: str | None,
) -> CellError:
    return kind(fact, cell=cell, line=line, hint=hint)
