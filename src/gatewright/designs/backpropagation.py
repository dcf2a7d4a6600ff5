"""Backpropagation through long sequences: how many steps it reaches back, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewright.designs.masks import last_step
from gatewright.errors import ArgumentError
from gatewright.layers.detach import detach
from gatewright.layers.recurrent import Recurrent


@dataclass(frozen=True, slots=True)
class Backpropagation:
    """The settings by which recurrent layers learn from sequences that are read as a whole.

    They change no output: only which gradients there are, and the memory that these take.

    >>> import torch, gatewright as gw
    >>> layer, x = gw.GRU(3, 4), torch.zeros(50, 2, 3, requires_grad=True)
    >>> Backpropagation(chunk=10).last(layer, x).sum().backward()
    >>> x.grad[..., 0].abs().sum(1).count_nonzero()
    tensor(10)

    Args:
        chunk: Steps that gradients reach back; None for all.
        recompute: Steps between two states that are kept, as in a layer's call.

    Raises:
        ArgumentError: with a chunk, for a layer that reads from both ends.
    """

    chunk: int | None = None
    recompute: int | None = None

    def run(
        self,
        layer: Recurrent,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """The outputs of a layer (T, B, C) and its states, with gradients through all steps."""
        output, state = layer(x, state, lengths=lengths, starts=starts, recompute=self.recompute)
        return output, state

    def every(self, layer: Recurrent, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The outputs of a layer at all steps, (T, B, C); gradients end at each chunk's border.

        Each chunk keeps what its gradients need until the backward pass: without `recompute` that
        is as much as without chunks.
        """
        steps = x.shape[0]
        if self.chunk is None or steps <= self.chunk:
            return self.run(layer, x, lengths=lengths)[0]
        _check_forwards(layer, self.chunk)
        outputs, state = [], None
        for part in _parts(steps, self.chunk):
            own = _within(lengths, part)
            output, state = self.run(layer, x[part], detach(state), lengths=own)
            outputs.append(output)
        return torch.cat(outputs)

    def last(self, layer: Recurrent, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The output of a layer at the last step of each sequence, (B, C).

        Gradients reach back exactly `chunk` steps from there. The steps before set the states, a
        chunk at a time and without a graph: the memory is that of a chunk.
        """
        steps, chunk = x.shape[0], self.chunk
        if chunk is None or steps <= chunk:
            output, _ = self.run(layer, x, lengths=lengths)
            return output[-1] if lengths is None else last_step(output, lengths)
        _check_forwards(layer, chunk)
        earlier = None if lengths is None else (lengths - chunk).clamp(min=0)
        state = _state_after(layer, x[: steps - chunk], earlier, chunk)
        if lengths is None or earlier is None:
            return self.run(layer, x[steps - chunk :], state)[0][-1]
        # Rows of different lengths: the last steps of each, moved to the front.
        places = torch.arange(chunk, device=x.device)[:, None] + earlier
        index = places.clamp(max=steps - 1)[..., None].expand(-1, -1, x.shape[2])
        starts = None
        if _learns_start(layer):  # which a row that is read from its first step has to reach
            starts = (places == 0) & (lengths > 0)
        left = lengths - earlier
        output, _ = self.run(layer, x.gather(0, index), state, lengths=left, starts=starts)
        return last_step(output, left)

    def in_events(self, segment: int) -> Backpropagation:
        """The same settings where `segment` steps are one event."""
        if self.chunk is None:
            return self
        return Backpropagation(-(-self.chunk // segment), self.recompute)


def _check_forwards(layer: Recurrent, chunk: int) -> None:
    if layer.bidirectional:
        raise ArgumentError(
            f"chunk is {chunk}, and the layer reads from both ends; expected one direction, whose "
            "states can be carried from chunk to chunk"
        )


#: All gradients, from values that are kept at all steps.
WHOLE = Backpropagation()


@torch.no_grad()
def _state_after(layer: Recurrent, x: Tensor, lengths: Tensor | None, chunk: int) -> Any:
    """The states after these steps, computed a chunk at a time."""
    state = None
    for part in _parts(x.shape[0], chunk):
        _, state = layer(x[part], state, lengths=_within(lengths, part))
    if torch.is_autocast_enabled(x.device.type):
        # It keeps converted weights for later calls, and these have no graph.
        torch.clear_autocast_cache()
    return state


def _parts(steps: int, chunk: int) -> list[slice]:
    return [slice(first, min(first + chunk, steps)) for first in range(0, steps, chunk)]


def _within(lengths: Tensor | None, part: slice) -> Tensor | None:
    """The steps that each row has of a part, (B,)."""
    return None if lengths is None else (lengths - part.start).clamp(0, part.stop - part.start)


def _learns_start(layer: Recurrent) -> bool:
    return not all(isinstance(start, int | float) for start in layer.graph.initial.values())
