"""Random numbers and means of batch normalisation, which couple the rows of a batch.

So that any number of ranks trains as one process does, each draws the random numbers of the whole
batch and keeps those of its own rows, and takes the means over the rows of all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.overrides import TorchFunctionMode


class WholeDraws(TorchFunctionMode):
    """Replaces dropout, Bernoulli draws and batch normalisation while a rank computes its rows.

    Args:
        share: This rank's rows.
        segment: Steps that the network reads as one event.
    """

    def __init__(self, share: Any, segment: int) -> None:
        super().__init__()
        self.share = share
        self.segment = segment
        own, whole = share.batch, share.whole
        self.own_steps = _steps(own, segment)
        self.whole_steps = _steps(whole, segment)
        self._packed: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is torch.bernoulli and not kwargs:
            chance: Tensor = args[0]
            return self._own(func(self._whole(chance)), chance)
        if func is nn.functional.batch_norm:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or not p:
            return input
        ones = self._whole(torch.ones_like(input))
        return input * self._own(nn.functional.dropout(ones, p), input)

    def _whole(self, own: Tensor) -> Tensor:
        """A tensor with the rows of the whole batch, each as the first one of `own`."""
        size = self.share.of if self._is_by_row(own) else int(self.whole_steps.sum())
        shape = [*own.shape]
        shape[-2] = size
        return own[..., :1, :].expand(shape).contiguous()

    def _own(self, whole: Tensor, own: Tensor) -> Tensor:
        """This rank's rows of what was drawn for the whole batch."""
        if self._is_by_row(own):
            first = self.share.rows.start if not self.share.is_empty else 0
            return whole.narrow(-2, first, own.shape[-2])
        return whole.index_select(-2, self._positions())

    def _is_by_row(self, own: Tensor) -> bool:
        """Tell a tensor (..., B, C) from one (N, C) of all steps, packed."""
        return own.dim() > 2 or own.shape[-2] == self.share.batch.x.shape[1]

    def _positions(self) -> Tensor:
        """The positions of this rank's steps among all, packed step by step, longest row first."""
        if self._packed is None:
            lengths = self.whole_steps
            order = torch.arange(self.share.of)
            if self.share.whole.lengths is not None:
                order = lengths.argsort(descending=True, stable=True)
            first = 0 if self.share.is_empty else self.share.rows.start
            is_own = (order >= first) & (order < first + len(self.own_steps))
            runs = lengths[order] > torch.arange(int(lengths.max()))[:, None]  # (T, B)
            positions = runs.flatten().cumsum(0) - 1
            self._packed = positions[(runs & is_own).flatten()]
        return self._packed

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Normalise (N, C) by the mean and the variance of the rows of all ranks."""
        if not training:
            return nn.functional.batch_norm(
                input, running_mean, running_var, weight, bias, training, momentum, eps
            )
        # A rank without rows computes one that must not count.
        counts = 0.0 if self.share.is_empty else 1.0
        count = _summed(input.new_tensor(counts * len(input)))
        mean = _summed(counts * input.sum(0)) / count
        centred = input - mean
        variance = _summed(counts * centred.square().sum(0)) / count
        with torch.no_grad():
            if running_mean is not None and running_var is not None:
                unbiased = variance * (count / (count - 1.0).clamp(min=1.0))
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(unbiased, momentum)
        result = centred * (variance + eps).rsqrt()
        result = result if weight is None else result * weight
        return result if bias is None else result + bias


def _summed(tensor: Tensor) -> Tensor:
    """The sum over the ranks, differentiable."""
    result: Tensor = all_reduce(tensor, group=distributed.group.WORLD)
    return result


def _steps(batch: Any, segment: int) -> Tensor:
    """The events of each row of a batch, (B,)."""
    steps, rows = batch.x.shape[:2]
    lengths = torch.full((rows,), steps) if batch.lengths is None else batch.lengths
    return (lengths + segment - 1) // segment
