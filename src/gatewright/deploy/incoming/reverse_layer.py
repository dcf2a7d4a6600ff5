"""A layer that reads sequences from their last step only, as ONNX and Keras have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewright.errors import ArgumentError
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.sequences import BatchLayout


class ReverseLayer(nn.Module):
    """A layer of one direction, which reads each sequence from its last step to its first.

    >>> import torch, gatewright as gw
    >>> reverse = ReverseLayer(gw.LSTM(3, 4))
    >>> output, (h, c) = reverse(torch.zeros(5, 2, 3))
    >>> output.shape
    torch.Size([5, 2, 4])

    Step t of the output is that of the input; the states are those after the first step, which is
    read last. The layer itself is `reverse.layer`, to save it or to look at its weights.
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.layer = layer

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layer!r})"

    def forward(self, input: Tensor, hx: Any = None, *, lengths: Any = None) -> tuple[Any, Any]:
        """Run the layer; the arguments and the results are those of `Recurrent`.

        Raises:
            ArgumentError, SizeError: for inputs that do not fit, and for a PackedSequence.
        """
        flipped = self._flipped_input(input, lengths)
        output, states = self.layer(flipped, hx, lengths=lengths)
        return self._flipped(output, lengths), states

    def trace(self, input: Tensor, hx: Any = None, *, lengths: Any = None) -> Mapping[str, Tensor]:
        """Return every named value, step t being that of the input, as `Recurrent.trace`."""
        flipped = self._flipped_input(input, lengths)
        values = self.layer.trace(flipped, hx, lengths=lengths)
        return {name: self._flipped(value, lengths) for name, value in values.items()}

    def _flipped_input(self, input: Any, lengths: Any) -> Tensor:
        if isinstance(input, PackedSequence):
            raise ArgumentError(
                "the input is a PackedSequence; a layer that reads in reverse takes a tensor, with "
                "`lengths` where it is padded"
            )
        # Refuses what the layer would refuse, which could not be flipped.
        BatchLayout.of(input, batch_first=self.layer.batch_first, lengths=lengths)
        return self._flipped(input, lengths)

    def _flipped(self, sequence: Tensor, lengths: Any) -> Tensor:
        """Each sequence from its last step to its first; padding stays where it is."""
        unbatched = sequence.dim() == 2
        rows = sequence.unsqueeze(1) if unbatched else sequence
        time = int(self.layer.batch_first and not unbatched)
        if lengths is None:
            return sequence.flip(time)
        steps = torch.arange(rows.shape[time], device=rows.device)
        last = torch.as_tensor(lengths, device=rows.device).reshape(-1, 1) - 1 - steps  # (B, T)
        index = torch.where(last < 0, steps, last)
        index = (index if time else index.T).unsqueeze(-1).expand_as(rows)
        flipped = rows.gather(time, index)
        return flipped.squeeze(1) if unbatched else flipped
