"""The processes that do a training together, and what they tell each other.

Each process is a rank. All of them hold the same weights, draw the same batches and the same
random numbers, and each computes its own rows of a batch. `Team()` is a process by itself.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, distributed, nn

from gatewright.errors import TrainingError
from gatewright.tasks.task import EVALUATION_BATCH as ROWS
from gatewright.tasks.task import Batch, Batches, run_each
from gatewright.training.ranks.draws import WholeDraws


@dataclass(frozen=True, slots=True)
class BatchShare:
    """One rank's part of a batch.

    Attributes:
        batch: The rows; where the rank has none, the first row, which counts for nothing.
        rows: Their positions in the whole batch.
        of: Rows of the whole batch.
        weight: The part of the mean loss that is theirs: 1 where there is one rank.
        whole: The batch.
    """

    batch: Batch
    rows: slice
    of: int
    weight: float
    whole: Batch

    @property
    def is_empty(self) -> bool:
        """True if the rank has no row, and computes one for the others' sake."""
        return bool(self.rows.start == self.rows.stop)

    @property
    def computed(self) -> slice:
        """The positions of the rows that the rank computes."""
        return slice(0, 1) if self.is_empty else self.rows


class Team:
    """One rank among `size`, which pass tensors to each other.

    Args:
        waiting: The group of torch in which ranks wait for rank 0; None for that of all else.
    """

    def __init__(self, rank: int = 0, size: int = 1, waiting: Any = None) -> None:
        self.rank = rank
        self.size = size
        self.waiting = waiting

    @property
    def is_alone(self) -> bool:
        """True if this process trains by itself."""
        return self.size == 1

    # Batches.

    def share(self, batch: Batch, task: Any) -> BatchShare:
        """This rank's rows of a batch."""
        count = batch.x.shape[1]
        if self.is_alone:
            return BatchShare(batch, slice(0, count), count, 1.0, batch)
        rows = self._rows(count)
        taken = rows if rows.stop > rows.start else slice(0, 1)
        own = rows_of(batch, taken, each=task.every_step)
        whole = task.mass(batch)
        weight = task.mass(own) / whole if whole else 1.0 / self.size
        return BatchShare(own, rows, count, weight if taken is rows else 0.0, batch)

    def _rows(self, count: int, rank: int | None = None) -> slice:
        rank = self.rank if rank is None else rank
        return slice(rank * count // self.size, (rank + 1) * count // self.size)

    def module(self, step: nn.Module, reaches_all: Callable[[], bool]) -> nn.Module:
        """A module whose backward pass gives every rank the mean of the gradients of all.

        Args:
            reaches_all: Tells if every backward pass reaches all weights. Otherwise each one has to
                look for those that it reaches.
        """
        if self.is_alone:
            return step
        find = not reaches_all()
        with warnings.catch_warnings():
            # torch 2.13 has a new name for it, which earlier versions do not know.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            # The buffers of all ranks are equal without that.
            return nn.parallel.DistributedDataParallel(
                step, broadcast_buffers=False, find_unused_parameters=find
            )

    def to_learn(self, loss: Tensor, share: BatchShare) -> Tensor:
        """The loss whose gradients, averaged over the ranks, are those of the whole batch."""
        return loss if self.is_alone else loss * (share.weight * self.size)

    def mean_loss(self, loss: float, share: BatchShare) -> float:
        """The mean loss of the whole batch."""
        if self.is_alone:
            return loss
        return self._sum([loss * share.weight if share.weight else 0.0])[0]

    def draws(self, share: BatchShare, segment: int) -> Any:
        """A context in which random numbers are drawn for the whole batch; each rank keeps its own.

        Args:
            segment: Steps that the network reads as one event.
        """
        return nullcontext() if self.is_alone else WholeDraws(share, segment)

    def carried(self, state: Any, count: int) -> Any:
        """This rank's rows of a network's state, which is whole in a checkpoint."""
        if self.is_alone or state is None:
            return state
        rows = self._rows(count)
        rows = rows if rows.stop > rows.start else slice(0, 1)
        return _mapped(state, lambda tensor: tensor[:, rows].contiguous())

    def whole_state(self, state: Any, count: int) -> Any:
        """A network's state with the rows of all ranks."""
        if self.is_alone or state is None:
            return state
        return _mapped(state, lambda tensor: self._gathered(tensor.contiguous(), count, 1))

    # Measurement.

    def run_all(self, model: Any, batches: Batches) -> Iterator[tuple[Tensor, Batch]]:
        """Run the model on all batches of a part, in order: the pairs (outputs, batch) of all."""
        whole = batches.ordered(ROWS)
        return run_each(model, whole) if self.is_alone else self._run_shares(model, whole)

    def _run_shares(self, model: Any, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Batch]]:
        task, shares = model.task, deque[BatchShare]()
        axis = 1 if task.every_step else 0

        def own() -> Iterator[Batch]:
            for batch in batches:
                shares.append(self.share(batch, task))
                yield shares[-1].batch

        for outputs, _ in run_each(model, own()):
            share = shares.popleft()
            gathered = self._gathered(outputs, share.of, axis)
            yield gathered, share.whole.to(gathered.device)

    # Messages.

    def agreed(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        if self.is_alone:
            return number
        tensor = torch.tensor(number)
        with _talking():
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return int(tensor)

    def sent(self, content: bytes | None) -> bytes:
        """The bytes of rank 0, which passes them; the others pass None."""
        with _talking():
            size = torch.tensor(len(content or b""), dtype=torch.int64)
            distributed.broadcast(size, 0, self.waiting)
            if not int(size):
                return b""
            if content is None:
                tensor = torch.empty(int(size), dtype=torch.uint8)
            else:
                tensor = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            distributed.broadcast(tensor, 0, self.waiting)
        return tensor.numpy().tobytes()

    def _sum(self, numbers: Sequence[float]) -> list[float]:
        tensor = torch.tensor(numbers, dtype=torch.float64)
        with _talking():
            distributed.all_reduce(tensor)
        return [float(number) for number in tensor]

    def _gathered(self, own: Tensor, count: int, axis: int) -> Tensor:
        """The rows of all ranks; those of a rank without any are left out."""
        # All ranks send as many rows: some have one more than others.
        most = max(-(-count // self.size), 1)
        moved = own.movedim(axis, 0)
        padded = moved.new_zeros((most, *moved.shape[1:]))
        padded[: len(moved)] = moved
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with _talking():
            distributed.all_gather(parts, padded)
        sizes = [self._rows(count, rank) for rank in range(self.size)]
        rows = [part[: own.stop - own.start] for part, own in zip(parts, sizes, strict=True)]
        return torch.cat(rows).movedim(0, axis).contiguous()


def rows_of(batch: Batch, rows: slice, *, each: bool) -> Batch:
    """Some rows of a batch, padded as the whole is.

    Args:
        each: Whether there is a target at each step, (T, B), rather than one a row.
    """

    def of(tensor: Tensor | None, axis: int) -> Any:
        if tensor is None:
            return None
        return tensor.narrow(axis, rows.start, rows.stop - rows.start).contiguous()

    return replace(
        batch,
        x=of(batch.x, 1),
        lengths=of(batch.lengths, 0),
        target=of(batch.target, int(each)),
        further=of(batch.further, int(each)),
        weights=of(batch.weights, 0),
        starts=of(batch.starts, 1),
    )


@contextmanager
def _talking() -> Iterator[None]:
    """Turn the end of another rank into an error that names it.

    Raises:
        TrainingError: then.
    """
    try:
        yield
    except RuntimeError as error:
        raise lost(error) from error


def lost(error: RuntimeError) -> Exception:
    """The error to report for one that may come from the connection between ranks."""
    text = str(error)
    if isinstance(error, distributed.DistError) or any(
        word in text for word in ("gloo", "NCCL", "Connection", "connection")
    ):
        return TrainingError(
            "another process of this training ended before it: its message is above, or in the "
            "output of its host. All of them end; resume with --resume"
        )
    return error


def _mapped(state: Any, change: Any) -> Any:
    if isinstance(state, tuple | list):
        return tuple(_mapped(tensor, change) for tensor in state)
    return change(state)
