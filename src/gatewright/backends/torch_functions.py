"""torch's own functions for its RNN, LSTM and GRU: cuDNN, MIOpen and Metal behind them.

They run every graph with the equations of one of these cells, whatever its class is called. One
call takes all layers and directions, since cuDNN runs several of them at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import _VF, Tensor

from gatewright.backends import reference
from gatewright.backends.conditions import why_not_read, why_watched
from gatewright.backends.fallback import aliases, without_tensors
from gatewright.backends.pieces import Ends, pieces_of
from gatewright.backends.recognise import FUNCTIONS, Recognised, recognise
from gatewright.backends.run import Result, Run
from gatewright.backends.weights import StackedWeights
from gatewright.graph.sizes import number

#: Kinds of devices that torch has such functions for; ROCm's is called cuda too.
DEVICES = ("cuda", "mps", "cpu")
#: The gates in the order in which torch stacks their weights.
GATES = {"RNN": ("h",), "LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n")}


def why_not(run: Run) -> str | None:
    """Give the reason why torch's functions cannot run a run, or None."""
    like = next(iter(run.states.values()))
    if torch.compiler.is_compiling():
        return "torch is compiling the layer, and follows each operation of a step"
    if like.device.type not in DEVICES:
        return f"torch's functions are for {', '.join(DEVICES)}; the tensors are on {like.device}"
    if (reason := why_no_function(run)) is not None:
        return reason
    if run.hold:
        return "values are held, and torch's functions compute all of theirs"
    if run.names:
        return "a trace has the gates of each step, which torch's functions do not return"
    if not sum(run.rows):
        return "there is nothing to run"
    return why_watched() or why_not_read(run.tensors(), like.device)


def why_no_function(run: Run) -> str | None:
    """Give the reason why torch has no function for the cell of a run, or None."""
    known = recognise(run.graph, FUNCTIONS)
    if known is None:
        return "these are not the equations of torch's RNN, LSTM or GRU"
    output, *memories = (number(run.graph.states[name].size, run.sizes) for name in known.states)
    if "h.use.weight" in known.paths:
        if output >= memories[0]:
            return "torch projects to a smaller size only"
        if next(iter(run.states.values())).device.type == "mps":
            return "torch has no projection on MPS"
    return None


def why_by_name(run: Run) -> str | None:
    """Give the reason why "auto" does not choose torch's functions for a run, or None."""
    if next(iter(run.states.values())).device.type == "cpu":
        return 'on a CPU they run where backend="torch" asks for them'
    return None


def describe(run: Run) -> list[str]:
    """The function of a run, for `layer.explain`."""
    known = recognise(run.graph, FUNCTIONS)
    assert known is not None
    lines = [f"torch.{function_name(known)}, all layers and directions in one call"]
    if torch.is_autocast_enabled(next(iter(run.states.values())).device.type):
        lines.append("under autocast torch passes the states from step to step in low precision")
    return lines


def run(run: Run) -> Result:
    """Run a graph over a sequence."""
    output, states = run_stack([run])
    return Result(output, states[0], {})


def run_stack(runs: Sequence[Run], dropout: float = 0.0) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Run all layers and directions: the last layer's output, and the last states of all runs.

    Args:
        runs: In the order of the layers, each forwards and then in reverse if there are two
            directions. The events of all but the first layer are not read.
        dropout: Probability at which outputs between layers are dropped.
    """
    output, states = _call(runs, dropout)
    results = [output, *(state for after in states for state in after.values())]
    # What was dropped is not known later, so with dropout there are no second derivatives.
    if dropout or not any(tensor.requires_grad for tensor in results):
        return output, states
    output, *rest = with_second_derivatives(_by_reference(runs), results, _read(runs))
    every = iter(rest)
    return output, [{name: next(every) for name in after} for after in states]


def _directions(runs: Sequence[Run]) -> int:
    return 2 if len(runs) > 1 and runs[1].reverse else 1


def _call(runs: Sequence[Run], dropout: float) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Call torch's function: the output of the last layer, and the last states of all runs."""
    first, directions = runs[0], _directions(runs)
    known = recognise(first.graph, FUNCTIONS)
    assert known is not None
    like = next(iter(first.states.values()))
    pieces = pieces_of(first)
    ends = [pieces.opposite if directions == 2 and run.reverse else pieces.ends for run in runs]
    event = first.inputs[first.graph.equations.event]
    if pieces.order is not None:
        event = event.index_select(0, pieces.order)
    if pieces.even:
        event = event.unflatten(0, (pieces.steps, pieces.pieces))
    states = [
        _stacked([_first(run, name, end) for run, end in zip(runs, ends, strict=True)])
        for name in known.states
    ]
    weights = _weights(runs, known)
    counts = None if pieces.even else pieces.counts
    output, after = call_function(
        known, event, counts, states, weights, directions=directions, dropout=dropout
    )
    output = output.flatten(0, 1) if pieces.even else output
    # Under autocast torch returns low numbers; the states of a layer are in its own type.
    output = output.to(like.dtype)
    if pieces.inverse is not None:
        output = output.index_select(0, pieces.inverse)
    last = [
        {
            name: _last(run, name, after[known.states.index(name)][i].to(like.dtype), ends[i])
            for name in run.graph.states
        }
        for i, run in enumerate(runs)
    ]
    return output, last


def call_function(
    known: Recognised,
    event: Tensor,
    counts: Tensor | None,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    directions: int,
    dropout: float,
) -> tuple[Tensor, Sequence[Tensor]]:
    """Call torch's function of a cell: its output and last states.

    Args:
        event: `(T, B, I)`, or packed `(N, I)` with the `counts` of rows that run at each step.
        states: Each `(L * D, B, size)`, in the order of torch's cell.
        weights: Those of all layers and directions, in torch's order and stacked as torch's.
        dropout: Probability at which outputs between layers are dropped.
    """
    places = len(states[0])
    # cuDNN refuses others, such as a start that is expanded over the rows.
    states = [state.contiguous() for state in states]
    # Of each layer and direction: two matrices, perhaps two biases, perhaps a projection.
    has_biases = len(weights) > 3 * places
    # cuDNN has gradients in its training mode only, whatever the mode of the layer is.
    training = bool(dropout) or (
        torch.is_grad_enabled() and any([t.requires_grad for t in (event, *states, *weights)])
    )
    function: Callable[..., Any] = getattr(_VF, function_name(known))
    output, *after = function(
        event,
        *([] if counts is None else [counts]),
        states if len(states) > 1 else states[0],
        weights,
        has_biases,
        places // directions,
        dropout,
        training,
        directions == 2,
        *([False] if counts is None else []),  # not batch_first
    )
    return output, after


def function_name(known: Recognised) -> str:
    """The name of torch's function of a cell."""
    return f"rnn_{known.nonlinearity}" if known.kind == "RNN" else known.kind.lower()


def _stacked(states: list[Tensor]) -> Tensor:
    return states[0].unsqueeze(0) if len(states) == 1 else torch.stack(states)


def _first(run: Run, name: str, ends: Ends) -> Tensor:
    """The states that pieces begin with, `(P, size)`."""
    if ends.first is None:
        return run.states[name]
    before = run.states[name]
    if run.restart is not None:
        before = torch.cat([before, run.fresh[name]])
    return before.index_select(0, ends.first)


def _last(run: Run, name: str, after: Tensor, ends: Ends) -> Tensor:
    """The states of the sequences, `(B, size)`, from those after the pieces."""
    if ends.last is None:
        return after
    return torch.cat([after, run.states[name]]).index_select(0, ends.last)


def _weights(runs: Sequence[Run], known: Recognised) -> list[Tensor]:
    """The weights of all runs as torch's functions read them."""
    stacked = [run.weights.stacked for run in runs if isinstance(run.weights, StackedWeights)]
    if len(stacked) == len(runs):
        return list(chain.from_iterable(stacked))
    biased = any(own for path, own in known.paths.items() if path.endswith(".bias"))
    # cuDNN reads all matrices and then all biases from one block of memory, or copies them there.
    matrices = [_matrices(run, known) for run in runs]
    biases = [_biases(run, known) if biased else [] for run in runs]
    groups = [*chain.from_iterable(matrices), *chain.from_iterable(biases)]
    if not biased:  # it expects room for two biases of each gate all the same
        rows = sum(len(gate) for own in matrices for group in own[:2] for gate in group)
        groups.append([groups[0][0].new_zeros(rows)])
    block = torch.cat([part.flatten() for group in groups for part in group])
    parts = iter(block.split([sum(part.numel() for part in group) for group in groups]))

    def shaped(own: list[list[Tensor]]) -> list[Tensor]:
        return [next(parts).view(-1, *group[0].shape[1:]) for group in own]

    ordered = zip([shaped(own) for own in matrices], [shaped(own) for own in biases], strict=True)
    # In torch's order: both matrices, both biases, the projection.
    return [w for own, bias in ordered for w in (*own[:2], *bias, *own[2:])]


def _matrices(run: Run, known: Recognised) -> list[list[Tensor]]:
    """The matrices of the gates, for each of torch's tensors that stacks them."""
    gates = GATES[known.kind]
    groups = [[run.weights[known.paths[f"{g}.{s}.weight"][0]] for g in gates] for s in ("x", "h")]
    if "h.use.weight" in known.paths:
        groups.append([run.weights[known.paths["h.use.weight"][0]]])
    return groups


def _biases(run: Run, known: Recognised) -> list[list[Tensor]]:
    """The biases of the gates, for each of torch's two tensors that stack them."""

    def bias(gate: str, source: str) -> Tensor:
        paths = known.paths.get(f"{gate}.{source}.bias", ())
        if not paths:
            matrix = run.weights[known.paths[f"{gate}.{source}.weight"][0]]
            return matrix.new_zeros(len(matrix))
        first, *rest = (run.weights[path] for path in paths)
        return sum(rest, first)

    return [[bias(gate, source) for gate in GATES[known.kind]] for source in ("x", "h")]


def with_second_derivatives(
    again: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    results: Sequence[Tensor],
    sources: Sequence[Tensor],
) -> Sequence[Tensor]:
    """Results of torch's function, whose gradients can be differentiated.

    Args:
        again: Computes the results from `sources`, by torch's differentiable operations.
    """
    returned: Sequence[Tensor] = SecondDerivatives.apply(again, len(results), *results, *sources)
    return returned


class SecondDerivatives(torch.autograd.Function):
    """Results as they are; a backward pass that is differentiated runs the reference.

    cuDNN and its like have no gradients of gradients. Else gradients go back through torch's
    function, which made the results.
    """

    @staticmethod
    def forward(ctx: Any, again: Callable[..., Any], count: int, *tensors: Tensor) -> Any:
        ctx.again, ctx.count = again, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors[count:])
        return tuple(tensor.detach() for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        sources = len(ctx.needs_input_grad) - 2 - ctx.count
        if not torch.is_grad_enabled():
            return (None, None, *upstream, *[None] * sources)
        leaves = aliases(ctx.saved_tensors)
        with torch.enable_grad():
            results = ctx.again(leaves)
        pairs = [
            (result, gradient)
            for result, gradient in zip(results, upstream, strict=True)
            if gradient is not None and result.requires_grad
        ]
        needed = [leaf for leaf in leaves if leaf.requires_grad]
        gradients = iter(
            torch.autograd.grad(
                [result for result, _ in pairs],
                needed,
                [gradient for _, gradient in pairs],
                create_graph=True,
                allow_unused=True,
            )
        )
        own = [next(gradients) if leaf.requires_grad else None for leaf in leaves]
        return (None, None, *[None] * ctx.count, *own)


def _read(runs: Sequence[Run]) -> list[Tensor]:
    """The tensors that the results of a stack of runs depend on."""
    tensors = list(runs[0].inputs.values())
    for run in runs:
        for group in _groups(run):
            tensors += group.values()
    return tensors


def _groups(run: Run) -> list[Any]:
    fresh = run.fresh if run.restart is not None else {}
    return [run.weights, run.states, fresh]


def _by_reference(runs: Sequence[Run]) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """The function that computes the results of a stack from its tensors, by the reference."""
    directions = _directions(runs)
    plans = [without_tensors(run) for run in runs]

    def compute(tensors: Sequence[Tensor]) -> list[Tensor]:
        rest = iter(tensors)
        event = next(rest)
        outputs: list[Tensor] = []
        states: list[Tensor] = []
        for i, plan in enumerate(plans):
            weights, before, fresh = (
                {name: next(rest) for name in group} for group in _groups(plan)
            )
            again = replace(
                plan,
                weights=weights,
                states=before,
                fresh=fresh,
                inputs={plan.graph.equations.event: event},
            )
            result = reference.run(again)
            outputs.append(result.output)
            states += result.states.values()
            if (i + 1) % directions == 0:
                event = torch.cat(outputs, -1)
                outputs = []
        return [event, *states]

    return compute
