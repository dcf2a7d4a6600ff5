"""Repeated calls of a drop-in on torch's own functions: what `torch.nn`'s layer would call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.recognise import FUNCTIONS, Recognised, recognise
from gatewright.backends.torch_functions import call_function, with_second_derivatives
from gatewright.backends.weights import Share, from_shares
from gatewright.graph import Weight
from gatewright.layers.call_inputs import CallInputs, pack_call
from gatewright.layers.call_results import unpack_results
from gatewright.layers.form import Form
from gatewright.layers.run_layers import run_layers
from gatewright.layers.weights.store import Store
from gatewright.layers.weights.stored_names import Place
from gatewright.layers.weights.torch import TorchWeights


@dataclass(frozen=True)
class PreparedTorchCall:
    """The call of torch's function for one key, ready to run on new tensors.

    Attributes:
        known: The cell as torch has it.
        dropout: Probability at which outputs between layers are dropped; 0 in eval mode.
        starts: The states before the first step, for calls that bring none.
        stacks: By place, the names of the layer's tensors, and the part of them that each of the
            graph's weights is.
        extents: Bytes from the first number of each tensor to the end of its last.
        itemsize: Bytes of each number.
    """

    form: Form
    known: Recognised
    dropout: float
    starts: Sequence[Tensor]
    stacks: Mapping[Place, tuple[tuple[str, ...], Mapping[str, Share]]]
    extents: Sequence[int]
    itemsize: int

    def call(
        self, input: Tensor, states: Sequence[Tensor], weights: Sequence[Sequence[Tensor]]
    ) -> tuple[Any, Any]:
        """Return the output and the last states, in the user's form."""
        batch_first = self.form.batch_first
        flat = list(chain.from_iterable(weights))
        output, after = call_function(
            self.known,
            input.transpose(0, 1) if batch_first else input,
            None,
            states or self.starts,
            flat,
            directions=self.form.directions,
            dropout=self.dropout,
        )
        if output.requires_grad and not self.dropout:
            results = [output.transpose(0, 1) if batch_first else output, *after]
            output, *after = with_second_derivatives(
                self.by_reference, results, [input, *states, *flat]
            )
        elif batch_first:
            output = output.transpose(0, 1)
        if output._is_view():  # the result is none, as in torch
            output = torch.ops.aten._unsafe_view(output, output.shape)
        return output, after[0] if len(after) == 1 else tuple(after)

    def by_reference(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The results of a call in plain operations, from its input, states and weights."""
        names = self.form.graph.states
        rest = iter(tensors)
        event = next(rest)
        stored = sum(len(own) for own, _ in self.stacks.values())
        states = [next(rest) for _ in range(len(tensors) - 1 - stored)]
        weights = {
            place: from_shares(shares, {name: next(rest) for name in own})
            for place, (own, shares) in self.stacks.items()
        }
        hx: Any = None if not states else states[0] if len(names) == 1 else tuple(states)
        call = pack_call(self.form, weights, event, hx)
        output, after = unpack_results(call, run_layers(call, "reference"))
        return [output, *([after] if len(names) == 1 else after)]


def prepare_torch(
    form: Form,
    stores: Mapping[Place, Store],
    call: CallInputs,
    dropout: float,
    extents: Sequence[int],
    itemsize: int,
) -> PreparedTorchCall | None:
    """Prepare a call that repeats one; None where the weights are not stacked as torch's."""
    known = recognise(form.graph, FUNCTIONS)
    stacks = {}
    for place, store in stores.items():
        shares = store.shares()
        if known is None or shares is None or not isinstance(store, TorchWeights):
            return None
        stacks[place] = tuple(store.names()), shares
    assert known is not None
    starts = [
        call.like.new_full((len(stores), call.layout.batch, form.state_sizes(name)[0]), start)
        for name, start in form.graph.initial.items()
        if not isinstance(start, Weight)
    ]
    return PreparedTorchCall(form, known, dropout, starts, stacks, extents, itemsize)
