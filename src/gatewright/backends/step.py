"""One step by hand: a cell applied to real tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.reference import Run, run
from gatewright.backends.weights import Pairs, check_form, check_pairs, collect
from gatewright.errors import ArgumentError, SizeError
from gatewright.graph import Graph, Weight
from gatewright.graph.sizes import number
from gatewright.language.cell import Cell


def step(
    cell: Cell,
    x: Tensor,
    /,  # a further input may have any of these names
    *states: Tensor | None,
    weights: Pairs | None = None,
    values: bool = False,
    **inputs: Tensor,
) -> Any:
    """What `Cell.__call__` does with tensors; see there."""
    graph: Graph = cell.graph
    if weights is None:
        raise ArgumentError(
            f"{graph.equations.name} was applied to tensors without weights; give weights=..., "
            "such as {name: layer.weights(name) for name in layer.products}"
        )
    return one_step(graph, x, states, weights, values=values, **inputs)


def one_step(
    graph: Graph,
    x: Tensor,
    states: tuple[Tensor | None, ...],
    weights: Pairs,
    /,
    *,
    values: bool = False,
    **inputs: Tensor,
) -> Any:
    """The states after one step, and on request every named value.

    Args:
        x: `(B, I)` or `(I,)`; `states` and further inputs likewise.
        states: In the step's order; None, or one left out, takes its start.

    Raises:
        ArgumentError, SizeError: naming what was given and what was expected.
    """
    names = list(graph.states)
    if len(states) > len(names):
        raise ArgumentError(
            f"{len(states)} states were given; {graph.equations.name} has {', '.join(names)}"
        )
    if set(inputs) != set(graph.equations.inputs):
        raise ArgumentError(
            f"further inputs {sorted(inputs)} were given; "
            f"{graph.equations.name} reads {sorted(graph.equations.inputs)}"
        )
    given = {name: one for name, one in zip(names, states, strict=False) if one is not None}
    events = {graph.equations.event: x, **inputs}
    check_form(graph, weights)
    check_tensors({**events, **given}, weights)
    if x.dim() not in (1, 2):
        event = graph.equations.event
        raise SizeError(f"{event} has shape {tuple(x.shape)}; expected (batch, input) or (input,)")
    batched = x.dim() == 2
    rows = {name: one if batched else one.unsqueeze(0) for name, one in events.items()}
    before = {name: one if batched else one.unsqueeze(0) for name, one in given.items()}
    batch = rows[graph.equations.event].shape[0]
    sizes = numbers(graph, x, given, weights)
    graph.sizes.check(sizes)
    for name, one in (given | events).items():
        term = {**graph.states, **graph.inputs}[name]
        size = number(term.size, sizes)
        expected = (batch, size) if batched else (size,)
        if tuple(one.shape) != expected:
            axes = f"(batch, {term.size})" if batched else f"({term.size},)"
            raise SizeError(f"{name} has shape {tuple(one.shape)}; expected {expected} = {axes}")
    check_pairs(graph, weights, sizes)
    tensors = collect(graph, weights)
    start = starts(graph, sizes, tensors, batch, x)
    result = run(
        Run(
            graph=graph,
            sizes=sizes,
            weights=tensors,
            inputs=rows,
            rows=[batch],
            states=start | before,
            fresh=start,
            noises=expectations(graph, sizes, batch, x),
            names=list(graph.values) if values else [],
        )
    )
    after = tuple(one if batched else one.squeeze(0) for one in result.states.values())
    bare = after[0] if len(after) == 1 else after
    if not values:
        return bare
    named = result.values | {"output": result.output}
    return bare, {name: one if batched else one.squeeze(0) for name, one in named.items()}


def check_tensors(given: Mapping[str, Any], weights: Pairs) -> None:
    """Refuse what is no tensor, or of another dtype than the weights.

    Raises:
        ArgumentError: naming the argument, what was given and what was expected.
    """
    pairs = [pair for sources in weights.values() for pair in sources.values()]
    learned = {one.dtype for pair in pairs for one in pair if one is not None}
    for name, one in given.items():
        if not isinstance(one, Tensor):
            raise ArgumentError(f"{name} is a {type(one).__name__}; give a tensor")
        if not one.is_floating_point():
            raise ArgumentError(f"{name} has dtype {one.dtype}; give floating-point numbers")
        learned.add(one.dtype)
    if len(learned) > 1:
        kinds = ", ".join(sorted(f"{name} {one.dtype}" for name, one in given.items()))
        raise ArgumentError(
            f"dtypes differ: {kinds}, and among the weights "
            f"{sorted({str(one.dtype) for pair in pairs for one in pair if one is not None})}; "
            "convert them to one with .to(dtype)"
        )


def starts(
    graph: Graph, sizes: Mapping[str, int], tensors: Mapping[str, Tensor], batch: int, like: Tensor
) -> dict[str, Tensor]:
    """Each state's start, `(B, size)`."""
    found = {}
    for name, start in graph.initial.items():
        value = tensors[start.path] if isinstance(start, Weight) else like.new_tensor(start)
        found[name] = value.expand(batch, number(graph.states[name].size, sizes))
    return found


def expectations(graph: Graph, sizes: Mapping[str, int], rows: int, like: Tensor) -> list[Tensor]:
    """The noises of a run that draws none, each `(rows, size)`."""
    return [
        torch.full(
            (rows, number(one.size, sizes)),
            one.attributes["p"],
            dtype=like.dtype,
            device=like.device,
        )
        for one in graph.noises
    ]


def numbers(
    graph: Graph, x: Tensor, states: Mapping[str, Tensor], weights: Pairs
) -> dict[str, int]:
    """The numbers for "input" and "hidden", from the tensors that were given."""
    found = {"input": x.shape[-1]}
    for name, one in states.items():
        if graph.states[name].size == "hidden":
            found.setdefault("hidden", one.shape[-1])
    for weight in graph.weights.values():
        pair = weights.get(weight.product, {}).get(weight.source or weight.product)
        if pair is not None and weight.role != "bias" and weight.shape[0] == "hidden":
            blocks = pair[0].shape[0] if pair[0].dim() == 3 else 1
            found.setdefault("hidden", blocks * pair[0].shape[-2 if pair[0].dim() > 1 else -1])
    return {"hidden": 1, **found}
