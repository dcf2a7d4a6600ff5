"""A network as it goes out: the programs of its layers, and what comes before and after them."""

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
from gatewright.exports.program import Array, StepProgram, step_program
from gatewright.graph.sizes import number

Floats = NDArray[np.float32]
#: Steps of the record that an export is checked with, in two streams of half as many.
RECORDED_STEPS = 100
#: The largest differences from the record, as shares of 1 + the value.
TOLERANCE, INT8_TOLERANCE = 1e-4, 1e-2


@dataclass(frozen=True)
class StreamRecord:
    """Random events, and what the layer answered to them here: two streams, one after the other."""

    events: Floats  # (steps, I)
    further: Mapping[str, Floats]  # (steps, size)
    outputs: Floats  # (steps, O)

    @property
    def steps(self) -> int:
        """Steps of both streams."""
        return len(self.events)

    def arrays(self) -> Iterator[tuple[str, Floats]]:
        """The numbers by the names that an exported test gives them."""
        yield "recorded_x", self.events
        for name, values in self.further.items():
            yield f"recorded_{name}", values
        yield "recorded_y", self.outputs


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that reads one event after the other.

    Attributes:
        name: Begins the names in the exported text.
        about: A sentence for the head of the file.
        layers: The program of each layer.
        further: The inputs of each step in addition to the event; every layer reads them.
        constants: "mean" and "scale" of the event, or the "embedding" of its symbol; "readout" and
            "readout_bias"; each where it has them.
        is_probability: Whether the output is a softmax of the read-out.
        record: What the exported text is checked with.
        labels: The names of the outputs, where they have some; of a text, its symbols.
    """

    name: str
    about: str
    input_size: int
    output_size: int
    layers: Sequence[StepProgram]
    further: Sequence[Array]
    constants: Mapping[str, Floats]
    is_probability: bool
    record: StreamRecord
    labels: tuple[str, ...] = ()

    @property
    def reads_symbols(self) -> bool:
        """True if an event is the number of a symbol rather than a vector of values."""
        return "embedding" in self.constants

    @property
    def has_readout(self) -> bool:
        """True if a linear read-out follows the layers."""
        return "readout" in self.constants

    @property
    def state_size(self) -> int:
        """Numbers of a stream's state."""
        return sum(state.size for layer in self.layers for state in layer.states.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants."""
        around = sum(values.nbytes for values in self.constants.values())
        return around + sum(layer.nbytes for layer in self.layers)

    def named_constants(self) -> Iterator[tuple[str, Floats]]:
        """The constants in float32 by name: of the layers, then of what is around them."""
        for layer in self.layers:
            yield from {**layer.matrices, **layer.vectors}.items()
        yield from self.constants.items()

    def int8_matrices(self) -> Iterator[tuple[str, Int8Matrix]]:
        """The matrices in int8 by name, of the layers in turn."""
        for layer in self.layers:
            yield from layer.int8_matrices.items()

    @property
    def is_int8(self) -> bool:
        """True if the products of the layers are in int8."""
        return any(layer.int8_matrices for layer in self.layers)

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
        return replace(self, about=about, layers=[layer.in_int8() for layer in self.layers])

    @property
    def multiply_adds(self) -> int:
        """Multiplications of the products of one step."""
        readout = self.constants["readout"].size if self.has_readout else 0
        return sum(layer.multiply_adds for layer in self.layers) + readout


def network_of_layer(layer: Any, name: str, *, values: bool = False) -> ExportedNetwork:
    """A recurrent layer as it goes out.

    Raises:
        ArgumentError: if it reads sequences from their end, or the name is none.
    """
    check_name(name)
    if layer.bidirectional:
        raise ArgumentError(
            "the layer is bidirectional: it reads a sequence from its end too, so there is no "
            "step that a stream could take. Export a layer with bidirectional=False, or keep it "
            "in Python"
        )
    graph = layer.graph
    programs = [
        step_program(
            graph,
            layer.sizes(position),
            layer.store(position, False).tensors(),
            f"l{position}_",
            values=values,
        )
        for position in range(layer.num_layers)
    ]
    further = [
        Array(further_name, number(graph.inputs[further_name].size, layer.sizes(0)))
        for further_name in graph.equations.inputs
    ]
    return ExportedNetwork(
        name=name,
        about=f"{graph.equations.name} with {layer.hidden_size} units, written by Gatewright.",
        input_size=layer.input_size,
        output_size=layer.output_size,
        layers=programs,
        further=further,
        constants={},
        is_probability=False,
        record=record_of(layer, further),
    )


def record_of(layer: Any, further: Sequence[Array]) -> StreamRecord:
    """Run two streams of random events through a layer."""
    draw = torch.Generator().manual_seed(0)
    half = RECORDED_STEPS // 2
    kind = next((weight.dtype for weight in layer.parameters()), torch.float32)
    events = torch.randn(half, 2, layer.input_size, generator=draw)
    inputs = {a.name: torch.rand(half, 2, a.size, generator=draw) for a in further}

    def in_form(rows: torch.Tensor) -> torch.Tensor:
        return (rows.transpose(0, 1) if layer.batch_first else rows).to(kind)

    was_training = layer.training
    layer.eval()
    with torch.no_grad():
        output, _ = layer(in_form(events), **{name: in_form(rows) for name, rows in inputs.items()})
    layer.train(was_training)
    output = output.transpose(0, 1) if layer.batch_first else output

    def in_turn(rows: torch.Tensor) -> Floats:
        return np.ascontiguousarray(
            rows.transpose(0, 1).reshape(RECORDED_STEPS, -1).float().numpy()
        )

    return StreamRecord(
        in_turn(events), {name: in_turn(rows) for name, rows in inputs.items()}, in_turn(output)
    )


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
