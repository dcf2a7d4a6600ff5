"""Calls like earlier ones: what follows from the form of the arguments is not made again.

A form is all that a call depends on besides the numbers in its tensors, the process included: a
forked one has none of the threads that its parent had. The first call of a form goes the whole
way, with every check. If only tensors can be new in the next one, its runs are made ready, and
later calls of that form go straight to the kernels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gatewright.backends.choose import pick
from gatewright.backends.llvm import ready_run, why_not_now
from gatewright.layers.layout import Layout
from gatewright.layers.states import state_sizes

if TYPE_CHECKING:
    from gatewright.backends.llvm.ready import Ready
    from gatewright.backends.reference import Run
    from gatewright.layers.recurrent import Recurrent

#: Forms that a layer keeps.
FORMS = 512
#: The types of tensors whose numbers are where they say, if they are anywhere.
PLAIN = (Tensor, nn.Parameter)


@dataclass(frozen=True)
class Known:
    """A form of calls: how the sequences lie, and a run that is ready for each place.

    Attributes:
        direct: Whether the input is the first event as it is.
        directions: The runs of each layer.
    """

    layout: Layout
    direct: bool
    directions: int
    runs: Sequence[Ready]

    def call(
        self, input: Tensor, states: Sequence[Tensor], weights: Sequence[Sequence[Tensor]]
    ) -> tuple[Any, Any]:
        """The output and the last states."""
        event = input if self.direct else self.layout.pack(input).contiguous()
        if len(self.runs) == 1:
            run = self.runs[0]
            output, *after = run([event, *(states or run.starts), *weights[0]])
        else:
            before = list(zip(*[one.unbind(0) for one in states], strict=True))
            outputs, last = [], []
            for at, (run, own) in enumerate(zip(self.runs, weights, strict=True)):
                output, *ends = run([event, *(before[at] if before else run.starts), *own])
                outputs.append(output)
                last.append(ends)
                if len(outputs) == self.directions:
                    event = torch.cat(outputs, -1) if len(outputs) > 1 else output
                    outputs = []
            output = event
            after = [torch.stack(one) for one in zip(*last, strict=True)]
        if self.layout.batch_first and not self.layout.unbatched:
            output = output.transpose(0, 1)
        return output, after[0] if len(after) == 1 else tuple(after)


class Repeats:
    """The forms of the calls that a layer has seen."""

    def __init__(self, layer: Recurrent) -> None:
        self.sources = [layer.store(*place).sources() for place in layer.places]
        #: None where a call always goes the whole way.
        self.forms: dict[Any, Known | None] = {}

    def call(self, layer: Recurrent, input: Any, hx: Any) -> tuple[Any, Any]:
        """The output and the last states."""
        states = () if hx is None else hx if isinstance(hx, tuple | list) else (hx,)
        weights: list[list[Any]] = [
            [own.get(leaf) for own, leaf in place.values()] for place in self.sources
        ]
        tensors = [input, *states]
        for place in weights:
            tensors += place
        nowhere = isinstance(input, Tensor) and (
            input.is_nested or input.layout is not torch.strided
        )
        if (
            nowhere
            or why_not_now() is not None
            or not all([type(one) in PLAIN and one.data_ptr() for one in tensors])
        ):
            return self.wholly(layer, input, hx)
        modes = os.getpid(), torch.get_num_threads(), torch.is_grad_enabled()
        own = layer.backend, layer.training, len(layer._buffers), len(states)
        lie = [
            (one.shape, one.stride(), one.dtype, one.device, one.requires_grad, one.is_neg())
            for one in tensors
        ]
        form = (*modes, *own, *lie)
        if form not in self.forms:
            tasks: list[Run] = []
            found = self.wholly(layer, input, hx, tasks)
            if len(self.forms) >= FORMS:
                self.forms.clear()
            self.forms[form] = self.known(layer, input, states, tasks)
            return found
        known = self.forms.get(form)  # another thread may have cleared them
        if known is None:
            return self.wholly(layer, input, hx)
        return known.call(input, states, weights)

    def wholly(
        self, layer: Recurrent, input: Any, hx: Any, tasks: list[Run] | None = None
    ) -> tuple[Any, Any]:
        """The output and the last states of a call that goes the whole way."""
        output, states, _ = layer._run(input, hx, None, None, {}, tasks=tasks)
        return output, states

    def known(
        self, layer: Recurrent, input: Tensor, states: Sequence[Tensor], tasks: Sequence[Run]
    ) -> Known | None:
        """The form of a call, if only tensors can be new in the next one."""
        if layer.training and layer.dropout and layer.num_layers > 1:
            return None
        if not states and not all(isinstance(o, int | float) for o in layer.graph.initial.values()):
            return None  # the starts are learned
        if any(len(set(state_sizes(layer, name))) > 1 for name in layer.graph.states):
            return None  # their states are no one tensor
        given = [input, *states]
        if any(not isinstance(one, Tensor) or one.is_neg() for one in given):
            return None
        if not all(one.is_contiguous() for one in states):
            return None
        layout = Layout.of(input, batch_first=layer.batch_first)
        rows = () if layout.unbatched else (layout.batch,)
        forms = (layout.steps, *rows), rows if len(tasks) > 1 else (1, *rows)
        runs = []
        for place, sources, task in zip(layer.places, self.sources, tasks, strict=True):
            shares = layer.store(*place).shares()
            if shares is None or pick(layer.backend, task) != "llvm":
                return None
            weights = {name: own[leaf] for name, (own, leaf) in sources.items()}
            run = ready_run(task, shares, weights, forms)
            if run is None:
                return None
            runs.append(run)
        direct = input.is_contiguous() and (layout.unbatched or not layout.batch_first)
        return Known(layout, direct, layer.directions, runs)


#: What was seen of each layer. It is no part of the layer: a copy of it has calls of its own.
SEEN: WeakKeyDictionary[Recurrent, Repeats] = WeakKeyDictionary()


def repeats(layer: Recurrent) -> Repeats:
    """The forms of a layer's calls so far."""
    found = SEEN.get(layer)
    if found is None:
        found = SEEN[layer] = Repeats(layer)
    return found
