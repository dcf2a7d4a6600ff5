"""Repeated calls: with shapes that were seen before, they skip the Python set-up.

A `CallKey` is all that the answer of a call depends on, except the numbers in its tensors.
`prepare` reads nothing that the key does not contain, so two calls with one key cannot differ.
The first call with a key takes the same way through autograd as all later ones, and saves the
same tensors. Calls that cannot be prepared (lengths, noise, dropout, parametrized weights,
transforms of torch.func) are packed each time: `Recurrent.forward`. Where torch's own functions
run a drop-in, its call of them is prepared instead (`prepared_torch.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewright.backends.choose import pick, prepare_call
from gatewright.backends.conditions import is_autocast, why_watched
from gatewright.backends.run import PreparedRun
from gatewright.backends.storage import all_in_storage, extent
from gatewright.layers.call_inputs import pack_call, plan_run, read_weights
from gatewright.layers.cell_module import FAST_PATH
from gatewright.layers.cell_stack import CellStack
from gatewright.layers.form import Form
from gatewright.layers.prepared_torch import PreparedTorchCall, prepare_torch
from gatewright.layers.sequences import BatchLayout
from gatewright.layers.weights.store import Store
from gatewright.layers.weights.stored_names import Place

#: Keys that are kept of one layer, of some 10 kB each.
MAX_KEYS = 512
#: Types of tensors whose numbers are in memory of their own, if they are anywhere.
PLAIN_TYPES = (Tensor, nn.Parameter)


class CallKey(NamedTuple):
    """All that the answer of a call depends on, except the numbers in its tensors.

    Attributes:
        process: A forked process has none of its parent's threads.
        threads: The number of threads that torch may use.
        grad, inference, autocast: Modes of torch.
        form: The fields of the layer's `Form`.
        buffers: Names of the layer's buffers: gates of a drop-in are frozen there.
        states: The form in which states were passed: a type, such as a tuple's.
        tensors: Of the input, the states and the weights: shape, strides, dtype, device,
            whether it requires gradients, whether its numbers are the negatives of those in
            memory.
    """

    process: int
    threads: int
    grad: bool
    inference: bool
    autocast: torch.dtype | None
    form: tuple[Any, ...]
    backend: str
    training: bool
    dropout: float
    buffers: tuple[str, ...]
    states: type
    tensors: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class PreparedCall:
    """The kernels of one key, ready to run on new tensors.

    Attributes:
        layout: Shape and order of the sequences.
        direct: Whether kernels read the input as it lies in memory.
        directions: Runs of each layer.
        runs: A run for each layer and direction.
        extents: Bytes from the first number of each tensor to the end of its last.
        itemsize: Bytes of each number.
    """

    layout: BatchLayout
    direct: bool
    directions: int
    runs: Sequence[PreparedRun]
    extents: Sequence[int]
    itemsize: int

    def call(
        self, input: Tensor, states: Sequence[Tensor], weights: Sequence[Sequence[Tensor]]
    ) -> tuple[Any, Any]:
        """Return the output and the last states, in the user's form."""
        event = input if self.direct else self.layout.pack(input).contiguous()
        if len(self.runs) == 1:
            run = self.runs[0]
            output, *after = run([event, *(states or run.starts), *weights[0]])
        else:
            # Each state is (L * D, B, size): the states of each place, and later back again.
            by_place = list(zip(*[state.unbind(0) for state in states], strict=True))
            outputs, last = [], []
            for place, (run, own) in enumerate(zip(self.runs, weights, strict=True)):
                before = by_place[place] if by_place else run.starts
                output, *ends = run([event, *before, *own])
                outputs.append(output)
                last.append(ends)
                if len(outputs) == self.directions:
                    event = torch.cat(outputs, -1) if len(outputs) > 1 else output
                    outputs = []
            output = event
            after = [torch.stack(state) for state in zip(*last, strict=True)]
        if self.layout.batch_first and not self.layout.unbatched:
            output = output.transpose_(0, 1)  # in place: the result is no view, as in torch
        return output, after[0] if len(after) == 1 else tuple(after)


class FastPath:
    """The prepared calls of one layer."""

    def __init__(self, layer: CellStack) -> None:
        self.sources = [store.sources() for store in layer.stores().values()]
        self.parameters = layer._parameters
        #: The children of each module that has any: a replaced child has other weights.
        self.children = [module._modules for module in layer.modules() if module._modules]
        self.modules = [list(children.values()) for children in self.children]
        #: None for keys of calls that cannot be prepared.
        self.prepared: dict[tuple[Any, ...], PreparedCall | PreparedTorchCall | None] = {}

    def call(self, layer: CellStack, input: Any, hx: Any) -> tuple[Any, Any] | None:
        """The output and the last states, or None where the call cannot be prepared.

        Raises:
            ArgumentError, SizeError: where the arguments do not fit the layer.
        """
        states = () if hx is None else hx if isinstance(hx, tuple | list) else (hx,)
        # From the modules' dictionaries: a lookup as an attribute of a module costs more.
        weights: list[list[Any]] = [
            [parameters.get(leaf) for parameters, leaf in place.values()] for place in self.sources
        ]
        tensors = [input, *states]
        for own in weights:
            tensors += own
        key = self.key(layer, tensors, type(hx))
        if key is None:
            return None
        try:
            prepared = self.prepared[key]
        except KeyError:
            prepared = prepare(CallKey(*key), layer.stores(), input, hx, states)
            if len(self.prepared) >= MAX_KEYS:
                # With a default: another thread may have removed it already.
                self.prepared.pop(next(iter(self.prepared)), None)
            self.prepared[key] = prepared
        if prepared is None:
            return None
        if not all_in_storage(tensors, prepared.extents, prepared.itemsize):
            return None  # `pack_call` names the tensor
        return prepared.call(input, states, weights)

    def __reduce__(self) -> tuple[Any, ...]:
        """None takes the place of a copy, since a copy of the layer makes its own."""
        return type(None), ()

    def is_current(self, layer: CellStack) -> bool:
        """Tell if the layer still has the modules that were there when this was made."""
        if self.parameters is not layer._parameters:
            return False
        return not self.children or self.modules == [[*c.values()] for c in self.children]

    def key(self, layer: CellStack, tensors: Sequence[Any], states: type) -> tuple[Any, ...] | None:
        """The fields of a call's `CallKey`, or None if kernels cannot run now, or on its tensors.

        A plain tuple, which is made four times faster than a named one.
        """
        if why_watched() is not None:
            return None
        strided = torch.strided
        if not all(
            [type(t) in PLAIN_TYPES and t.layout is strided and not t.is_nested for t in tensors]
        ):
            return None
        autocast = None
        if torch.is_autocast_enabled("cpu"):
            autocast = torch.get_autocast_dtype("cpu")
            if len({t.dtype for t in tensors}) > 1:
                return None  # `pack_call` converts them
        kind = tensors[0].device.type
        if kind != "cpu" and is_autocast(kind):
            return None
        descriptions = [
            (t.shape, t.stride(), t.dtype, t.device, t.requires_grad, t.is_neg()) for t in tensors
        ]
        return (
            os.getpid(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            autocast,
            (  # the fields of `Form`; `layer.form` would make the object in each call
                layer.graph,
                layer.input_size,
                layer.hidden_size,
                layer.num_layers,
                layer.directions,
                layer.batch_first,
            ),
            layer.backend,
            layer.training,
            layer.dropout,
            tuple(layer._buffers),
            states,
            tuple(descriptions),
        )


def prepare(
    key: CallKey, stores: Mapping[Place, Store], input: Tensor, hx: Any, states: Sequence[Tensor]
) -> PreparedCall | PreparedTorchCall | None:
    """The kernels of a call, or None where later calls may differ in more than numbers.

    Of the tensors only their descriptions in the key are read, never the numbers.

    Raises:
        ArgumentError, SizeError: where the arguments do not fit the layer.
    """
    form = Form(*key.form)
    if any(negative for *_, negative in key.tensors) or form.graph.noises:
        return None
    if not states and not all(isinstance(s, int | float) for s in form.graph.initial.values()):
        return None  # the starts are learned
    if any(form.differs_by_layer(name) for name in form.graph.states):
        return None  # a state is a list of tensors
    if not all(state.is_contiguous() for state in states):
        return None
    call = pack_call(form, read_weights(form, stores), input, hx)
    layout, event = call.layout, call.event
    extents = [extent(shape, strides) * dtype.itemsize for shape, strides, dtype, *_ in key.tensors]
    itemsize = call.like.element_size()
    dropout = key.dropout if key.training and form.num_layers > 1 else 0.0
    first = plan_run(call, (0, False), event, training=key.training)
    if pick(key.backend, first, several=len(stores) > 1) == "torch":
        if layout.unbatched or key.autocast is not None:
            return None
        return prepare_torch(form, stores, call, dropout, extents, itemsize)
    if dropout:
        return None
    rows = () if layout.unbatched else (layout.batch,)
    shapes = (layout.steps, *rows), rows if len(stores) > 1 else (1, *rows)
    runs = []
    flows = input.requires_grad  # whether gradients reach the event of a layer
    below: list[Tensor] = []  # the weights of the layer below
    for place, store in stores.items():
        layer, reverse = place
        shares = store.shares()
        if layer and not reverse:
            # Any tensor will do for the output of the layer below: only its form is read.
            flows = flows or any(tensor.requires_grad for tensor in (*states, *below))
            size = form.sizes(layer)["input"]
            event = call.like.new_empty(sum(layout.rows), size).detach()
            event.requires_grad_(flows and key.grad)
            below = []
        planned = plan_run(call, place, event, training=key.training)
        if shares is None or pick(key.backend, planned) != "llvm":
            return None
        weights = {name: own[leaf] for name, (own, leaf) in store.sources().items()}
        below += weights.values()
        run = prepare_call(planned, shares, weights, shapes)
        if run is None:
            return None
        runs.append(run)
    direct = input.is_contiguous() and (layout.unbatched or not layout.batch_first)
    return PreparedCall(layout, direct, form.directions, runs, extents, itemsize)


def fast_path(layer: CellStack) -> FastPath:
    """The prepared calls of a layer; a copy of the layer has its own."""
    path: FastPath | None = layer.__dict__.get(FAST_PATH)
    if path is None or not path.is_current(layer):
        path = layer.__dict__[FAST_PATH] = FastPath(layer)
    return path
