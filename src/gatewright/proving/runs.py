"""The runs on which kernels are compared with the reference: on random numbers, at odd sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatewright.backends import reference
from gatewright.backends.run import Run
from gatewright.backends.step import expectations, starts
from gatewright.errors import SizeError
from gatewright.graph import Graph, build_graph
from gatewright.graph.sizes import number

#: (I, H, B): odd, so that no size is a multiple of a block. The units of the first are those of
#: a single program, those of the second are shared by several, which wait for each other.
SIZES = ((3, 13, 5), (17, 67, 37))
STEPS = 6
#: Larger sizes that are tried where a cell does not have one: 64 heads are enough for anybody.
TRIED = 65


@dataclass(frozen=True)
class CheckedRun:
    """A run in float64 on the CPU, and the gradients that are compared.

    Attributes:
        name: Its kind and its sizes, for reports.
        leaves: The kinds of tensors whose gradients are compared; none for a forward run.
    """

    name: str
    run: Run
    leaves: tuple[str, ...]


def checked_runs(graph: Graph, dtype: torch.dtype) -> Iterator[CheckedRun]:
    """Draw the runs of a cell: a forward run, training, lengths, restarts, a trace, no biases.

    Their numbers are exact in `dtype`.
    """
    everything = ("weights", "inputs", "states")
    for position, (input_size, hidden_size, batch) in enumerate(SIZES):
        sizes = fitting(graph, input_size, hidden_size)
        even = [batch] * STEPS
        # Rows of different lengths, some of length 0.
        ragged = [batch * (STEPS - t) // (STEPS + 1) for t in range(STEPS)]
        ragged = [rows for rows in ragged if rows]
        kinds: list[tuple[str, Graph, Sequence[int], tuple[str, ...], dict[str, bool]]] = [
            ("forward run", graph, even, (), {}),
            ("training", graph, even, everything, {}),
            ("training of weights", graph, even, ("weights",), {}),
            ("lengths in reverse", graph, ragged, everything, {"reverse": True}),
            ("restarts", graph, even, everything, {"restart": True}),
        ]
        if position == 0:
            kinds.append(("trace", graph, ragged, everything, {"traced": True}))
            bare = build_graph(graph.equations, bias=False)
            if bare.weights.keys() != graph.weights.keys():
                kinds.append(("training without biases", bare, even, everything, {}))
        for kind, own, rows, leaves, options in kinds:
            name = f"{kind} at I, H, B = {sizes['input']}, {sizes['hidden']}, {batch}"
            yield CheckedRun(name, draw_run(own, sizes, batch, rows, dtype, **options), leaves)


def fitting(graph: Graph, input_size: int, hidden_size: int) -> dict[str, int]:
    """Return the next sizes that a cell can have: heads divide them, or both have to be equal.

    Raises:
        SizeError: if it has none near these.
    """
    for more in range(TRIED):
        for own in (input_size, hidden_size + more):
            sizes = {"input": own, "hidden": hidden_size + more}
            try:
                graph.sizes.check(sizes)
            except SizeError as error:
                refusal = error
            else:
                return sizes
    raise refusal


def draw_run(
    graph: Graph,
    sizes: Mapping[str, int],
    batch: int,
    rows: Sequence[int],
    dtype: torch.dtype,
    *,
    reverse: bool = False,
    restart: bool = False,
    traced: bool = False,
) -> Run:
    """Draw a run in float64 on the CPU, on numbers that are exact in `dtype`."""
    draw = torch.Generator().manual_seed(0)
    total = sum(rows)

    def exact(values: Tensor) -> Tensor:
        return values.to(dtype).double()

    def normal(shape: Sequence[int], scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=draw, dtype=torch.float64)

    weights: dict[str, Tensor] = {}
    for path, weight in graph.weights.items():
        value = normal(weight.numbers(sizes), sizes["hidden"] ** -0.5)
        # A parameter may be a rate or a scale: it stays near its start.
        weights[path] = exact(value if weight.start is None else weight.start + 0.05 * value)
    inputs: dict[str, Tensor] = {}
    for name, term in graph.inputs.items():
        shape = (total, number(term.size, sizes))
        # Further inputs are times and masks, which are not negative.
        further = torch.rand(shape, generator=draw, dtype=torch.float64)
        inputs[name] = exact(further if inputs else normal(shape, 1.0))
    like = next(iter(inputs.values()))
    fresh = starts(graph, sizes, weights, batch, like)
    noises = [
        (torch.rand(noise.shape, generator=draw) < 0.5).double()
        for noise in expectations(graph, sizes, total, like)
    ]
    marks = torch.rand(total, generator=draw) < 0.3 if restart else None
    run = Run(
        graph=graph,
        sizes=sizes,
        weights=weights,
        inputs=inputs,
        rows=list(rows),
        states=fresh,
        fresh=fresh,
        noises=noises,
        restart=marks,
        reverse=reverse,
        names=list(graph.values) if traced else [],
    )
    # States that the cell reaches: random ones may lie where it never gets.
    with torch.no_grad():
        reached = reference.run(replace(run, restart=None, names=[])).states
    shuffled = torch.randperm(batch, generator=draw)
    return replace(run, states={name: exact(state[shuffled]) for name, state in reached.items()})


def on_device(run: Run, device: torch.device, dtype: torch.dtype, leaves: Sequence[str]) -> Run:
    """Copy a run to a device and a number type; tensors of the kinds `leaves` ask for gradients."""

    def moved(kind: str, group: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value.detach().to(device, dtype, copy=True).requires_grad_(kind in leaves)
            for name, value in group.items()
        }

    weights, inputs = moved("weights", run.weights), moved("inputs", run.inputs)
    states = moved("states", run.states)
    like = next(iter(inputs.values()))
    batch = len(next(iter(states.values())))
    fresh = starts(run.graph, run.sizes, weights, batch, like)
    return replace(
        run,
        weights=weights,
        inputs=inputs,
        states=states,
        fresh=fresh,
        noises=[noise.to(device, dtype) for noise in run.noises],
        restart=None if run.restart is None else run.restart.to(device),
    )


def leaves_of(run: Run) -> dict[str, Any]:
    """The tensors of a run that ask for gradients, by kind and name."""
    groups = {"weight": run.weights, "input": run.inputs, "state": run.states}
    named = {f"{kind} {key}": v for kind, group in groups.items() for key, v in group.items()}
    return {name: leaf for name, leaf in named.items() if leaf.requires_grad}
