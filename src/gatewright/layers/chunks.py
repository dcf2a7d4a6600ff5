"""`chunks`: long sequences a few steps at a time, for truncated backpropagation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewright.data.chunks.chunk_arrays import (
    ChunkArrays,
    ChunkField,
    chunk_count,
    read_chunks,
)
from gatewright.data.chunks.layout import RowPlan, cut_rows, whole_rows
from gatewright.data.chunks.open_fields import FileOptions, OpenedData, open_data
from gatewright.errors import ArgumentError
from gatewright.layers.readable import check_readable

#: The types of numpy that chunks of a type of torch are read in; float32 for others.
NUMBERS = {torch.float64: np.float64, torch.float16: np.float16}


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The next T steps of B rows; row b goes on where row b of the chunk before it stopped.

    With `batch_first` all of them are (B, T, ...).
    """

    x: Tensor  # (T, B, I) numbers, or (T, B) symbols, int64
    target: Tensor | None  # (T, B, K) numbers, or (T, B) symbols or classes; None without targets
    starts: Tensor  # (T, B), true at the first step of a sequence, or of a piece of it
    ends: Tensor  # (T, B), true at the last step of a sequence
    lengths: Tensor  # (B,), steps of each row; padding follows, only where a row's data end
    sequence: Tensor  # (T, B), the sequence that a step is from; -1 in padding
    position: Tensor  # (T, B), its position in that sequence; -1 in padding

    @property
    def mask(self) -> Tensor:
        """True at the steps that are no padding, shaped like `starts`."""
        return self.position >= 0


class Chunks:
    """The chunks of some data, pass after pass; `chunks` makes it.

    Iterating goes over one epoch. It begins at the first chunk; after `load_state_dict` it goes
    on from the stored position instead, once.

    Attributes:
        steps, batch: T and B of the chunks. There are no more rows than sequences, where these are
            not cut, and no more than steps.
        epoch: Epochs that are completed.
        alphabet: The symbols of a text, in the order of their codes; empty for other data.
    """

    def __init__(
        self,
        data: OpenedData,
        *,
        steps: int,
        batch: int,
        cut: bool | None,
        seed: int | None,
        batch_first: bool,
        device: Any,
        dtype: torch.dtype,
    ) -> None:
        self._lengths = np.array([sequence.length for sequence in data.x], np.int64)
        filled = int(np.count_nonzero(self._lengths))
        self._cut = filled < batch if cut is None else cut
        self.steps = steps
        self.batch = min(batch, int(self._lengths.sum()) if self._cut else filled)
        self.seed = seed
        self.epoch = 0
        self.alphabet = data.alphabet
        self._batch_first = batch_first
        self._device = device
        self._dtype = dtype
        # numpy has no bfloat16. What a type does not hold is infinite in it, and is refused.
        numbers = np.dtype(NUMBERS.get(dtype, np.float32))
        self._fields = [ChunkField("x", data.x, numbers)]
        if data.target is not None:
            self._fields.append(ChunkField("target", data.target, numbers))
        self._position = 0  # chunks of this epoch that were yielded
        self._is_restored = False

    def __len__(self) -> int:
        """Return the number of chunks of this epoch."""
        return chunk_count(self._rows(self.epoch), self.steps)

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks of an epoch."""
        begin = self._position if self._is_restored else 0
        self._is_restored = False
        rows = self._rows(self.epoch)
        longest = max(map(len, rows))
        borders = [*range(0, longest, self.steps), longest]
        for number, arrays in enumerate(read_chunks(self._fields, rows, borders, begin), begin + 1):
            # Counted before it is used: a position that is saved after its step is behind it.
            self._position = number
            yield self._chunk(arrays)
        self.epoch += 1
        self._position = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the epoch, the chunks of it that were yielded, and the layout.

        All are plain numbers, to be stored with a checkpoint. The states that are carried belong
        into the same checkpoint.
        """
        return {"epoch": self.epoch, "position": self._position, **self._layout()}

    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Go on from a stored position: the next iteration yields the chunks after it.

        Raises:
            ArgumentError: if it was stored for other data, steps, rows or another seed, or is no
                position.
        """
        if not isinstance(stored, Mapping):
            raise ArgumentError(
                f"the position is a {type(stored).__name__}; expected what state_dict returned"
            )
        for name, value in self._layout().items():
            if stored.get(name) != value:
                raise ArgumentError(
                    f"the position was stored with {name} = {stored.get(name)!r}, and here it is "
                    f"{value!r}; give chunks the same data and arguments"
                )
        epoch, position = stored.get("epoch"), stored.get("position")
        if not isinstance(epoch, int) or epoch < 0:
            raise ArgumentError(f"the epoch is {epoch!r}; expected a whole number from 0")
        count = chunk_count(self._rows(epoch), self.steps)
        if not isinstance(position, int) or not 0 <= position <= count:
            raise ArgumentError(f"the position is {position!r}; expected 0 to {count} chunks")
        self.epoch, self._position, self._is_restored = epoch, position, True

    def _layout(self) -> dict[str, Any]:
        """Everything that the order of the chunks depends on."""
        return {
            "steps": self.steps,
            "batch": self.batch,
            "cut": self._cut,
            "seed": self.seed,
            "sequences": len(self._lengths),
            "total": int(self._lengths.sum()),
        }

    def _rows(self, epoch: int) -> list[RowPlan]:
        """The steps of each row in an epoch."""
        order, shift = np.arange(len(self._lengths)), 0
        if self.seed is not None:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            order = generator.permutation(len(self._lengths))
            shift = int(generator.integers(int(self._lengths.sum())))
        if self._cut:
            return cut_rows(self._lengths, self.batch, order, shift)
        return whole_rows(self._lengths, self.batch, order)

    def _chunk(self, arrays: ChunkArrays) -> Chunk:
        x, *target = (self._numbers(values) for values in arrays.values)
        return Chunk(
            x=x,
            target=target[0] if target else None,
            starts=self._marks(arrays.starts),
            ends=self._marks(arrays.ends),
            lengths=torch.from_numpy(arrays.lengths).to(self._device),
            sequence=self._marks(arrays.sequence),
            position=self._marks(arrays.position),
        )

    def _numbers(self, values: Any) -> Tensor:
        tensor = self._marks(values)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def _marks(self, values: Any) -> Tensor:
        tensor = torch.from_numpy(values)
        if self._batch_first:
            tensor = tensor.transpose(0, 1)
        return tensor.to(self._device)


def chunks(
    data: Any,
    *,
    steps: int,
    batch: int,
    cut: bool | None = None,
    seed: int | None = None,
    target: str | None = None,
    id: str | None = None,
    ignore: str | Sequence[str] = (),
    text: str = "characters",
    batch_first: bool = False,
    device: Any = None,
    dtype: torch.dtype | None = None,
) -> Chunks:
    """Read long sequences in chunks of `steps` steps, from memory or from disk.

    Row b of a chunk goes on where row b of the chunk before stopped. So a network that carries
    its states from chunk to chunk reads whole sequences, in memory for one chunk:

    >>> import torch, gatewright as gw
    >>> layer = gw.GRU(1, 8)
    >>> state, loss = None, 0.0
    >>> for chunk in gw.chunks([torch.randn(250), torch.randn(90)], steps=100, batch=2):
    ...     y, state = layer(chunk.x, state, starts=chunk.starts, lengths=chunk.lengths)
    ...     y[chunk.mask].square().mean().backward()
    ...     state = gw.detach(state)
    >>> chunk.x.shape, chunk.lengths
    (torch.Size([50, 2, 1]), tensor([50,  0]))

    Each step comes exactly once an epoch. A row takes the next sequence where its own has ended;
    `starts` marks that step, and there the layer begins anew. Where no sequence is left for it,
    its `lengths` is less than the chunk's steps, and its states hold.

    Args:
        data: The sequences, one of:

            - an array, tensor or DataFrame, (time,) or (time, channels): one sequence; with three
              axes several, (time, sequence, channel) or, if `batch_first`, (sequence, time,
              channel);
            - a list of them, of any lengths; memory-mapped arrays stay on disk;
            - `(x, y)`, two of these, with targets at each step; or a target for each sequence,
              (sequences,), which comes at each of its steps;
            - the path of a file: .npy, .parquet, or a text;
            - what `gw.read` returns, or its data. Targets are the labels or, of texts and series,
              the next step.

            One whole number a step is a symbol or a class, int64. All else are numbers: a single
            one has a channel too.
        steps: T, which gradients reach back at most. The last chunk of an epoch may be shorter.
        batch: B, the rows that are read side by side.
        cut: Whether sequences are cut into pieces, so that all rows are as long; a piece counts
            as a sequence in `starts`. By default only where there are fewer sequences than rows.
        seed: Draws the order of the sequences and, if they are cut, the place of the cuts, anew
            for each epoch. Without it the sequences come in their own order.
        target: The column of a Parquet file with the targets.
        id: The column of a Parquet file that tells its sequences apart, whose rows come together.
        ignore: Columns of a Parquet file to leave out. All others have to be numbers.
        text: Read a text file as "characters" or as "bytes".
        batch_first: Whether chunks are (B, T, ...).
        device: Of the tensors.
        dtype: Of the numbers; by default torch's.

    Returns:
        An iterable over an epoch of `Chunk`, again and again, with `state_dict` and
        `load_state_dict`.

    Raises:
        ArgumentError, SizeError: where arguments do not fit the data or each other.
        DataError: if data cannot be read; also while they are, if a value is not finite or a file
            has changed.
    """
    _check_counts(steps=steps, batch=batch)
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise ArgumentError(f"seed is {seed!r}; expected a whole number from 0, or None")
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize > 1):
        raise ArgumentError(
            f"dtype is {dtype}; expected one of torch's floating-point types of 16 bits or more"
        )
    names = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    options = FileOptions(target=target, id=id, ignore=names, text=text)
    return Chunks(
        open_data(_as_numpy(data), options, batch_first=batch_first),
        steps=steps,
        batch=batch,
        cut=cut,
        seed=seed,
        batch_first=batch_first,
        device=device,
        dtype=dtype,
    )


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name} is {value!r}; expected a whole number from 1")


def _as_numpy(data: Any) -> Any:
    """Replace tensors, and tables of pandas, by arrays, in lists and pairs too."""
    match data:
        case Tensor():
            check_readable(data, "a tensor of the data")
            if data.is_meta:
                raise ArgumentError("a tensor of the data is on meta, and has no numbers")
            values = data.detach().cpu().resolve_conj().resolve_neg()
            # numpy has float16 only of the types below 32 bits.
            is_narrow = values.is_floating_point() and values.itemsize < 4
            return (values.float() if is_narrow else values).numpy()
        # Slices of a table of pandas may be by label, and its steps are its rows.
        case _ if hasattr(data, "iloc"):
            return data.to_numpy()
        case list():
            return list(map(_as_numpy, data))
        case tuple():
            return tuple(map(_as_numpy, data))
    return data
