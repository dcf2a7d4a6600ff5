"""One step by hand: a cell applied to real tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.reference import Run, run
from gatewright.errors import ArgumentError, SizeError
from gatewright.graph import Graph, Weight
from gatewright.graph.sizes import number
from gatewright.language.cell import Cell

Pairs = Mapping[str, tuple[Tensor, Tensor | None]]


def step(
    cell: Cell,
    x: Tensor,
    *states: Tensor | None,
    weights: Mapping[str, Pairs],
    values: bool = False,
    **inputs: Tensor,
) -> Any:
    """What `Cell.__call__` does with tensors; see there."""
    graph: Graph = cell.graph
    names = list(graph.states)
    if len(states) > len(names):
        raise ArgumentError(f"{len(states)} states were given; {graph.equations.name} has {names}")
    given = dict(zip(names, [*states, *[None] * len(names)], strict=False))
    if set(inputs) != set(graph.equations.inputs):
        raise ArgumentError(
            f"further inputs {sorted(inputs)} were given; "
            f"{graph.equations.name} reads {list(graph.equations.inputs)}"
        )
    sizes = numbers(graph, x, given, weights)
    graph.sizes.check(sizes)
    tensors = {
        path: tensor(weight, weights, sizes, x, graph) for path, weight in graph.weights.items()
    }
    batched = x.dim() == 2
    if x.dim() not in (1, 2):
        raise SizeError(f"x has shape {tuple(x.shape)}; expected (batch, input) or (input,)")
    events = {graph.equations.event: x, **inputs}
    rows = {name: one if batched else one.unsqueeze(0) for name, one in events.items()}
    batch = rows[graph.equations.event].shape[0]
    start = starts(graph, sizes, tensors, batch, x)
    before = {
        name: start[name] if one is None else (one if batched else one.unsqueeze(0))
        for name, one in given.items()
    }
    for name, one in (before | rows).items():
        term = (graph.states | graph.inputs)[name]
        expected = (batch, number(term.size, sizes))
        if tuple(one.shape) != expected:
            raise SizeError(
                f"{name} has shape {tuple(one.shape)}; expected {expected} = (batch, {term.size})"
            )
    result = run(
        Run(
            graph=graph,
            sizes=sizes,
            weights=tensors,
            inputs=rows,
            rows=[batch],
            states=before,
            fresh=start,
            noises=expectations(graph, sizes, batch, x),
            names=list(graph.values) if values else [],
        )
    )
    after = [result.states[name] if batched else result.states[name].squeeze(0) for name in names]
    bare = after[0] if len(after) == 1 else tuple(after)
    if not values:
        return bare
    named = result.values | {"output": result.output}
    return bare, {name: one if batched else one.squeeze(0) for name, one in named.items()}


def starts(
    graph: Graph,
    sizes: Mapping[str, int],
    tensors: Mapping[str, Tensor],
    batch: int,
    like: Tensor,
) -> dict[str, Tensor]:
    """Each state's start, `(batch, size)`."""
    found = {}
    for name, start in graph.initial.items():
        size = number(graph.states[name].size, sizes)
        value = tensors[start.path] if isinstance(start, Weight) else like.new_tensor(start)
        found[name] = value.expand(batch, size)
    return found


def expectations(graph: Graph, sizes: Mapping[str, int], rows: int, like: Tensor) -> list[Tensor]:
    """The noises of a run that draws none."""
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
    graph: Graph, x: Tensor, states: Mapping[str, Tensor | None], weights: Mapping[str, Pairs]
) -> dict[str, int]:
    """The numbers for "input" and "hidden", from the tensors that were given."""
    found = {"input": x.shape[-1]}
    shapes = [
        (graph.states[name].size, one.shape[-1]) for name, one in states.items() if one is not None
    ]
    for weight in graph.weights.values():
        pair = weights.get(weight.product, {}).get(weight.source)
        if pair is not None and weight.role == "weight":
            rows = pair[0].shape[0] * (pair[0].shape[1] if pair[0].dim() == 3 else 1)
            shapes.append((weight.shape[0], rows))
    for size, length in shapes:
        if isinstance(size, str):
            found.setdefault(size, length)
    if "hidden" not in found:
        raise ArgumentError("the hidden size follows from no argument; give a state or the weights")
    return found


def tensor(
    weight: Weight,
    weights: Mapping[str, Pairs],
    sizes: Mapping[str, int],
    like: Tensor,
    graph: Graph,
) -> Tensor:
    """One weight out of the mapping that the user gave; biases of a product add up."""
    pairs = weights.get(weight.product)
    if weight.role == "parameter" and weight.product.startswith("initial.") and pairs is None:
        return like.new_full(weight.numbers(sizes), weight.start or 0.0)
    if pairs is None:
        products = sorted({one.product for one in graph.weights.values()})
        raise ArgumentError(
            f"weights has no entry for {weight.product!r}; {graph.equations.name} has {products}"
        )
    if weight.role == "bias":
        apart = {
            one.source
            for one in graph.weights.values()
            if one.product == weight.product and one.role == "bias"
        }
        mine = [
            pair[1]
            for key, pair in pairs.items()
            if pair[1] is not None and (key == weight.source or key not in apart)
        ]
        return sum(mine[1:], mine[0]) if mine else like.new_zeros(weight.numbers(sizes))
    key = weight.source or weight.product
    if key not in pairs:
        raise ArgumentError(f"weights[{weight.product!r}] has no {key!r}; it has {sorted(pairs)}")
    given = pairs[key][0]
    if tuple(given.shape) != weight.numbers(sizes):
        raise SizeError(
            f"weights[{weight.product!r}][{key!r}] has shape {tuple(given.shape)}; "
            f"expected {weight.numbers(sizes)} = {weight.shape}"
        )
    return given
