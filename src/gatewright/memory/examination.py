"""The results of examining a model's memory, and their tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gatewright.escaping import terminal_text
from gatewright.memory.json_numbers import plain
from gatewright.memory.units import Channel, Units
from gatewright.probes.lags import steps_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Examination:
    """Measurements of a model's memory on data.

    Attributes:
        data, network: Their names.
        sequences, steps: The number of sequences, and the length of the longest.
        histories, losses: Numbers k of steps, and the loss if only the last k are seen.
        used: The fewest steps that lose at most 5 % of the improvement by history.
        gradient: The norm of the loss's gradient at the input k steps back, from k = 0.
        reach: Steps back until 1 % of its largest value is left.
        useful: Steps of history that a linear model of the data can use.
        beyond: The share of the linear model's improvement from steps that the network does
            not use.
        channels: The inputs, those that are read farthest back first.
        layers: The units of each layer and direction; empty for a network without a state.
        advice: Suggested changes, in sentences.
    """

    data: str
    network: str
    sequences: int
    steps: int
    histories: tuple[int, ...]
    losses: tuple[float, ...]
    used: int
    gradient: tuple[float, ...]
    reach: float
    useful: int
    beyond: float
    channels: tuple[Channel, ...]
    layers: tuple[Units, ...]
    advice: tuple[str, ...]

    def verdict(self) -> str:
        """The result in a few sentences."""
        least, full = self.losses[0], self.losses[-1]
        return (
            f"It uses the last {self.used} of up to {self.steps} steps: with one step its loss "
            f"is {least:.3g}, with all of them {full:.3g}. Its gradients reach "
            f"{steps_text(self.reach, len(self.gradient) - 1)} steps back, where 1 % of the "
            f"largest is left. A linear model can use {self.useful} steps of these data."
        )

    def tables(self) -> list[Table]:
        """Losses by history, inputs, units and gates, for a terminal."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        losses = Table(box=SIMPLE_HEAD, title="loss with only the last k steps")
        inputs = Table(box=SIMPLE_HEAD, title="inputs, read farthest back first")
        units = Table(box=SIMPLE_HEAD, title="units, the longest memory first")
        for table, headings in (
            (losses, ["k", "loss"]),
            (inputs, ["input", "share of the gradient", "read on average, steps back"]),
            (units, ["layer", "state", "unit", "half-life", "time constant"]),
        ):
            for heading in headings:
                table.add_column(heading, justify="right")
        for k, loss in zip(self.histories, self.losses, strict=True):
            losses.add_row(str(k), f"{loss:.4f}")
        for channel in self.channels[:8]:
            inputs.add_row(
                terminal_text(channel.name), f"{channel.share:.0%}", f"{channel.lag:.1f}"
            )
        for layer in self.layers:
            for state, unit, half, constant in layer.longest[:5]:
                longest = len(layer.left) - 1
                names = terminal_text(layer.name), terminal_text(state)
                units.add_row(*names, str(unit), steps_text(half, longest), f"{constant:.1f}")
        gates = Table(box=SIMPLE_HEAD, title="gates, and the step's Jacobian")
        for heading in ("layer", "gate", "shut (< 0.1)", "open (> 0.9)", "largest eigenvalue"):
            gates.add_column(heading, justify="right")
        for layer in self.layers:
            for gate, shut, open_ in layer.gates or (("–", 0.0, 0.0),):
                names = terminal_text(layer.name), terminal_text(gate)
                gates.add_row(*names, f"{shut:.0%}", f"{open_:.0%}", f"{layer.radius:.2f}")
        return [losses, inputs, units, gates] if self.layers else [losses, inputs]

    def to_json(self) -> str:
        """All numbers, as JSON."""
        return json.dumps(plain(asdict(self)), indent=1)
