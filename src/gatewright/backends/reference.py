"""The reference backend: a graph in plain torch operations, step by step.

It is the truth that other backends are held to. It runs everywhere and in any dtype, and
whatever torch can do with plain operations works with it: double backward, `vmap`,
forward-mode differentiation.

Sequences are packed as in torch's `PackedSequence`: rows are sorted, the longest first, and
the rows that run at step t follow those of step t - 1 in one tensor `(N, size)`. Where all
are of one length, that is `(T * B, size)`. So padding is not masked: it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gatewright.backends.operations import evaluate
from gatewright.graph import Graph, Term
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS, STATE, WEIGHTS, stages
from gatewright.language.node import closure


@dataclass(frozen=True)
class Run:
    """What one layer is to do in one direction; the same for every backend.

    Attributes:
        graph: The cell's graph.
        sizes: Numbers for "input" and "hidden".
        weights: A tensor for each of `graph.weights`, by path.
        inputs: The event and the further inputs, each `(N, size)`.
        rows: How many rows run at each of the T steps; it never grows.
        states: The states before the first step, each `(B, size)`.
        fresh: The states that a restart begins with, each `(B, size)`.
        noises: The drawn noises in the graph's order, each `(N, size)`.
        restart: `(N,)`, true where the states are `fresh` before the step.
        reverse: Whether the steps run from the last to the first.
        hold: Named values that are fixed, each `(N, size)`.
        names: Named values to be given back.
    """

    graph: Graph
    sizes: Mapping[str, int]
    weights: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]
    rows: Sequence[int]
    states: Mapping[str, Tensor]
    fresh: Mapping[str, Tensor]
    noises: Sequence[Tensor] = ()
    restart: Tensor | None = None
    reverse: bool = False
    hold: Mapping[str, Tensor] = field(default_factory=dict)
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """The output `(N, size)`, the states after each row's last step, the named values."""

    output: Tensor
    states: dict[str, Tensor]
    values: dict[str, Tensor]


def why_not(task: Run) -> None:
    """There is nothing that the reference cannot run."""


def run(task: Run, given: Mapping[Term, Tensor] | None = None) -> Result:
    """Run a graph over a sequence; what is `given` already is not computed again."""
    graph, rows = task.graph, list(task.rows)
    wanted = {graph.output} | {graph.values[name] for name in task.names}
    held = {graph.values[name]: value for name, value in task.hold.items()}
    stage = stages(graph.forward, held) if held else graph.stages
    like = next(iter(task.states.values()))
    known = {**at_hand(task), **(given or {}), **held}
    needed = closure([*graph.updates.values(), *wanted], known)
    ready = [one for one in graph.forward if one in needed and stage[one] < STATE]
    Section(ready, known, task).compute(known, like)

    # split gives one view a step: taking them one by one would cost a full-size gradient each.
    in_loop = [one for one in graph.forward if one in needed and stage[one] >= STATE]
    loop = Section([one for one in in_loop if one.op != "state"], known, task)
    read = {operand for one in in_loop for operand in one.operands} | set(graph.updates.values())
    fixed = {one: value for one, value in known.items() if one in read and stage[one] == WEIGHTS}
    pieces = {
        one: value.split(rows)
        for one, value in known.items()
        if one in read and stage[one] == INPUTS
    }
    restart = task.restart.split(rows) if task.restart is not None else None
    kept: dict[Term, list[Tensor]] = {one: [] for one in wanted if stage[one] >= STATE}
    states = dict(task.states)
    for t in reversed(range(len(rows))) if task.reverse else range(len(rows)):
        running = rows[t]
        at = fixed | {one: parts[t] for one, parts in pieces.items()}
        for name, term in graph.states.items():
            if term in held:
                continue
            at[term] = states[name][:running]
            if restart is not None:
                mark = restart[t].unsqueeze(-1)
                at[term] = torch.where(mark, task.fresh[name][:running], at[term])
        loop.compute(at, like)
        for name, term in graph.updates.items():
            after = at[term].expand(running, states[name].shape[1])
            waiting = states[name][running:]
            states[name] = torch.cat([after, waiting]) if len(waiting) else after
        for one, values in kept.items():
            values.append(at[one])

    def over_time(term: Term) -> Tensor:
        size = number(term.size, task.sizes)
        if term not in kept:
            return known[term].expand(sum(rows), size)
        parts = kept[term][::-1] if task.reverse else kept[term]
        return torch.cat(parts) if parts else like.new_zeros(0, size)

    named = {name: over_time(graph.values[name]) for name in task.names}
    return Result(over_time(graph.output), states, named)


def at_hand(task: Run) -> dict[Term, Tensor]:
    """What a task brings with it: inputs, noises and weights, and what is held over them."""
    graph = task.graph
    known = {term: task.inputs[name] for name, term in graph.inputs.items()}
    known |= dict(zip(graph.noises, task.noises, strict=True))
    known |= {
        term: task.weights[term.attributes["weight"].path]
        for term in graph.forward
        if term.op == "weight"
    }
    return known | {graph.values[name]: value for name, value in task.hold.items()}


class Section:
    """Terms that are computed together: those before the loop, or those of one step.

    Products that read the same source are one product with their matrices stacked.
    """

    def __init__(self, terms: Sequence[Term], known: Mapping[Term, Tensor], task: Run) -> None:
        self.terms = [one for one in terms if one not in known]
        self.sizes = task.sizes
        by_source: dict[Term, list[Term]] = {}
        for one in self.terms:
            if one.op == "product" and one.attributes["heads"] == 1:
                by_source.setdefault(one.operands[0], []).append(one)
        groups = [group for group in by_source.values() if len(group) > 1]
        self.groups = {
            group[0]: (group, torch.cat([known[one.operands[1]] for one in group]))
            for group in groups
        }
        self.stacked = {one for group in groups for one in group[1:]}

    def compute(self, at: dict[Term, Tensor], like: Tensor) -> None:
        """Add the terms' values to `at`, which holds all that they read."""
        for term in self.terms:
            if term in self.groups:
                group, matrix = self.groups[term]
                heights = [number(one.size, self.sizes) for one in group]
                both = evaluate(term, [at[term.operands[0]], matrix], self.sizes, like)
                at.update(zip(group, both.split(heights, -1), strict=True))
            elif term not in self.stacked:
                at[term] = evaluate(term, [at[one] for one in term.operands], self.sizes, like)
