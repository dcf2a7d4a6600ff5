"""Differentiate the steps of a layer's run one by one.

A run records the states between its steps. Given these, every step is a function of the states
before it and its inputs, and many steps of many sequences form one batch. So the gradients over
any lag are products of the gradients of steps, for every backend.
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


class RunSteps:
    """The steps of one layer of a network in one direction, over sequences of one length.

    Attributes:
        names: The states, in the order of the cell's step.
        sizes: Their sizes; `units` is the sum.
        before: The states before each step, by name, each `(T, B, size)`, in the order in
            which the layer reads the sequence.
        event: The layer's input, `(T, B, I)`, in the same order.
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
            task = layer.runs(x, hx, hold=hold, starts=starts, **inputs)[place]
        finally:
            layer.train(training)
        graph = task.graph
        self.task = replace(task, names=list(graph.states))
        self.graph = graph
        self.names = list(graph.states)
        self.sizes = [number(state.size, task.sizes) for state in graph.states.values()]
        self.units = sum(self.sizes)
        self.length, self.batch = len(task.rows), task.rows[0] if task.rows else 0
        if not self.length or not self.batch:
            raise ArgumentError(f"input has shape {tuple(x.shape)}; give at least one step")
        with torch.no_grad():
            after = run_on(layer.backend, self.task).values
        self.event = self.in_time(task.inputs[graph.equations.event])
        marks = self.in_time(task.restart[:, None]) if task.restart is not None else None
        self.restart = marks
        self.before: dict[str, Tensor] = {}
        for name in self.names:
            values = self.in_time(after[name])
            previous = torch.cat([task.states[name][None].detach(), values[:-1]])
            self.before[name] = (
                previous
                if marks is None
                else torch.where(marks, task.fresh[name][None].detach(), previous)
            )
        needed = closure(graph.updates.values())
        self.terms = [term for term in graph.forward if term in needed]

    def in_time(self, packed: Tensor) -> Tensor:
        """Packed rows `(T * B, size)` as `(T, B, size)`, the first step first."""
        steps: Tensor = packed.detach().unflatten(0, (self.length, self.batch))
        return steps.flip(0) if self.task.reverse else steps

    def leaves(self, steps: Tensor) -> tuple[list[Tensor], Tensor]:
        """The states before the steps `steps` `(E,)`, and the event, each `(E * B, size)`.

        They are leaves of the autograd graph that require gradients.
        """
        states = [self.before[name][steps].flatten(0, 1) for name in self.names]
        event = self.event[steps].flatten(0, 1)
        return [state.clone().requires_grad_() for state in states], event.clone().requires_grad_()

    def step(
        self, steps: Tensor, states: list[Tensor], event: Tensor, *, carried: bool = False
    ) -> list[Tensor]:
        """Compute the states after these steps from the result of `leaves`.

        Args:
            carried: Let gradients pass only through additions and factors of a state, not
                through gates and products by weights.
        """
        task = self.task
        rows = len(event)

        def chosen(packed: Tensor) -> Tensor:
            return self.in_time(packed)[steps].flatten(0, 1)

        selected = replace(
            task,
            inputs={name: chosen(packed) for name, packed in task.inputs.items()}
            | {self.graph.equations.event: event},
            noises=[chosen(noise) for noise in task.noises],
            hold={name: chosen(packed) for name, packed in task.hold.items()},
            weights={path: weight.detach() for path, weight in task.weights.items()},
        )
        values: dict[Term, Tensor] = selected.known_terms()
        for name, state in zip(self.names, states, strict=True):
            values[self.graph.states[name]] = state
        for term in self.terms:
            if term not in values:
                operands = [values[operand] for operand in term.operands]
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
        """The gradients of `leaves` for upstream gradients `(M, E * B, size)` of the states."""
        flows = [(s, up) for s, up in zip(after, upstream, strict=True) if s.requires_grad]
        if not flows:
            return [leaf.new_zeros(len(upstream[0]), *leaf.shape) for leaf in leaves]
        gradients = torch.autograd.grad(
            [state for state, _ in flows],
            leaves,
            [up for _, up in flows],
            allow_unused=True,
            retain_graph=True,
            is_grads_batched=True,
        )
        blocked = None if self.restart is None else self.restart[steps].flatten(0, 1)
        result = []
        for index, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
            flow = leaf.new_zeros(len(upstream[0]), *leaf.shape) if gradient is None else gradient
            # A restart replaces the state, so the state before it has no gradient.
            if blocked is not None and index < len(self.names):
                flow = torch.where(blocked, 0.0, flow)
            result.append(flow)
        return result


def check_layer(layer: Recurrent, place: int) -> None:
    """Refuse other modules than our layers, and places that the layer does not have."""
    if not isinstance(layer, Recurrent):
        raise ArgumentError(f"layer is a {type(layer).__name__}; give a gatewright layer")
    if not 0 <= place < len(layer.places):
        raise ArgumentError(
            f"place={place}; the layer has {len(layer.places)}: (layer, reverse) {layer.places}"
        )
