"""A network: a cell in its design, from events to the features of a sequence or of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from gatewright.designs.backpropagation import WHOLE, Backpropagation
from gatewright.designs.design import Design, find_design
from gatewright.designs.dilated import DilatedFront
from gatewright.designs.dropout import LockedDropout
from gatewright.designs.front import ConvolutionalFront
from gatewright.designs.preparation import Preparation
from gatewright.designs.readout import Readout
from gatewright.errors import ModelError
from gatewright.language.cell import Cell
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.saving import describe, rebuild, saveable
from gatewright.schema import typed_fields

#: The modules of the front ends by name, and the summaries of their values that join the readout.
_FRONTS: Mapping[str, Callable[[int, int], ConvolutionalFront | DilatedFront]] = MappingProxyType(
    {"convolution": ConvolutionalFront, "dilated": DilatedFront}
)
JOINED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"convolution": ("mean",), "dilated": ("max", "share")}
)

#: Values of all events that a network of random weights reads at once, 134 MB: it has hundreds for
#: each step, and copies of them. More rows take turns.
MAX_VALUES = 1 << 25


@saveable("network")
class SequenceNetwork(nn.Module):
    """A cell in its design: preparation, front end, recurrent layers, read-out.

    >>> import torch
    >>> network = SequenceNetwork("gru", 3, 16, design="convolutional")
    >>> network(torch.zeros(50, 4, 3), torch.tensor([50, 20, 31, 8])).shape
    torch.Size([4, 80])
    >>> network.output_size
    80

    Args:
        cell: Any cell, as `gatewright.Recurrent` takes it.
        input_size: Values of each event, I.
        hidden_size: Units of each layer and direction, H; also channels of the front end.
        design: A `Design`, or the name of one.
    """

    def __init__(
        self,
        cell: Cell | type[Cell] | str,
        input_size: int,
        hidden_size: int,
        design: Design | str = "plain",
    ) -> None:
        super().__init__()
        self.design = find_design(design)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.preparation = Preparation(
            input_size,
            scaling=self.design.scaling,
            differences=self.design.differences,
            segment=self.design.segment,
        )
        size = self.preparation.output_size
        self.front, self.joined = None, None
        if self.design.front != "none":
            channels = hidden_size * (self.design.patterns if self.design.front == "dilated" else 1)
            self.front = _FRONTS[self.design.front](size, channels)
            size = self.front.output_size
            self.joined = Readout(JOINED[self.design.front], size)
        self.input_dropout = LockedDropout(self.design.input_dropout)
        self.recurrent = Recurrent(
            cell,
            size,
            hidden_size,
            self.design.layers,
            bidirectional=self.design.bidirectional,
            dropout=self.design.dropout if self.design.layers > 1 else 0.0,
        )
        self.readout = Readout(
            self.design.readout, self.recurrent.output_size, self.recurrent.directions
        )

    @property
    def output_size(self) -> int:
        """Features of a sequence."""
        return self.readout.output_size + (0 if self.joined is None else self.joined.output_size)

    def events(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The events that the cell reads, (T, B, features), and how many each sequence has."""
        if lengths is None:
            lengths = torch.full((x.shape[1],), x.shape[0], device=x.device)
        events, lengths = self.preparation(x, lengths)
        if self.front is not None:
            events = self.front(events, lengths)
        return self.input_dropout(events), lengths

    def steps(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        state: Any = None,
        starts: Tensor | None = None,
        backpropagation: Backpropagation = WHOLE,
    ) -> tuple[Tensor, Any]:
        """The recurrent layers' output at each step, (T, B, C), and their state after the last.

        Args:
            state: The state after the steps before these, as an earlier call returned it. A
                design that prepares its events from several steps cannot continue.
            starts: True at the first step of a sequence, (T, B), where a row reads several.
        """
        events, lengths = self.events(x, lengths)
        return backpropagation.run(self.recurrent, events, state, lengths=lengths, starts=starts)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        backpropagation: Backpropagation = WHOLE,
    ) -> Tensor:
        """(T, B, I) and the steps of each sequence (B,) to its features (B, output size)."""
        if not self.design.trained and not torch.compiler.is_compiling():
            rows = self.rows_at_once(x.shape[0])
            if x.shape[1] > rows:
                if lengths is None:
                    lengths = torch.full((x.shape[1],), x.shape[0], device=x.device)
                parts = zip(x.split(rows, 1), lengths.split(rows), strict=True)
                return torch.cat([self._features(*part, backpropagation) for part in parts])
        return self._features(x, lengths, backpropagation)

    def rows_at_once(self, steps: int) -> int:
        """Return the sequences of so many steps that random weights read together."""
        return max(MAX_VALUES // (max(steps, 1) * self.recurrent.input_size), 1)

    def _features(
        self, x: Tensor, lengths: Tensor | None, backpropagation: Backpropagation
    ) -> Tensor:
        events, lengths = self.events(x, lengths)
        backpropagation = backpropagation.in_events(self.design.segment)
        features: Tensor
        if self.design.reads_last:
            features = backpropagation.last(self.recurrent, events, lengths)
        else:
            features = self.readout(backpropagation.every(self.recurrent, events, lengths), lengths)
        if self.joined is None:
            return features
        return torch.cat([features, self.joined(events, lengths)], -1)

    def to_config(self) -> dict[str, Any]:
        """The arguments, in JSON's types; the numbers are in the state_dict."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "design": self.design.to_config(),
            "recurrent": describe(self.recurrent),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "network") -> Self:
        """Build the network of a config, with weights of any value.

        Raises:
            ModelError: where the config is damaged.
        """
        hints = {"input_size": int, "hidden_size": int, "design": Any, "recurrent": Any}
        fields = typed_fields(dict(config), hints, path)
        design = Design.from_config(fields["design"], f"{path}.design")
        recurrent = rebuild(fields["recurrent"], f"{path}.recurrent")
        if not isinstance(recurrent, Recurrent):
            raise ModelError(f"{path}.recurrent is a {type(recurrent).__name__}; expected a layer")
        network = cls(recurrent.cell, fields["input_size"], fields["hidden_size"], design)
        if describe(network.recurrent) != describe(recurrent):
            raise ModelError(f"{path}.recurrent is not the layer that {path}.design asks for")
        return network
