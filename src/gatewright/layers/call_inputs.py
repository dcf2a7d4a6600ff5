"""What a run is given besides its states: checked, and packed as backends take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.step import expectations
from gatewright.errors import ArgumentError, SizeError
from gatewright.graph.sizes import number
from gatewright.layers.readable import check_readable
from gatewright.layers.sequences import Layout

if TYPE_CHECKING:
    from gatewright.layers.recurrent import Recurrent


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call, checked and packed.

    Attributes:
        event: The input, `(N, I)`.
        weights: Each of the graph's weights, by layer and direction and then by path.
        like: A tensor of the weights' dtype and device.
        further: The cell's further inputs, `(N, size)`.
        marks: True where the states are new before a step, forwards and in reverse.
        states: The states before the first step, by layer and direction; None for the start.
        held: Held values by their name in the trace, `(N, size)`.
    """

    layout: Layout
    event: Tensor
    weights: Mapping[tuple[int, bool], Mapping[str, Tensor]]
    like: Tensor
    further: Mapping[str, Tensor]
    marks: tuple[Tensor, Tensor] | None
    states: Mapping[tuple[int, bool], Mapping[str, Tensor] | None]
    held: Mapping[str, Tensor]


def as_weights(given: Any, like: Tensor, role: str) -> Tensor:
    """A tensor as it was given, which must be of the weights' dtype and on their device.

    Under autocast whatever arrives is converted.

    Raises:
        ArgumentError: naming both.
    """
    check_readable(given, role)
    tensor: Tensor = given
    if given.device != like.device:
        raise ArgumentError(
            f"{role} is on {given.device} and the weights are on {like.device}; move one"
        )
    if given.dtype == like.dtype:
        return tensor
    if torch.is_autocast_enabled(given.device.type) and given.is_floating_point():
        return tensor.to(like.dtype)
    other = f" or layer.to({given.dtype})" if given.is_floating_point() else ""
    raise ArgumentError(
        f"{role} is {given.dtype} and the weights are {like.dtype}; "
        f"convert one, as in x.to({like.dtype}){other}"
    )


def pack_event(layer: Recurrent, layout: Layout, given: Tensor | PackedSequence) -> Tensor:
    """The input, packed.

    Raises:
        SizeError: if it has not as many values a step as the layer reads.
    """
    event = layout.pack(given)
    if event.shape[-1] != layer.input_size:
        raise SizeError(
            f"input has {event.shape[-1]} values a step; expected input_size = {layer.input_size}"
        )
    return event


def pack_further(
    layer: Recurrent, layout: Layout, inputs: Mapping[str, Any], like: Tensor
) -> dict[str, Tensor]:
    """The cell's further inputs, packed, each of the size that the cell reads.

    Raises:
        ArgumentError, SizeError: naming the input, what was given and what was expected.
    """
    graph = layer.graph
    wanted = graph.equations.inputs
    if set(inputs) != set(wanted):
        raise ArgumentError(
            f"further inputs {sorted(inputs)} were given; {graph.equations.name} reads "
            f"{sorted(wanted)}"
        )
    found = {}
    for name in wanted:
        size = further_size(layer, name)
        data = layout.data(inputs[name], f"further input {name}")
        if tuple(data.shape) not in (layout.lead, (*layout.lead, 1), (*layout.lead, size)):
            raise SizeError(
                f"further input {name} has shape {tuple(data.shape)}; "
                f"expected {(*layout.lead, size)}, or {layout.lead} for one value a step"
            )
        packed = layout.pack(data)
        packed = packed.unsqueeze(-1) if packed.dim() == 1 else packed
        packed = packed.to(like.dtype) if packed.dtype == torch.bool else packed
        found[name] = as_weights(packed, like, f"further input {name}").expand(-1, size)
    return found


def further_size(layer: Recurrent, name: str) -> int:
    """How many values a step a further input has.

    Raises:
        SizeError: if it is not the same at each layer.
    """
    term = layer.graph.inputs[name]
    sizes = {number(term.size, layer.sizes(k)) for k in range(layer.num_layers)}
    if len(sizes) > 1:
        raise SizeError(
            f"further input {name} has the input's size, which differs by layer; "
            "use one layer, or state its size in the cell's `sizes`"
        )
    return sizes.pop()


def pack_held(
    layer: Recurrent, layout: Layout, hold: Mapping[str, Any], like: Tensor
) -> dict[str, Tensor]:
    """Held values, packed, by their name in the trace.

    Raises:
        ArgumentError, SizeError: naming the value, what was given and what was expected.
    """
    places = {
        layer.trace_name(name, *place): (name, place[0])
        for place in layer.places
        for name in layer.graph.values
    }
    found = {}
    for long, given in hold.items():
        if long not in places:
            raise ArgumentError(f"hold names {long!r}; the trace has {list(places)}")
        name, index = places[long]
        shape = (*layout.lead, number(layer.graph.values[name].size, layer.sizes(index)))
        if isinstance(given, PackedSequence):
            given = layout.data(given, f"hold[{long!r}]")
        try:
            value = torch.as_tensor(given, dtype=like.dtype, device=like.device)
        except (TypeError, ValueError, RuntimeError):
            raise ArgumentError(
                f"hold[{long!r}] is a {type(given).__name__}; give a number or a tensor"
            ) from None
        try:
            found[long] = layout.pack(value.expand(shape))
        except RuntimeError:
            raise SizeError(
                f"hold[{long!r}] has shape {tuple(value.shape)}; expected one that "
                f"broadcasts to {shape}"
            ) from None
    return found


def draw_noises(
    layer: Recurrent, layout: Layout, sizes: Mapping[str, int], like: Tensor
) -> list[Tensor]:
    """The cell's noises for a run, packed: drawn in training, else their expectation."""
    expected = expectations(layer.graph, sizes, sum(layout.rows), like)
    if not layer.training:
        return expected
    drawn = []
    for term, chance in zip(layer.graph.noises, expected, strict=True):
        if term.attributes["per"] == "step":
            drawn.append(torch.bernoulli(chance))
        else:
            once = chance.new_full((layout.batch, chance.shape[1]), term.attributes["p"])
            drawn.append(layout.repeat(torch.bernoulli(once)))
    return drawn
