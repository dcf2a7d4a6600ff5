"""A layer as one operator of `torch.library`, which torch's exporters keep whole.

torch's exporters follow a call step by step: what they write has a copy of the cell for each step
of the example (522 nodes for 12 steps of an LSTM), and fails at any other length. As the operator
`gatewright::recurrent` a layer stays a single node for any batch and number of steps. A program
with it runs wherever this module is imported; `deploy/onnx_table.py` translates it to ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.conditions import is_exporting
from gatewright.errors import ArgumentError, BackendError, SizeError
from gatewright.graph.lowering import of_text
from gatewright.layers.call_inputs import check_event, pack_call
from gatewright.layers.call_results import unpack_results, without_views
from gatewright.layers.form import Form
from gatewright.layers.readable import as_weights, check_readable
from gatewright.layers.run_layers import run_layers
from gatewright.layers.sequences import check_axes
from gatewright.layers.weights.stored_names import Place


@dataclass
class OnnxExport:
    """The state of this process's exports to ONNX.

    Attributes:
        has_translation: Whether `gatewright.onnx_translations` was called. Without it torch's
            exporter stops at the operator, with a message that names no remedy.
    """

    has_translation: bool = False


ONNX_EXPORT = OnnxExport()


def is_recorded(compiling: bool) -> bool:
    """Tell if torch.export or torch.jit.trace records a call, to run it at other sizes."""
    return is_exporting() if compiling else torch._C._get_tracing_state() is not None


def is_recorded_whole(form: Form, input: Any, *, is_random: bool) -> bool:
    """Tell if a recorded call is to be the operator, rather than one operation after the other.

    Args:
        is_random: Whether the layer draws random numbers: dropout or noise in training.

    Raises:
        BackendError: if it can be neither without holding at the example's sizes only.
    """
    is_packed = isinstance(input, PackedSequence)
    if torch.onnx.is_in_onnx_export():
        if not is_packed and _is_single_step(form, input):
            return False  # a model for streaming; operations are what all exporters know
        if torch._C._get_tracing_state() is not None:
            # torch's old exporter knows no operators but its own.
            raise BackendError(
                "torch.onnx.export with dynamo=False would write a copy of the cell for each step, "
                "for sequences as long as the example only; use gatewright.export(module, path, "
                "example=...), or pass dynamo=True and "
                "custom_translation_table=gatewright.onnx_translations()"
            )
    if is_packed:
        raise BackendError(
            "torch would fix the lengths of a PackedSequence in what it records; pass the padded "
            "sequences, and lengths= as a tensor"
        )
    if is_random:
        raise BackendError(
            "the layer is in training mode and draws random numbers (dropout or noise), which "
            "torch would record for the example's number of steps; call .eval() first"
        )
    return True


def _is_single_step(form: Form, input: Tensor) -> bool:
    """Tell if an input has one step, which is fixed: a step of an open number is a symbol."""
    steps = input.shape[1 if form.batch_first and input.dim() == 3 else 0]
    return not isinstance(steps, torch.SymInt) and int(steps) == 1


def call_operator(
    form: Form,
    weights: Mapping[Place, Mapping[str, Tensor]],
    backend: str,
    input: Any,
    hx: Any,
    *,
    lengths: Any,
    starts: Tensor | None,
    inputs: Mapping[str, Tensor],
) -> tuple[Tensor, Any]:
    """Run a layer as the operator: the output and the states, in the user's form.

    The arguments are those of a layer's call.
    """
    check_axes(input, batch_first=form.batch_first)
    check_event(form, input)
    names = form.graph.equations.inputs
    if set(inputs) != set(names):
        raise ArgumentError(f"further inputs {sorted(inputs)} were given; expected {sorted(names)}")
    every = [own[path] for own in weights.values() for path in form.graph.weights]
    as_weights(input, every[0] if every else input, "input")
    output, *after = recurrent(
        input,
        every,
        flat_states(form, hx),
        [inputs[name] for name in names],
        None if lengths is None else torch.as_tensor(lengths),
        starts,
        form_text(form),
        backend,
    )
    return output, nested_states(form, after)


def flat_states(form: Form, hx: Any) -> list[Tensor]:
    """The user's states as a list: one tensor each, or one a layer; empty for the starts."""
    if hx is None:
        return []
    names = list(form.graph.states)
    states = (hx,) if len(names) == 1 else hx
    if not isinstance(states, tuple | list) or len(states) != len(names):
        raise ArgumentError(f"expected the states {', '.join(names)}; got a {type(hx).__name__}")
    flat: list[Tensor] = []
    for name, state in zip(names, states, strict=True):
        own = state if form.differs_by_layer(name) else [state]
        if not all(isinstance(tensor, Tensor) for tensor in own):
            raise ArgumentError(f"state {name} is no tensor; give all states or none")
        flat += own
    return flat


def nested_states(form: Form, flat: Sequence[Tensor]) -> Any:
    """A list of `flat_states` in the user's form."""
    rest = iter(flat)
    states = [
        [next(rest) for _ in range(form.num_layers)] if form.differs_by_layer(name) else next(rest)
        for name in form.graph.states
    ]
    return states[0] if len(states) == 1 else tuple(states)


def form_text(form: Form) -> str:
    """A form as text, for `form_of`: numbers, and the cell as it is stored."""
    return (
        f"{form.input_size} {form.hidden_size} {form.num_layers} {form.directions} "
        f"{int(form.batch_first)} {form.graph.text}"
    )


@lru_cache(maxsize=64)
def form_of(text: str) -> Form:
    """The form that `form_text` wrote."""
    *sizes, cell = text.split(" ", 5)
    input_size, hidden_size, num_layers, directions, batch_first = map(int, sizes)
    graph = of_text(cell)
    return Form(graph, input_size, hidden_size, num_layers, directions, bool(batch_first))


def weights_by_place(form: Form, flat: Sequence[Any]) -> dict[Place, dict[str, Any]]:
    """The operator's weights by layer and direction and then by path."""
    rest = iter(flat)
    return {place: {path: next(rest) for path in form.graph.weights} for place in form.places}


#: Written out, since torch 2.6 derives none from `list[Tensor]`.
SCHEMA = (
    "(Tensor input, Tensor[] weights, Tensor[] states, Tensor[] further, Tensor? lengths, "
    "Tensor? starts, str form, str backend) -> Tensor[]"
)


@torch.library.custom_op("gatewright::recurrent", mutates_args=(), schema=SCHEMA)
def recurrent(
    input: Tensor,
    weights: Sequence[Tensor],
    states: Sequence[Tensor],
    further: Sequence[Tensor],
    lengths: Tensor | None,
    starts: Tensor | None,
    form: str,
    backend: str,
) -> list[Tensor]:
    """Run a layer without random numbers: the output, then the states after the last step."""
    return _run(input, weights, states, further, lengths, starts, form, backend)


def _run(
    input: Tensor,
    weights: Sequence[Tensor],
    states: Sequence[Tensor],
    further: Sequence[Tensor],
    lengths: Tensor | None,
    starts: Tensor | None,
    text: str,
    backend: str,
) -> list[Tensor]:
    form = form_of(text)
    call = pack_call(
        form,
        _checked_weights(form, weights),
        input,
        nested_states(form, states) if states else None,
        lengths=lengths,
        starts=starts,
        inputs=dict(zip(form.graph.equations.inputs, further, strict=True)),
    )
    output, after = unpack_results(call, run_layers(call, backend))
    # An operator returns memory of its own, in the order that its fake has.
    output = without_views(output.contiguous(), [input, *weights, *states, *further])
    return [output, *(state.clone().contiguous() for state in flat_states(form, after))]


def _checked_weights(form: Form, flat: Sequence[Tensor]) -> dict[Place, dict[str, Any]]:
    """The operator's weights by layer and direction, after all of them could be read.

    Raises:
        ArgumentError, SizeError: if their number, a shape or a weight is wrong: whoever calls the
            operator itself passes what no layer has checked.
    """
    expected = len(form.places) * len(form.graph.weights)
    if len(flat) != expected:
        raise ArgumentError(f"the operator got {len(flat)} weights; its form has {expected}")
    weights = weights_by_place(form, flat)
    for place, own in weights.items():
        sizes = form.sizes(place[0])
        for path, tensor in own.items():
            check_readable(tensor, f"the weight {path}")
            shape = form.graph.weights[path].numbers(sizes)
            if tuple(tensor.shape) != tuple(shape):
                raise SizeError(
                    f"the weight {path} has shape {tuple(tensor.shape)}; expected {tuple(shape)}"
                )
    return weights


@recurrent.register_fake
def _(
    input: Tensor,
    weights: Sequence[Tensor],
    states: Any,
    further: Any,
    lengths: Any,
    starts: Any,
    form: str,
    backend: str,
) -> list[Tensor]:
    if torch.onnx.is_in_onnx_export() and not ONNX_EXPORT.has_translation:
        raise BackendError(
            "torch.onnx.export has no translation of a gatewright layer; pass "
            "custom_translation_table=gatewright.onnx_translations(), or use "
            "gatewright.export(module, path, example=...)"
        )
    decoded = form_of(form)
    like = weights[0] if weights else input
    *lead, _ = input.shape
    batch_axis = 0 if decoded.batch_first else 1
    rows = [] if input.dim() == 2 else [input.shape[batch_axis]]
    shapes = [[*lead, decoded.output_size]]
    for name in decoded.graph.states:
        sizes, directions = decoded.state_sizes(name), decoded.directions
        if decoded.differs_by_layer(name):
            shapes += [[directions, *rows, size] for size in sizes]
        else:
            shapes.append([len(sizes) * directions, *rows, sizes[0]])
    _check_states(states, shapes[1:])
    return [like.new_empty(shape) for shape in shapes]


def _check_states(states: Sequence[Tensor], shapes: Sequence[Sequence[Any]]) -> None:
    """Refuse states of other sizes while torch records; the batch is checked when they run."""
    for state, shape in zip(states, shapes, strict=bool(states)):
        if (state.dim(), state.shape[0], state.shape[-1]) != (len(shape), shape[0], shape[-1]):
            raise SizeError(f"a state has shape {tuple(state.shape)}; expected {tuple(shape)}")


def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    """Save the tensors and arguments of the backward pass."""
    input, weights, states, further, lengths, starts, *ctx.plan = inputs
    ctx.counts = len(weights), len(states), len(further)
    ctx.save_for_backward(input, lengths, starts, *weights, *states, *further)


def backward(ctx: Any, gradients: Sequence[Tensor | None]) -> Any:
    """Run the layer once more, and differentiate that run."""
    input, lengths, starts, *rest = ctx.saved_tensors
    needs = [ctx.needs_input_grad[0], *_joined(ctx.needs_input_grad[1:4])]
    # For gradients of gradients the run stays a part of the graph. Then each tensor is a view of
    # its own, so that no path from one argument to another is counted twice.
    again = torch.is_grad_enabled()
    leaves = [
        tensor.view_as(tensor) if again and needed else tensor.detach().requires_grad_(needed)
        for tensor, needed in zip([input, *rest], needs, strict=True)
    ]
    (event,), weights, states, further = _divided(leaves, [1, *ctx.counts])
    with torch.enable_grad():
        outputs = _run(event, weights, states, further, lengths, starts, *ctx.plan)
    pairs = [
        (output, gradient)
        for output, gradient in zip(outputs, gradients, strict=True)
        if gradient is not None and output.requires_grad
    ]
    learned = [leaf for leaf, needed in zip(leaves, needs, strict=True) if needed]
    results = iter(
        torch.autograd.grad(
            [output for output, _ in pairs],
            learned,
            [gradient for _, gradient in pairs],
            allow_unused=True,
            create_graph=again,
        )
    )
    every = [next(results) if needed else None for needed in needs]
    first_gradient, *list_gradients = _divided(every, [1, *ctx.counts])
    return (*first_gradient, *list_gradients, None, None, *(None for _ in ctx.plan))


def _joined(groups: Sequence[Any]) -> list[bool]:
    return [needed for group in groups for needed in (group or ())]


def _divided(every: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    rest = iter(every)
    return [[next(rest) for _ in range(count)] for count in counts]


recurrent.register_autograd(backward, setup_context=setup_context)
