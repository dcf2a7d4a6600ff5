"""One step by hand: a cell applied to real tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gatewright.backends.reference import run
from gatewright.backends.run import Run
from gatewright.backends.weights import Pairs, check_form, check_pairs, collect
from gatewright.errors import ArgumentError, SizeError, WrongTensor, WrongType
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
    """Run `Cell.__call__` on tensors; see there."""
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
    """Compute the states after one step, and on request every named value.

    Args:
        x: `(B, I)` or `(I,)`; `states` and further inputs likewise.
        states: In the step's order; a state that is None or left out takes its start.

    Raises:
        ArgumentError, SizeError: naming the argument that does not fit, and the expected form.
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
    passed = {name: state for name, state in zip(names, states, strict=False) if state is not None}
    events = {graph.equations.event: x, **inputs}
    check_form(graph, weights)
    check_tensors({**events, **passed}, weights)
    if x.dim() not in (1, 2):
        event = graph.equations.event
        raise SizeError(f"{event} has shape {tuple(x.shape)}; expected (batch, input) or (input,)")
    batched = x.dim() == 2

    def in_rows(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: t if batched else t.unsqueeze(0) for name, t in tensors.items()}

    def as_passed(tensor: Tensor) -> Tensor:
        return tensor if batched else tensor.squeeze(0)

    rows, before = in_rows(events), in_rows(passed)
    batch = rows[graph.equations.event].shape[0]
    sizes = numbers(graph, x, passed, weights)
    graph.sizes.check(sizes)
    for name, tensor in (passed | events).items():
        term = {**graph.states, **graph.inputs}[name]
        size = number(term.size, sizes)
        expected = (batch, size) if batched else (size,)
        if tuple(tensor.shape) != expected:
            axes = f"(batch, {term.size})" if batched else f"({term.size},)"
            raise SizeError(f"{name} has shape {tuple(tensor.shape)}; expected {expected} = {axes}")
    check_pairs(graph, weights, sizes)
    returned = list(graph.values) if values else []
    result = run(step_run(graph, sizes, collect(graph, weights), rows, before, returned))
    after = tuple(as_passed(state) for state in result.states.values())
    bare = after[0] if len(after) == 1 else after
    if not values:
        return bare
    named = result.values | {"output": result.output}
    return bare, {name: as_passed(value) for name, value in named.items()}


def check_tensors(arguments: Mapping[str, Any], weights: Pairs) -> None:
    """Refuse arguments that are no tensors, or have another dtype than the weights.

    Raises:
        ArgumentError: naming the argument, its type and the expected one.
    """
    pairs = [pair for sources in weights.values() for pair in sources.values()]
    learned = {tensor.dtype for pair in pairs for tensor in pair if tensor is not None}
    dtypes = set(learned)
    for name, argument in arguments.items():
        if not isinstance(argument, Tensor):
            raise WrongType(f"{name} is a {type(argument).__name__}; give a tensor")
        if not argument.is_floating_point():
            raise WrongTensor(f"{name} has dtype {argument.dtype}; give floating-point numbers")
        dtypes.add(argument.dtype)
    if len(dtypes) > 1:
        kinds = ", ".join(sorted(f"{name} {tensor.dtype}" for name, tensor in arguments.items()))
        raise WrongTensor(
            f"dtypes differ: {kinds}, and among the weights {sorted(map(str, learned))}; "
            "convert them to one with .to(dtype)"
        )


def starts(
    graph: Graph, sizes: Mapping[str, int], tensors: Mapping[str, Tensor], batch: int, like: Tensor
) -> dict[str, Tensor]:
    """Expand each state's start to `(B, size)`."""
    states = {}
    for name, start in graph.initial.items():
        value = tensors[start.path] if isinstance(start, Weight) else like.new_tensor(start)
        states[name] = value.expand(batch, number(graph.states[name].size, sizes))
    return states


def expectations(graph: Graph, sizes: Mapping[str, int], rows: int, like: Tensor) -> list[Tensor]:
    """The expectations of the noises, each `(rows, size)`, for a run that draws none.

    Each is a single number, repeated without memory.
    """
    return [
        like.new_tensor(noise.attributes["p"]).expand(rows, number(noise.size, sizes))
        for noise in graph.noises
    ]


def step_run(
    graph: Graph,
    sizes: Mapping[str, int],
    weights: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    states: Mapping[str, Tensor] = {},
    names: Sequence[str] = (),
) -> Run:
    """Describe one step of one layer in eval mode; a state that is left out takes its start."""
    like = next(iter(inputs.values()))
    rows = len(like)
    fresh = starts(graph, sizes, weights, rows, like)
    return Run(
        graph=graph,
        sizes=sizes,
        weights=weights,
        inputs=inputs,
        rows=[rows],
        states={**fresh, **states},
        fresh=fresh,
        noises=expectations(graph, sizes, rows, like),
        names=names,
    )


def numbers(
    graph: Graph, x: Tensor, states: Mapping[str, Tensor], weights: Pairs
) -> dict[str, int]:
    """Infer the numbers for "input" and "hidden" from the shapes of the tensors."""
    sizes = {"input": x.shape[-1]}
    for name, state in states.items():
        if graph.states[name].size == "hidden":
            sizes.setdefault("hidden", state.shape[-1])
    for weight in graph.weights.values():
        pair = weights.get(weight.product, {}).get(weight.source or weight.product)
        if pair is not None and weight.role != "bias" and weight.shape[0] == "hidden":
            blocks = pair[0].shape[0] if pair[0].dim() == 3 else 1
            sizes.setdefault("hidden", blocks * pair[0].shape[-2 if pair[0].dim() > 1 else -1])
    return {"hidden": 1, **sizes}
