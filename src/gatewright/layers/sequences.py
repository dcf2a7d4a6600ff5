"""The user's form of a batch of sequences, and the packed form that backends run on.

Outside: padded `(T, B, I)` or `(B, T, I)`, one sequence `(T, I)`, or a `PackedSequence`.
Inside: rows sorted, the longest first, without padding, `(N, I)`; see `backends/run.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.errors import ArgumentError, SizeError, WrongType
from gatewright.layers.readable import check_packed, check_readable


@dataclass(frozen=True)
class BatchLayout:
    """The shape of one batch of sequences.

    Attributes:
        steps, batch: T and B of the padded form.
        rows: The number of rows that run at each step.
        order: The rows in descending length, where they are not in the user's order.
        index: The position of each packed element in the flattened `(T * B)`; None where there
            is no padding and no new order.
        packed: The user's `PackedSequence`, if it is one.
        batch_first, unbatched: The user's form, if it is padded.
    """

    steps: int
    batch: int
    rows: Sequence[int]
    order: Tensor | None = None
    index: Tensor | None = None
    packed: PackedSequence | None = None
    batch_first: bool = False
    unbatched: bool = False

    @classmethod
    def of(cls, input: Any, *, batch_first: bool, lengths: Any = None) -> BatchLayout:
        """The layout of the user's input.

        Raises:
            SizeError, ArgumentError: naming the shape that was given and the one expected.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ArgumentError("lengths were given with a PackedSequence, which has its own")
            check_packed(input)
            if input.data.dim() != 2:
                raise SizeError(
                    f"the input's packed data has shape {tuple(input.data.shape)}; expected "
                    "(steps of all sequences, input)"
                )
            rows = input.batch_sizes.tolist()
            index = _index(input.batch_sizes, rows[0], input.sorted_indices, input.data.device)
            return cls(len(rows), rows[0], rows, input.sorted_indices, index, input)
        if not isinstance(input, Tensor):
            raise WrongType(f"input is a {type(input).__name__}; give a tensor or a PackedSequence")
        check_readable(input, "input")
        check_axes(input, batch_first=batch_first)
        unbatched = input.dim() == 2
        steps, batch = (input.shape[0], 1) if unbatched else input.shape[:2]
        if batch_first and not unbatched:
            steps, batch = batch, steps
        if lengths is None:
            return cls(steps, batch, [batch] * steps, batch_first=batch_first, unbatched=unbatched)
        counts = _check_lengths(lengths, steps, batch)
        if bool((counts == steps).all()):  # no padding: nothing to sort or to leave out
            return cls(steps, batch, [batch] * steps, batch_first=batch_first, unbatched=unbatched)
        order = torch.argsort(counts, descending=True, stable=True).to(input.device)
        running = (counts > torch.arange(steps, device="cpu").unsqueeze(1)).sum(1)
        index = _index(running, batch, order, input.device)
        rows = [count for count in running.tolist() if count]
        return cls(steps, batch, rows, order, index, None, batch_first, unbatched)

    @property
    def lead(self) -> tuple[int, ...]:
        """The shape of the user's form without its last axis."""
        if self.packed is not None:
            return (sum(self.rows),)
        if self.unbatched:
            return (self.steps,)
        return (self.batch, self.steps) if self.batch_first else (self.steps, self.batch)

    def tensor(self, value: Any, role: str) -> Tensor:
        """The tensor of a further argument, in the user's form.

        Raises:
            ArgumentError: if it is no tensor, or is packed in another way than the input.
        """
        if isinstance(value, PackedSequence):
            if self.packed is None or not _packed_alike(value, self.packed):
                raise ArgumentError(
                    f"{role} is packed in another way than the input; pack both with the "
                    "same lengths"
                )
            value = value.data
        check_readable(value, role)
        result: Tensor = value
        return result

    def pack(self, value: Tensor | PackedSequence) -> Tensor:
        """A sequence in the user's form as `(N, size)`, or `(N,)` if it has no last axis."""
        if isinstance(value, PackedSequence):
            data: Tensor = value.data
            return data
        if self.packed is not None:
            return value
        flat: Tensor = self.time_major(value).flatten(0, 1)
        return flat if self.index is None else flat.index_select(0, self.index)

    def time_major(self, value: Tensor) -> Tensor:
        """A padded sequence as `(T, B, ...)`."""
        if self.unbatched:
            return value.unsqueeze(1)
        return value.transpose(0, 1) if self.batch_first else value

    def padded(self, flat: Tensor) -> Tensor:
        """`(N, ...)` as `(T, B, ...)`, zero where a row is not running."""
        if self.index is not None:
            zeros = flat.new_zeros(self.steps * self.batch, *flat.shape[1:])
            flat = zeros.index_copy(0, self.index, flat)
        return flat.reshape(self.steps, self.batch, *flat.shape[1:])

    def unpack(self, flat: Tensor) -> Any:
        """`(N, size)` in the user's form."""
        if self.packed is not None:
            return self.packed._replace(data=flat)
        padded = self.padded(flat)
        if self.unbatched:
            return padded.squeeze(1)
        return padded.transpose(0, 1) if self.batch_first else padded

    def sort(self, state: Tensor) -> Tensor:
        """`(B, size)` in the user's order, the longest row first."""
        return state if self.order is None else state.index_select(0, self.order)

    def unsort(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Several `(B, size)` back in the user's order."""
        if self.order is None:
            return list(states)
        inverse = torch.argsort(self.order)
        return [state.index_select(0, inverse) for state in states]

    def repeat(self, state: Tensor) -> Tensor:
        """`(B, size)`, sorted, at each step that the row runs: `(N, size)`."""
        return torch.cat([state[:running] for running in self.rows]) if self.rows else state[:0]

    def restarts(self, starts: Any) -> tuple[Tensor, Tensor]:
        """Marks `(N,)` of new states before a step, for running forwards and in reverse.

        In reverse an episode ends at its first step, so its states are new before the step
        that comes earlier in the sequence: the marks move by one step.
        """
        flat = self.pack(self._check_starts(starts))
        padded = self.padded(flat)
        shifted = torch.cat([padded[1:], padded.new_zeros(1, self.batch)])[: self.steps]
        shifted = shifted.flatten(0, 1)
        return flat, shifted if self.index is None else shifted[self.index]

    def _check_starts(self, starts: Any) -> Tensor:
        marks = self.tensor(starts, "starts")
        if marks.dtype != torch.bool:
            raise ArgumentError(
                f"starts is {marks.dtype}; give a boolean tensor, such as mask.bool()"
            )
        if tuple(marks.shape) != self.lead:
            raise SizeError(
                f"starts has shape {tuple(marks.shape)}; expected {self.lead}, "
                "the input's shape without its last axis"
            )
        return marks


def check_axes(input: Tensor, *, batch_first: bool) -> None:
    """Refuse an input that is neither a batch of sequences nor a single one."""
    if input.dim() not in (2, 3):
        axes = "(batch, time, input)" if batch_first else "(time, batch, input)"
        raise SizeError(
            f"input has shape {tuple(input.shape)}; expected {axes}, "
            "or (time, input) for one sequence"
        )


def _packed_alike(first: PackedSequence, second: PackedSequence) -> bool:
    a, b = first.sorted_indices, second.sorted_indices
    ordered_alike = a is b if a is None or b is None else torch.equal(a, b)
    return ordered_alike and torch.equal(first.batch_sizes, second.batch_sizes)


def _check_lengths(lengths: Any, steps: int, batch: int) -> Tensor:
    try:
        counts = torch.as_tensor(lengths, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"lengths is no row of whole numbers: {error}") from None
    if counts.dim() == 0 and batch == 1:
        counts = counts.unsqueeze(0)
    fractions = counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool
    if counts.numel() and fractions:
        raise ArgumentError(f"lengths is {counts.dtype}; give whole numbers")
    counts = counts.to(torch.int64)
    if tuple(counts.shape) != (batch,):
        raise SizeError(f"lengths has shape {tuple(counts.shape)}; expected ({batch},) = (batch,)")
    if batch and (int(counts.min()) < 0 or int(counts.max()) > steps):
        raise SizeError(
            f"lengths go from {int(counts.min())} to {int(counts.max())}; "
            f"the input has {steps} steps, so expected 0 to {steps}"
        )
    return counts


def _index(rows: Tensor, batch: int, order: Tensor | None, device: torch.device) -> Tensor:
    """The position of each packed element in `(T * B)`, time-major."""
    every = torch.arange(batch, device="cpu")
    column = every if order is None else order.cpu()
    # (T, B): the position of each sorted row at each step; those that run are packed.
    position = torch.arange(len(rows), device="cpu").unsqueeze(1) * batch + column
    return position[every < rows.unsqueeze(1)].to(device)
