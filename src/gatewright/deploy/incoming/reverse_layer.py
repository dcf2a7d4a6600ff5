"""A layer that reads sequences from their last step only, as ONNX and Keras have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.errors import ArgumentError
from gatewright.layers.recurrent import Recurrent


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
            ArgumentError: for a PackedSequence.
        """
        output, states = self.layer(self._flipped(input, lengths), hx, lengths=lengths)
        return self._flipped(output, lengths), states

    def trace(self, input: Tensor, hx: Any = None, *, lengths: Any = None) -> Mapping[str, Tensor]:
        """Return every named value, step t being that of the input, as `Recurrent.trace`."""
        values = self.layer.trace(self._flipped(input, lengths), hx, lengths=lengths)
        return {name: self._flipped(value, lengths) for name, value in values.items()}

    def _flipped(self, sequence: Any, lengths: Any) -> Tensor:
        """Each sequence from its last step to its first; padding stays where it is."""
        if not isinstance(sequence, Tensor):
            raise ArgumentError(
                f"the input is a {type(sequence).__name__}; a layer that reads in reverse takes a "
                "tensor, with `lengths` where it is padded"
            )
        time = 1 if self.layer.batch_first and sequence.dim() == 3 else 0
        if lengths is None:
            return sequence.flip(time)
        steps = torch.arange(sequence.shape[time], device=sequence.device)
        last = torch.as_tensor(lengths, device=sequence.device).unsqueeze(1) - 1 - steps
        index = torch.where(last < 0, steps, last)  # (B, T)
        index = index if time else index.T
        return sequence.gather(time, index.unsqueeze(-1).expand_as(sequence))
