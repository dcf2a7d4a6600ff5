"""Repeated calls: what follows from the form of a call is made once, and kept by that form.

A `Form` is all that a call's answer depends on besides the numbers in its tensors. `prepare`
sees nothing that the form does not hold, so two calls of one form cannot differ. The first call
of a form goes the same way through autograd as all later ones, and saves the same tensors.
Calls that cannot be prepared (lengths, noise, dropout, parametrized weights, transforms of
torch.func) go the whole way each time: `Recurrent._run`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewright.backends.choose import pick, prepare_call
from gatewright.backends.conditions import extent, why_not_now
from gatewright.backends.run import PreparedRun
from gatewright.graph import Graph
from gatewright.layers.cell_module import PATH
from gatewright.layers.sequences import Layout
from gatewright.layers.states import state_sizes

if TYPE_CHECKING:
    from gatewright.layers.recurrent import Recurrent

#: Forms that are kept of one layer, of some 10 kB each.
MAX_FORMS = 512
#: Types of tensors whose numbers are in memory of their own, if they are anywhere.
PLAIN = (Tensor, nn.Parameter)


class Form(NamedTuple):
    """All that the answer of a call depends on, besides the numbers in its tensors.

    Attributes:
        process: A forked process has none of its parent's threads.
        threads: As many as torch may use.
        grad, inference: Modes of torch.
        graph: The cell's; what it returns follows from it.
        buffers: Names of the layer's buffers: gates of a drop-in are frozen there.
        states: How states were passed: a type, such as a tuple's.
        tensors: Of the input, the states and the weights: shape, strides, dtype, device,
            whether it asks for gradients, whether its numbers are the negative ones of those
            in memory.
    """

    process: int
    threads: int
    grad: bool
    inference: bool
    graph: Graph
    backend: str
    training: bool
    batch_first: bool
    dropout: float
    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    places: tuple[tuple[int, bool], ...]
    buffers: tuple[str, ...]
    states: type
    tensors: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class PreparedCall:
    """A form that is ready to run.

    Attributes:
        layout: Shape and order of the sequences.
        direct: Whether the input is the first event as it is.
        directions: Runs of each layer.
        runs: A run for each layer and direction.
        ends: Bytes from the first number of each tensor to its end.
    """

    layout: Layout
    direct: bool
    directions: int
    runs: Sequence[PreparedRun]
    ends: Sequence[int]

    def in_memory(self, tensors: Sequence[Tensor]) -> bool:
        """Check that all numbers of the tensors lie in their storage, which a user may resize."""
        size = self.runs[0].dtype.itemsize
        return all(
            [
                tensor.untyped_storage().nbytes() >= tensor.storage_offset() * size + end
                and tensor.data_ptr()  # there is none behind torch's tensors of lazy zeros
                for tensor, end in zip(tensors, self.ends, strict=True)
            ]
        )

    def call(
        self, input: Tensor, states: Sequence[Tensor], weights: Sequence[Sequence[Tensor]]
    ) -> tuple[Any, Any]:
        """Run: the output and the last states, in the user's form."""
        event = input if self.direct else self.layout.pack(input).contiguous()
        if len(self.runs) == 1:
            run = self.runs[0]
            output, *after = run([event, *(states or run.starts), *weights[0]])
        else:
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
            output = output.transpose_(0, 1)  # in place, so that it is no view, as torch's
        return output, after[0] if len(after) == 1 else tuple(after)


class FastPath:
    """The forms of one layer's calls so far."""

    def __init__(self, layer: Recurrent) -> None:
        self.sources = [layer.store(*place).sources() for place in layer.places]
        self.parameters = layer._parameters
        #: The children of each module that has any: one that is replaced holds other weights.
        self.children = [module._modules for module in layer.modules() if module._modules]
        self.modules = [list(children.values()) for children in self.children]
        #: None where calls of a form go the whole way.
        self.prepared: dict[tuple[Any, ...], PreparedCall | None] = {}

    def call(self, layer: Recurrent, input: Any, hx: Any) -> tuple[Any, Any] | None:
        """The output and the last states, or None where the call has to go the whole way.

        Raises:
            ArgumentError, SizeError: where the arguments do not fit the layer.
        """
        states = () if hx is None else hx if isinstance(hx, tuple | list) else (hx,)
        weights: list[list[Any]] = [
            [parameters.get(leaf) for parameters, leaf in place.values()] for place in self.sources
        ]
        tensors = [input, *states]
        for own in weights:
            tensors += own
        form = self.form(layer, tensors, type(hx))
        if form is None:
            return None
        try:
            prepared = self.prepared[form]
        except KeyError:
            prepared = prepare(layer, input, hx, states, Form(*form))
            if len(self.prepared) >= MAX_FORMS:
                # Another thread may have been faster.
                self.prepared.pop(next(iter(self.prepared)), None)
            self.prepared[form] = prepared
        if prepared is None or not prepared.in_memory(tensors):
            return None
        return prepared.call(input, states, weights)

    def __reduce__(self) -> tuple[Any, ...]:
        """Nothing, since a copy of the layer has its own."""
        return type(None), ()

    def knows(self, layer: Recurrent) -> bool:
        """Tell if the layer still has the modules that were there when this was made."""
        if self.parameters is not layer._parameters:
            return False
        return not self.children or self.modules == [[*c.values()] for c in self.children]

    def form(
        self, layer: Recurrent, tensors: Sequence[Any], states: type
    ) -> tuple[Any, ...] | None:
        """The fields of a call's form, or None if kernels could not even look at its tensors."""
        if why_not_now() is not None:
            return None
        strided = torch.strided
        if not all([type(t) in PLAIN and t.layout is strided and not t.is_nested for t in tensors]):
            return None
        lies = [
            (t.shape, t.stride(), t.dtype, t.device, t.requires_grad, t.is_neg()) for t in tensors
        ]
        # A plain tuple, which is made four times faster than a named one.
        return (
            os.getpid(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            layer.graph,
            layer.backend,
            layer.training,
            layer.batch_first,
            layer.dropout,
            layer.input_size,
            layer.hidden_size,
            layer.num_layers,
            layer.directions,
            tuple(layer.places),
            tuple(layer._buffers),
            states,
            tuple(lies),
        )


def prepare(
    layer: Recurrent, input: Tensor, hx: Any, states: Sequence[Tensor], form: Form
) -> PreparedCall | None:
    """A form made ready to run, or None where more than the numbers of its tensors may be new.

    Of the tensors nothing is read but what the form holds.

    Raises:
        ArgumentError, SizeError: where the arguments do not fit the layer.
    """
    if any(negative for *_, negative in form.tensors) or form.graph.noises:
        return None
    if form.training and form.dropout and form.num_layers > 1:
        return None
    if not states and not all(isinstance(s, int | float) for s in form.graph.initial.values()):
        return None  # the starts are learned
    if any(len(set(state_sizes(layer, name))) > 1 for name in form.graph.states):
        return None  # a state is not one tensor
    if not all(state.is_contiguous() for state in states):
        return None
    arguments = layer.pack_arguments(input, hx)
    layout, event = arguments.layout, arguments.event
    rows = () if layout.unbatched else (layout.batch,)
    shapes = (layout.steps, *rows), rows if len(layer.places) > 1 else (1, *rows)
    runs = []
    flows = input.requires_grad  # whether gradients reach the event of a layer
    below: list[Tensor] = []  # the weights of the layer below
    for place in layer.places:
        store, sizes = layer.store(*place), layer.sizes(place[0])
        shares = store.shares()
        if place[0] and not place[1]:
            flows = flows or any(tensor.requires_grad for tensor in (*states, *below))
            event = arguments.like.new_empty(sum(layout.rows), sizes["input"]).detach()
            event.requires_grad_(flows and form.grad)
            below = []
        task = layer.task(arguments, place, event)
        if shares is None or pick(form.backend, task) != "llvm":
            return None
        weights = {name: own[leaf] for name, (own, leaf) in store.sources().items()}
        below += weights.values()
        run = prepare_call(task, shares, weights, shapes)
        if run is None:
            return None
        runs.append(run)
    direct = input.is_contiguous() and (layout.unbatched or not layout.batch_first)
    ends = [extent(shape, strides) * dtype.itemsize for shape, strides, dtype, *_ in form.tensors]
    return PreparedCall(layout, direct, form.directions, runs, ends)


def fast_path(layer: Recurrent) -> FastPath:
    """The forms of a layer's calls so far; a copy of the layer has its own."""
    path: FastPath | None = layer.__dict__.get(PATH)
    if path is None or not path.knows(layer):
        path = layer.__dict__[PATH] = FastPath(layer)
    return path
