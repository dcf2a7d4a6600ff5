"""The steps of one layer's run, each of which can be differentiated on its own.

A run gives the states between its steps. With them every step is a function of the states
before it and of its inputs, and many steps of many sequences are one batch. So gradients
over any lag are products of steps' gradients, whichever backend ran the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.choose import run_on
from gatewright.backends.operations import evaluate
from gatewright.errors import ArgumentError
from gatewright.graph import Term
from gatewright.graph.memory_gates import CARRIES
from gatewright.graph.sizes import number
from gatewright.language.node import closure
from gatewright.layers.recurrent import Recurrent


class Steps:
    """The steps of one layer of a network in one direction, over sequences of one length.

    Attributes:
        names: The states, in the order of the cell's step.
        sizes: Their sizes; `units` is the sum.
        before: The states before each step, by name, each `(T, B, size)`, in the order in
            which the layer reads the sequence.
        event: The layer's input, `(T, B, I)`, in that order.
    """

    def __init__(
        self,
        layer: Recurrent,
        x: Tensor,
        *,
        place: int = 0,
        hx: Any = None,
        hold: Mapping[str, Any] | None = None,
        starts: Any = None,
        **inputs: Any,
    ) -> None:
        check_layer(layer, place)
        training = layer.training
        try:
            layer.eval()
            given = layer.runs(x, hx, hold=hold, starts=starts, **inputs)[place]
        finally:
            layer.train(training)
        graph = given.graph
        self.task = replace(given, names=list(graph.states))
        self.graph = graph
        self.names = list(graph.states)
        self.sizes = [number(one.size, given.sizes) for one in graph.states.values()]
        self.units = sum(self.sizes)
        self.length, self.batch = len(given.rows), given.rows[0] if given.rows else 0
        if not self.length or not self.batch:
            raise ArgumentError(f"input has shape {tuple(x.shape)}; give at least one step")
        with torch.no_grad():
            after = run_on(layer.backend, self.task).values
        self.event = self.in_time(given.inputs[graph.equations.event])
        marks = self.in_time(given.restart[:, None]) if given.restart is not None else None
        self.restart = marks
        self.before: dict[str, Tensor] = {}
        for name in self.names:
            values = self.in_time(after[name])
            ready = torch.cat([given.states[name][None].detach(), values[:-1]])
            self.before[name] = (
                ready
                if marks is None
                else torch.where(marks, given.fresh[name][None].detach(), ready)
            )
        needed = closure(graph.updates.values())
        self.terms = [one for one in graph.forward if one in needed]

    def in_time(self, packed: Tensor) -> Tensor:
        """Packed rows `(T * B, size)` as `(T, B, size)`, the first step first."""
        steps: Tensor = packed.detach().unflatten(0, (self.length, self.batch))
        return steps.flip(0) if self.task.reverse else steps

    def at(self, steps: Tensor) -> tuple[list[Tensor], Tensor]:
        """The states before the steps at `steps` `(E,)`, and the event, `(E * B, size)` each.

        They are leaves that ask for gradients.
        """
        states = [self.before[name][steps].flatten(0, 1) for name in self.names]
        event = self.event[steps].flatten(0, 1)
        return [one.clone().requires_grad_() for one in states], event.clone().requires_grad_()

    def step(
        self, steps: Tensor, states: list[Tensor], event: Tensor, *, carried: bool = False
    ) -> list[Tensor]:
        """The states after these steps, of what `at` gave.

        Args:
            carried: Whether gradients pass only where a state is carried on by additions
                and factors; through the gates themselves, and products, none does.
        """
        task = self.task
        rows = len(event)

        def chosen(packed: Tensor) -> Tensor:
            return self.in_time(packed)[steps].flatten(0, 1)

        here = replace(
            task,
            inputs={name: chosen(one) for name, one in task.inputs.items()}
            | {self.graph.equations.event: event},
            noises=[chosen(one) for one in task.noises],
            hold={name: chosen(one) for name, one in task.hold.items()},
            weights={path: one.detach() for path, one in task.weights.items()},
        )
        values: dict[Term, Tensor] = here.known_terms()
        for name, one in zip(self.names, states, strict=True):
            values[self.graph.states[name]] = one
        for term in self.terms:
            if term not in values:
                operands = [values[one] for one in term.operands]
                value = evaluate(term, operands, task.sizes, event)
                values[term] = value.detach() if carried and term.op not in CARRIES else value
        after = [
            values[self.graph.updates[name]].expand(rows, size)
            for name, size in zip(self.names, self.sizes, strict=True)
        ]
        return after

    def back(
        self,
        after: list[Tensor],
        leaves: list[Tensor],
        upstream: list[Tensor],
        steps: Tensor,
    ) -> list[Tensor]:
        """Gradients of `leaves` for upstream gradients `(M, E * B, size)` of the states."""
        flows = [(one, up) for one, up in zip(after, upstream, strict=True) if one.requires_grad]
        if not flows:
            return [one.new_zeros(len(upstream[0]), *one.shape) for one in leaves]
        found = torch.autograd.grad(
            [one for one, _ in flows],
            leaves,
            [up for _, up in flows],
            allow_unused=True,
            retain_graph=True,
            is_grads_batched=True,
        )
        blocked = None if self.restart is None else self.restart[steps].flatten(0, 1)
        gradients = []
        for at, (leaf, one) in enumerate(zip(leaves, found, strict=True)):
            one = leaf.new_zeros(len(upstream[0]), *leaf.shape) if one is None else one
            # At the start of an episode nothing flows into the states before it.
            if blocked is not None and at < len(self.names):
                one = torch.where(blocked, 0.0, one)
            gradients.append(one)
        return gradients


def check_layer(layer: Recurrent, place: int) -> None:
    """Refuse what is no layer of ours, or a place that it does not have."""
    if not isinstance(layer, Recurrent):
        raise ArgumentError(f"layer is a {type(layer).__name__}; give a gatewright layer")
    if not 0 <= place < len(layer.places):
        raise ArgumentError(
            f"place={place}; the layer has {len(layer.places)}: (layer, reverse) {layer.places}"
        )
