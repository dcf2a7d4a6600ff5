"""What was found of a model's memory, and how it is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gatewright.escaping import terminal_text
from gatewright.memory.json_numbers import plain
from gatewright.memory.units import Channel, Units
from gatewright.probes.lags import said

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Examination:
    """What a model's memory does on data.

    Attributes:
        data, network: What was looked at; `sequences` of it, the longest of `steps` steps.
        histories, losses: The loss when only the last k steps are seen.
        used: The fewest steps of history that keep the loss within 5 % of what history brings.
        gradient: The size of the loss's gradient at the input k steps back, from k = 0.
        reach: Steps back until 1 % of its greatest value is left.
        useful: Steps of history that a linear model of the data can use.
        beyond: The share of what it makes of them that lies farther back than the network uses.
        channels: The inputs, the farthest read first.
        layers: Each layer and direction; none for a network without a state.
        advice: What could be changed, in sentences.
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
        """How far back it looks, in a sentence or two."""
        least, full = self.losses[0], self.losses[-1]
        return (
            f"It uses the last {self.used} of up to {self.steps} steps: with one step its loss "
            f"is {least:.3g}, with all of them {full:.3g}. By its gradients it reads "
            f"{said(self.reach, len(self.gradient) - 1)} steps back, where 1 % of the greatest is "
            f"left. A linear model of these data finds use for {self.useful} of them."
        )

    def tables(self) -> list[Table]:
        """Losses by history, inputs, units and gates, for a terminal."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        losses = Table(box=SIMPLE_HEAD, title="loss with the last k steps alone")
        inputs = Table(box=SIMPLE_HEAD, title="inputs, the farthest read first")
        units = Table(box=SIMPLE_HEAD, title="units, the longest memory first")
        for made, headings in (
            (losses, ["k", "loss"]),
            (inputs, ["input", "share of the gradient", "read on average, steps back"]),
            (units, ["layer", "state", "unit", "half-life", "time constant"]),
        ):
            for heading in headings:
                made.add_column(heading, justify="right")
        for k, loss in zip(self.histories, self.losses, strict=True):
            losses.add_row(str(k), f"{loss:.4f}")
        for channel in self.channels[:8]:
            inputs.add_row(
                terminal_text(channel.name), f"{channel.share:.0%}", f"{channel.lag:.1f}"
            )
        for layer in self.layers:
            for state, unit, half, constant in layer.longest[:5]:
                most = len(layer.left) - 1
                names = terminal_text(layer.name), terminal_text(state)
                units.add_row(*names, str(unit), said(half, most), f"{constant:.1f}")
        gates = Table(box=SIMPLE_HEAD, title="gates, and the step's Jacobian")
        for heading in ("layer", "gate", "shut (< 0.1)", "open (> 0.9)", "largest eigenvalue"):
            gates.add_column(heading, justify="right")
        for layer in self.layers:
            for gate, shut, opened in layer.gates or (("–", 0.0, 0.0),):
                names = terminal_text(layer.name), terminal_text(gate)
                gates.add_row(*names, f"{shut:.0%}", f"{opened:.0%}", f"{layer.radius:.2f}")
        return [losses, inputs, units, gates] if self.layers else [losses, inputs]

    def to_json(self) -> str:
        """Every number."""
        return json.dumps(plain(asdict(self)), indent=1)
