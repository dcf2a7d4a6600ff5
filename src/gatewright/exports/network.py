"""A network as it goes out: its stages, its inputs and outputs, and recorded answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatewright.backends.int8 import Int8Matrix
from gatewright.errors import ArgumentError
from gatewright.exports.input_names import printed_names
from gatewright.exports.program import Array, StepProgram, step_program
from gatewright.exports.stages import (
    Embedding,
    Floats,
    ForecastWindow,
    RecurrentLayers,
    Stage,
)
from gatewright.graph.sizes import number

#: Steps of the record that a stream is checked with, in two sequences of half as many.
RECORDED_STEPS = 100
#: The largest differences from the record, as shares of 1 + the value.
TOLERANCE, INT8_TOLERANCE = 1e-4, 1e-2


@dataclass(frozen=True, eq=False)
class Recorded:
    """A sequence of random events, and what the model answered to it here."""

    events: Floats  # (T, I)
    further: Mapping[str, Floats]  # (T, size)
    outputs: Floats  # (T, O), after each event; (1, O) after the last one of a whole sequence


@dataclass(frozen=True)
class Chains:
    """A whole network: the stages of each member, and of the mean of their results.

    A model that is no ensemble has a single member.
    """

    members: tuple[tuple[Stage, ...], ...]
    ending: tuple[Stage, ...] = ()

    @property
    def stages(self) -> Sequence[Stage]:
        """All stages, those of the members first."""
        return [*(stage for chain in self.members for stage in chain), *self.ending]

    @property
    def why_not_stream(self) -> str | None:
        """The reason, as a clause, why it cannot answer event by event, or None if it can."""
        reasons = (stage.why_not_stream for stage in self.stages)
        return next((reason for reason in reasons if reason is not None), None)

    @property
    def answers_once(self) -> bool:
        """True if a sequence has a single answer, false if each of its steps has its own."""
        return any(stage.ends_steps for stage in self.stages)

    def in_int8(self) -> Chains:
        """The same network with the products of its layers in int8."""
        members = (tuple(stage.in_int8() for stage in chain) for chain in self.members)
        return Chains(tuple(members), self.ending)


@dataclass(frozen=True, eq=False)
class ExportedNetwork:
    """A network that a program is written from.

    Attributes:
        name: Begins the names in the exported text.
        about: A sentence for the head of the file.
        output: The numbers of an answer in words: "the probability of each class".
        further: The inputs of each step in addition to the event.
        records: Sequences that the exported text is checked with.
        labels: The names of the outputs, where they have some; of a text, its symbols.
        notes: Further lines for the head of the file, such as the names of the channels.
        stem: The name of the file without its ending, where that is not `name`.
    """

    name: str
    about: str
    chains: Chains
    further: Sequence[Array]
    records: Sequence[Recorded]
    output: str = "the output of the highest layer"
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stem: str = ""

    @property
    def input_size(self) -> int:
        """Values of an event; 1 if it is the number of a symbol."""
        return self.chains.members[0][0].input_size

    @property
    def output_size(self) -> int:
        """Numbers of an answer."""
        return self.chains.stages[-1].output_size

    @property
    def streams(self) -> bool:
        """True if it can answer after every event."""
        return self.chains.why_not_stream is None

    @property
    def symbols(self) -> int | None:
        """The number of symbols, if an event is the number of one; None if it has values."""
        first = self.chains.members[0][0]
        return len(first.weight) if isinstance(first, Embedding) else None

    @property
    def forecast(self) -> ForecastWindow | None:
        """The window of a forecast, whose steps, horizon and quantiles all members share."""
        return next((s for s in self.chains.stages if isinstance(s, ForecastWindow)), None)

    @property
    def programs(self) -> Sequence[StepProgram]:
        """The programs of all recurrent layers."""
        return [program for stage in self.chains.stages for program in stage.programs]

    @property
    def counts_steps(self) -> bool:
        """True if a stream counts its events."""
        return any(stage.counts_steps for stage in self.chains.stages)

    def states(self) -> Iterator[tuple[str, Floats]]:
        """The rows of numbers that a stream remembers: name and start of each."""
        for stage in self.chains.stages:
            yield from stage.states()

    def constants(self) -> Iterator[tuple[str, Floats]]:
        """All constants by name: of the layers, then of the stages around them."""
        for program in self.programs:
            yield from {**program.matrices, **program.vectors}.items()
        for stage in self.chains.stages:
            yield from stage.arrays()

    @property
    def state_size(self) -> int:
        """Numbers of a stream's state."""
        return sum(start.size for _, start in self.states()) + self.counts_steps

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants."""
        around = sum(values.nbytes for s in self.chains.stages for _, values in s.arrays())
        return around + sum(program.nbytes for program in self.programs)

    def int8_matrices(self) -> Iterator[tuple[str, Int8Matrix]]:
        """The matrices in int8 by name, of the layers in turn."""
        for program in self.programs:
            yield from program.int8_matrices.items()

    @property
    def is_int8(self) -> bool:
        """True if the products of the layers are in int8."""
        return any(program.int8_matrices for program in self.programs)

    @property
    def tolerance(self) -> float:
        """The largest difference from the record, as a share of 1 + the value.

        In int8, a difference of rounding may move a number over the edge between two codes, which
        changes the next sums by a whole step.
        """
        return INT8_TOLERANCE if self.is_int8 else TOLERANCE

    def in_int8(self) -> ExportedNetwork:
        """The same network with the products of its layers in int8; the record stays."""
        about = self.about.replace("written by", "with products in int8, written by")
        return replace(self, about=about, chains=self.chains.in_int8())

    @property
    def multiply_adds(self) -> int:
        """Multiplications of the products of one step."""
        return sum(stage.multiply_adds for stage in self.chains.stages)


def recurrent_stage(
    layer: Any, prefix: str = "", *, values: bool = False, joins_input: bool = False
) -> RecurrentLayers:
    """The layers of a `Recurrent` as a stage.

    Args:
        prefix: Begins the names of all arrays: `l0_`, `l0_reverse_` and so on follow.
        values: Whether the programs keep all named values.
        joins_input: Whether the steps that the lowest layer reads are joined to the output.
    """
    layers = tuple(
        tuple(
            step_program(
                layer.graph,
                layer.sizes(position),
                layer.store(position, bool(direction)).tensors(),
                f"{prefix}l{position}_{'reverse_' * direction}",
                values=values,
            )
            for direction in range(layer.directions)
        )
        for position in range(layer.num_layers)
    )
    return RecurrentLayers(
        name=f"{prefix}layers",
        input_size=layer.input_size,
        layers=layers,
        joins_input=joins_input,
    )


def network_of_layer(layer: Any, name: str, *, values: bool = False) -> ExportedNetwork:
    """A recurrent layer as it goes out.

    Raises:
        ArgumentError: if the name is none.
    """
    check_name(name)
    graph = layer.graph
    names = printed_names(graph.equations.inputs, name)
    further = [
        Array(printed, number(graph.inputs[own].size, layer.sizes(0)))
        for own, printed in names.items()
    ]
    ways = " read from both ends" if layer.bidirectional else ""
    return ExportedNetwork(
        name=name,
        about=f"{graph.equations.name} with {layer.hidden_size} units{ways}, written by "
        "Gatewright.",
        chains=Chains(((recurrent_stage(layer, values=values),),)),
        further=further,
        records=records_of(layer, names, further),
        notes=tuple(
            f"The input {own} of the cell is called {printed} here."
            for own, printed in names.items()
            if own != printed
        ),
    )


def records_of(layer: Any, names: Mapping[str, str], further: Sequence[Array]) -> list[Recorded]:
    """Run two sequences of random events through a layer.

    Args:
        names: From the layer's name of each further input to that of the program.
    """
    draw = torch.Generator().manual_seed(0)
    half = RECORDED_STEPS // 2
    kind = next((weight.dtype for weight in layer.parameters()), torch.float32)
    events = torch.randn(half, 2, layer.input_size, generator=draw)
    inputs = {
        own: torch.rand(half, 2, array.size, generator=draw)
        for own, array in zip(names, further, strict=True)
    }

    def in_form(rows: torch.Tensor) -> torch.Tensor:
        return (rows.transpose(0, 1) if layer.batch_first else rows).to(kind)

    was_training = layer.training
    layer.eval()
    with torch.no_grad():
        output, _ = layer(in_form(events), **{own: in_form(rows) for own, rows in inputs.items()})
    layer.train(was_training)
    output = output.transpose(0, 1) if layer.batch_first else output
    return [
        Recorded(
            floats(events[:, row]),
            {names[own]: floats(rows[:, row]) for own, rows in inputs.items()},
            floats(output[:, row]),
        )
        for row in range(2)
    ]


def floats(tensor: torch.Tensor) -> Floats:
    """The numbers of a tensor in float32, one after another in memory."""
    return np.ascontiguousarray(tensor.detach().cpu().to(torch.float32).numpy())


def check_name(name: str) -> None:
    """Refuse a name that C, JavaScript or Python would refuse.

    Raises:
        ArgumentError: with a name that fits.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        fitting = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "model"
        raise ArgumentError(
            f"the name {name!r} cannot begin the names of a program; expected small letters, "
            f"digits and _, such as {fitting if fitting[0].isalpha() else 'model'}"
        )


def in_base64(values: NDArray[Any]) -> str:
    """Numbers as base64, for languages that can decode it: int8, or little-endian float32."""
    kind = "i1" if values.dtype == np.int8 else "<f4"
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def value_name(program: StepProgram, name: str) -> str:
    """The name of a layer's value: `l0.forget`."""
    return f"{program.prefix.removesuffix('_')}.{name}"
