"""The results of a call: packed as backends return them, and in the user's form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.run import Run
from gatewright.layers.call_inputs import CallInputs
from gatewright.layers.states import PlaceStates, join_states


@dataclass(frozen=True)
class CallResults:
    """The results of all layers of a call, packed.

    Attributes:
        output: Of the last layer, `(N, D * output size)`.
        states: The states after the last step, in the order of `form.places`.
        values: Every named value by its name in the trace, `(N, size)`, if there is a trace.
        runs: The run of each layer and direction, if they are kept.
    """

    output: Tensor
    states: list[PlaceStates]
    values: dict[str, Tensor]
    runs: list[Run]


def unpack_results(call: CallInputs, results: CallResults) -> tuple[Any, Any]:
    """The output and the last states, in the form of the input and of `hx`."""
    output = call.layout.unpack(results.output)
    return output, join_states(call.form, results.states, call.layout)


def unpack_values(call: CallInputs, results: CallResults) -> dict[str, Any]:
    """The named values in the form of the input."""
    # The event's trace is the input itself, which still requires gradients where it did.
    keep = torch.is_grad_enabled()
    return {
        name: call.layout.unpack(value if keep else value.detach())
        for name, value in results.values.items()
    }


def without_views(results: Any, arguments: Any) -> Any:
    """Results, nested or packed, as tensors that users can change or detach in place.

    A result that shares memory with an argument, or repeats one number at several places
    (stride 0), is copied. Others are made no views, as those of torch.
    """
    shared = {tensor.untyped_storage()._cdata for tensor in tensors_in(arguments)}

    def owned(part: Any) -> Any:
        if isinstance(part, PackedSequence):
            return part._replace(data=owned(part.data))
        if isinstance(part, tuple | list):
            return type(part)(map(owned, part))
        if part.untyped_storage()._cdata in shared or 0 in part.stride():
            return part.clone()
        if not part._is_view():
            return part
        return torch.ops.aten._unsafe_view(part, part.shape)

    return owned(results)


def tensors_in(parts: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples and lists."""
    if isinstance(parts, Tensor):
        yield parts
    elif isinstance(parts, tuple | list):
        for part in parts:
            yield from tensors_in(part)
