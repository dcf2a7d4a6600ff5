"""`pack_call`: the arguments of a call, checked and packed as backends read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.conditions import is_autocast, why_watched
from gatewright.backends.run import Run
from gatewright.backends.step import expectations
from gatewright.backends.step import starts as fresh_states
from gatewright.errors import ArgumentError, SizeError, WrongTensor, WrongType
from gatewright.graph.sizes import number
from gatewright.layers.form import Form
from gatewright.layers.readable import as_weights, check_readable
from gatewright.layers.sequences import BatchLayout
from gatewright.layers.states import PlaceStates, split_states
from gatewright.layers.weights.sharded import check_whole
from gatewright.layers.weights.store import Store
from gatewright.layers.weights.stored_names import Place


@dataclass(frozen=True)
class CallInputs:
    """The arguments of one call, checked and packed.

    Attributes:
        form: The cell and the sizes of the layer.
        layout: The shape of the batch.
        event: The input, `(N, I)`.
        weights: Each of the graph's weights, by layer and direction and then by path.
        like: A tensor of the weights' dtype and device.
        further: The cell's further inputs, `(N, size)`.
        restarts: True where the states are new before a step, forwards and in reverse.
        states: The states before the first step, by layer and direction; None for the start.
        hold: Held values by their name in the trace, `(N, size)`.
    """

    form: Form
    layout: BatchLayout
    event: Tensor
    weights: Mapping[Place, Mapping[str, Tensor]]
    like: Tensor
    further: Mapping[str, Tensor]
    restarts: tuple[Tensor, Tensor] | None
    states: Mapping[Place, PlaceStates | None]
    hold: Mapping[str, Tensor]


def pack_call(
    form: Form,
    weights: Mapping[Place, Mapping[str, Tensor]],
    input: Any,
    hx: Any = None,
    *,
    lengths: Any = None,
    starts: Any = None,
    inputs: Mapping[str, Any] | None = None,
    hold: Mapping[str, Any] | None = None,
) -> CallInputs:
    """Check the arguments of a call, and pack them as backends read them.

    Args:
        weights: From `read_weights`.

    Raises:
        ArgumentError, SizeError: naming the argument, what was given and what was expected.
    """
    layout = BatchLayout.of(input, batch_first=form.batch_first, lengths=lengths)
    event = layout.pack(input)
    check_event(form, event)
    # A cell without weights computes in the dtype of its event.
    like = next(iter(weights[0, False].values()), event)
    event = as_weights(event, like, "input")
    further = pack_further(form, layout, inputs or {}, like)
    restarts = pack_restarts(layout, starts) if starts is not None else None
    states = dict(zip(weights, split_states(form, hx, layout, like), strict=True))
    held = {} if hold is None else pack_held(form, layout, hold, like)
    return CallInputs(form, layout, event, weights, like, further, restarts, states, held)


def pack_restarts(layout: BatchLayout, starts: Any) -> tuple[Tensor, Tensor] | None:
    """The marks of new states, packed, forwards and in reverse; None where there are none to read.

    Most chunks of a long sequence have no start. A run without restarts takes two thirds of the
    time of one whose marks are all false (GRU, 16 units, 200 steps, 32 rows).
    """
    restarts = layout.restarts(starts)
    is_known = not torch.compiler.is_compiling() and why_watched() is None
    # On a GPU to look would mean to wait for everything that it still has to do.
    if is_known and restarts[0].device.type == "cpu" and not bool(restarts[0].any()):
        return None
    return restarts


def read_weights(form: Form, stores: Mapping[Place, Store]) -> dict[Place, Mapping[str, Tensor]]:
    """Each of the graph's weights, by layer and direction and then by path.

    They are read once a call: a parametrization may be slow, or differ from call to call.

    Raises:
        SizeError: naming a weight of another shape than the layer's.
        ArgumentError: if they have several dtypes, without autocast that would convert them.
    """
    for (layer, _), store in stores.items():
        check_weights(store, form.sizes(layer))
    weights: dict[Place, Mapping[str, Tensor]] = {
        place: store.tensors() for place, store in stores.items()
    }
    tensors = [tensor for own in weights.values() for tensor in own.values()]
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) > 1 and not is_autocast(tensors[0].device.type):
        raise WrongTensor(
            f"the weights have several dtypes, {', '.join(sorted(map(str, dtypes)))}; convert the "
            "layer, as in layer.to(torch.float32)"
        )
    return weights


def check_event(form: Form, event: Tensor) -> None:
    """Refuse an input with another number of values a step."""
    if event.shape[-1] != form.input_size:
        raise SizeError(
            f"input has {event.shape[-1]} values a step; expected input_size = {form.input_size}"
        )


def plan_run(
    call: CallInputs, place: Place, event: Tensor, *, training: bool, trace: bool = False
) -> Run:
    """The run of one layer in one direction: its event, and its part of a call's inputs.

    Args:
        event: The layer's input, `(N, size)`: the call's, or the output of the layer below.
        training: Whether the cell's noises are drawn; else they have their expectation.
        trace: Whether the run returns every named value.
    """
    form, graph, (layer, reverse) = call.form, call.form.graph, place
    sizes, weights, states = form.sizes(layer), call.weights[place], call.states[place]
    fresh = {}  # computed only for runs that read them
    if states is None or call.restarts is not None:
        fresh = fresh_states(graph, sizes, weights, call.layout.batch, call.like)
    hold = {}
    if call.hold:
        trace_names = {name: form.trace_name(name, *place) for name in graph.values}
        hold = {name: call.hold[long] for name, long in trace_names.items() if long in call.hold}
    noises = expectations(graph, sizes, sum(call.layout.rows), call.like)
    return Run(
        graph=graph,
        sizes=sizes,
        weights=weights,
        inputs={graph.equations.event: event, **call.further},
        rows=call.layout.rows,
        states=states or fresh,
        fresh=fresh,
        noises=draw_noises(form, call.layout, noises) if training else noises,
        restart=call.restarts[reverse] if call.restarts is not None else None,
        reverse=reverse,
        hold=hold,
        names=list(graph.values) if trace else (),
    )


def check_weights(store: Store, sizes: Mapping[str, int]) -> None:
    """Refuse weights of another shape than the layer's, before autograd has seen them.

    Raises:
        SizeError: naming the weight, its shape and the one expected.
    """
    sources = store.sources()
    for name, shape in store.shapes(sizes).items():
        parameters, leaf = sources[name]
        own = parameters.get(leaf)
        if own is None:
            continue
        check_whole(own, name)
        check_readable(own, f"the weight {name}")
        if tuple(own.shape) != shape:
            raise SizeError(
                f"the weight {name} has shape {tuple(own.shape)}; expected {shape}: give it that "
                "shape, or make a layer of its sizes"
            )


def pack_further(
    form: Form, layout: BatchLayout, inputs: Mapping[str, Any], like: Tensor
) -> dict[str, Tensor]:
    """The cell's further inputs, packed, each of the size that the cell reads.

    Raises:
        ArgumentError, SizeError: naming the input, what was given and what was expected.
    """
    names = form.graph.equations.inputs
    if set(inputs) != set(names):
        raise ArgumentError(
            f"further inputs {sorted(inputs)} were given; {form.graph.equations.name} reads "
            f"{sorted(names)}"
        )
    packed = {}
    for name in names:
        size, role = further_size(form, name), f"further input {name}"
        value = layout.tensor(inputs[name], role)
        if tuple(value.shape) not in (layout.lead, (*layout.lead, 1), (*layout.lead, size)):
            raise SizeError(
                f"{role} has shape {tuple(value.shape)}; "
                f"expected {(*layout.lead, size)}, or {layout.lead} for one value a step"
            )
        flat = layout.pack(value)
        flat = flat.unsqueeze(-1) if flat.dim() == 1 else flat
        flat = flat.to(like.dtype) if flat.dtype == torch.bool else flat
        packed[name] = as_weights(flat, like, role).expand(-1, size)
    return packed


def further_size(form: Form, name: str) -> int:
    """The number of values a step of a further input.

    Raises:
        SizeError: if it is not the same at each layer.
    """
    term = form.graph.inputs[name]
    sizes = {number(term.size, form.sizes(layer)) for layer in range(form.num_layers)}
    if len(sizes) > 1:
        raise SizeError(
            f"further input {name} has the input's size, which differs by layer; "
            "use one layer, or state its size in the cell's `sizes`"
        )
    return sizes.pop()


def pack_held(
    form: Form, layout: BatchLayout, hold: Mapping[str, Any], like: Tensor
) -> dict[str, Tensor]:
    """Held values, packed, by their name in the trace.

    Raises:
        ArgumentError, SizeError: naming the value, what was given and what was expected.
    """
    if not isinstance(hold, Mapping):
        raise WrongType(
            f"hold is a {type(hold).__name__}; give a dictionary from names to values, such as "
            '{"f": 0.0}'
        )
    places = {
        form.trace_name(name, *place): (name, place[0])
        for place in form.places
        for name in form.graph.values
    }
    packed = {}
    for trace_name, value in hold.items():
        if trace_name not in places:
            raise ArgumentError(f"hold names {trace_name!r}; the trace has {list(places)}")
        name, layer = places[trace_name]
        shape = (*layout.lead, number(form.graph.values[name].size, form.sizes(layer)))
        if isinstance(value, PackedSequence):
            value = layout.tensor(value, f"hold[{trace_name!r}]")
        try:
            tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        except (TypeError, ValueError, RuntimeError):
            raise ArgumentError(
                f"hold[{trace_name!r}] is a {type(value).__name__}; give a number or a tensor"
            ) from None
        try:
            packed[trace_name] = layout.pack(tensor.expand(shape))
        except RuntimeError:
            raise SizeError(
                f"hold[{trace_name!r}] has shape {tuple(tensor.shape)}; expected one that "
                f"broadcasts to {shape}"
            ) from None
    return packed


def draw_noises(form: Form, layout: BatchLayout, chances: list[Tensor]) -> list[Tensor]:
    """The cell's noises for a run in training, packed, from their expectations."""
    noises = []
    for term, chance in zip(form.graph.noises, chances, strict=True):
        if term.attributes["per"] == "step":
            noises.append(torch.bernoulli(chance))
        else:
            once = chance.new_full((layout.batch, chance.shape[1]), term.attributes["p"])
            noises.append(layout.repeat(torch.bernoulli(once)))
    return noises
