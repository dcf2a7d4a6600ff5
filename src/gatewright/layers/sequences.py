"""How the user's sequences lie in memory, and the packed form that backends run on.

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

from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.readable import check_packed, check_readable


@dataclass(frozen=True)
class Layout:
    """The shape of one batch of sequences.

    Attributes:
        steps, batch: T and B of the padded form.
        rows: How many rows run at each step.
        order: The rows in descending length, where they are not in the user's order.
        index: Where each packed element stands in the flattened `(T * B)`; None where there
            is no padding and no new order.
        packed: The user's `PackedSequence`, if it was one.
        batch_first, unbatched: The user's form, if it was padded.
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
    def of(cls, given: Any, *, batch_first: bool, lengths: Any = None) -> Layout:
        """The layout of the user's input.

        Raises:
            SizeError, ArgumentError: naming the shape that was given and the one expected.
        """
        if isinstance(given, PackedSequence):
            if lengths is not None:
                raise ArgumentError("lengths were given with a PackedSequence, which has its own")
            check_packed(given)
            if given.data.dim() != 2:
                raise SizeError(
                    f"the input's packed data has shape {tuple(given.data.shape)}; expected "
                    "(steps of all sequences, input)"
                )
            rows = given.batch_sizes.tolist()
            index = _index(given.batch_sizes, rows[0], given.sorted_indices, given.data.device)
            return cls(len(rows), rows[0], rows, given.sorted_indices, index, given)
        if not isinstance(given, Tensor):
            raise ArgumentError(
                f"input is a {type(given).__name__}; give a tensor or a PackedSequence"
            )
        check_readable(given, "input")
        if given.dim() not in (2, 3):
            form = "(batch, time, input)" if batch_first else "(time, batch, input)"
            raise SizeError(
                f"input has shape {tuple(given.shape)}; expected {form}, "
                "or (time, input) for one sequence"
            )
        unbatched = given.dim() == 2
        steps, batch = (given.shape[0], 1) if unbatched else given.shape[:2]
        if batch_first and not unbatched:
            steps, batch = batch, steps
        if lengths is None:
            return cls(steps, batch, [batch] * steps, batch_first=batch_first, unbatched=unbatched)
        sizes = _check_lengths(lengths, steps, batch)
        order = torch.argsort(sizes, descending=True, stable=True).to(given.device)
        running = (sizes > torch.arange(steps, device="cpu").unsqueeze(1)).sum(1)
        index = _index(running, batch, order, given.device)
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

    def data(self, given: Any, role: str) -> Tensor:
        """The tensor of what goes along with the input.

        Raises:
            ArgumentError: if it is none, or is packed in another way than the input.
        """
        if isinstance(given, PackedSequence):
            if self.packed is None or not _packed_alike(given, self.packed):
                raise ArgumentError(
                    f"{role} is packed in another way than the input; pack both with the "
                    "same lengths"
                )
            given = given.data
        check_readable(given, role)
        result: Tensor = given
        return result

    def pack(self, given: Tensor | PackedSequence) -> Tensor:
        """A sequence in the user's form as `(N, size)`, or `(N,)` if it has no last axis."""
        if isinstance(given, PackedSequence):
            data: Tensor = given.data
            return data
        if self.packed is not None:
            return given
        flat: Tensor = self.time_major(given).flatten(0, 1)
        return flat if self.index is None else flat.index_select(0, self.index)

    def time_major(self, given: Tensor) -> Tensor:
        """A padded sequence as `(T, B, ...)`."""
        if self.unbatched:
            return given.unsqueeze(1)
        return given.transpose(0, 1) if self.batch_first else given

    def padded(self, flat: Tensor) -> Tensor:
        """`(N, ...)` as `(T, B, ...)`, zero where a row is not running."""
        if self.index is not None:
            whole = flat.new_zeros(self.steps * self.batch, *flat.shape[1:])
            flat = whole.index_copy(0, self.index, flat)
        return flat.reshape(self.steps, self.batch, *flat.shape[1:])

    def unpack(self, flat: Tensor) -> Any:
        """`(N, size)` in the user's form."""
        if self.packed is not None:
            return self.packed._replace(data=flat)
        whole = self.padded(flat)
        if self.unbatched:
            return whole.squeeze(1)
        return whole.transpose(0, 1) if self.batch_first else whole

    def sort(self, state: Tensor) -> Tensor:
        """`(B, size)` in the user's order, the longest row first."""
        return state if self.order is None else state.index_select(0, self.order)

    def unsort(self, state: Tensor) -> Tensor:
        """`(B, size)` back in the user's order."""
        if self.order is None:
            return state
        return state.index_select(0, torch.argsort(self.order))

    def repeat(self, state: Tensor) -> Tensor:
        """`(B, size)`, sorted, at each step that the row runs: `(N, size)`."""
        return torch.cat([state[:running] for running in self.rows]) if self.rows else state[:0]

    def restarts(self, starts: Any) -> tuple[Tensor, Tensor]:
        """`starts` as marks where the states are new before a step, forwards and in reverse.

        Running backwards, an episode ends at its first step, so the states are new before
        the step in front of it.
        """
        flat = self.pack(self._check_starts(starts))
        whole = self.padded(flat)
        shifted = torch.cat([whole[1:], whole.new_zeros(1, self.batch)])[: self.steps].flatten(0, 1)
        return flat, shifted if self.index is None else shifted[self.index]

    def _check_starts(self, starts: Any) -> Tensor:
        data = self.data(starts, "starts")
        if data.dtype != torch.bool:
            raise ArgumentError(
                f"starts is {data.dtype}; give a boolean tensor, such as mask.bool()"
            )
        if tuple(data.shape) != self.lead:
            raise SizeError(
                f"starts has shape {tuple(data.shape)}; expected {self.lead}, "
                "the input's shape without its last axis"
            )
        return data


def _packed_alike(one: PackedSequence, other: PackedSequence) -> bool:
    a, b = one.sorted_indices, other.sorted_indices
    ordered_alike = a is b if a is None or b is None else torch.equal(a, b)
    return ordered_alike and torch.equal(one.batch_sizes, other.batch_sizes)


def _check_lengths(lengths: Any, steps: int, batch: int) -> Tensor:
    try:
        sizes = torch.as_tensor(lengths, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"lengths is no row of whole numbers: {error}") from None
    if sizes.dim() == 0 and batch == 1:
        sizes = sizes.unsqueeze(0)
    whole = not (sizes.is_floating_point() or sizes.is_complex() or sizes.dtype == torch.bool)
    if sizes.numel() and not whole:
        raise ArgumentError(f"lengths is {sizes.dtype}; give whole numbers")
    sizes = sizes.to(torch.int64)
    if tuple(sizes.shape) != (batch,):
        raise SizeError(f"lengths has shape {tuple(sizes.shape)}; expected ({batch},) = (batch,)")
    if batch and (int(sizes.min()) < 0 or int(sizes.max()) > steps):
        raise SizeError(
            f"lengths go from {int(sizes.min())} to {int(sizes.max())}; "
            f"the input has {steps} steps, so expected 0 to {steps}"
        )
    return sizes


def _index(rows: Tensor, batch: int, order: Tensor | None, device: torch.device) -> Tensor:
    """Where each packed element stands in `(T * B)`, time-major."""
    every = torch.arange(batch, device="cpu")
    column = every if order is None else order.cpu()
    place = torch.arange(len(rows), device="cpu").unsqueeze(1) * batch + column
    return place[every < rows.unsqueeze(1)].to(device)
