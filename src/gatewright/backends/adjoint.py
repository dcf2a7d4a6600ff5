"""The adjoint of one step, evaluated in torch: how the derived gradient is checked.

Other backends compile the adjoint; here it is run as it stands, from what it says is saved
and recomputed and nothing else, to be compared with torch's own automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatewright.backends.operations import evaluate
from gatewright.backends.reference import Run
from gatewright.graph import Adjoint, Graph, Term
from gatewright.graph.recompute import LEAVES


def step_gradients(task: Run, adjoint: Adjoint, seeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of one step.

    Args:
        task: A run of a single step.
        adjoint: The adjoint of its graph.
        seeds: The upstream gradient of each of the adjoint's seeds, `(B, size)`.

    Returns:
        The gradient of every weight by its path, and of the states before the step and the
        inputs by name; without those that nothing flows to.
    """
    like = next(iter(task.states.values()))
    values = step_values(task, like)
    known = {term: one for term, one in values.items() if term.op in LEAVES}
    known |= {term: values[term] for term in adjoint.saved}
    known |= {term: seeds[name] for name, term in adjoint.seeds.items()}
    for term in adjoint.order:
        if term not in known:
            known[term] = evaluate(term, [known[one] for one in term.operands], task.sizes, like)
    found: dict[str, Tensor] = {}
    for one in adjoint.weights:
        shape = task.weights[one.path].shape
        left = known[one.left].expand(len(like), -1)
        if one.right is None:
            gradient = left.sum(0).sum_to_size(shape)
        else:
            gradient = outer(left, known[one.right], one.heads)
        found[one.path] = found[one.path] + gradient if one.path in found else gradient
    for name, back in (*adjoint.states.items(), *adjoint.inputs.items()):
        if back is not None:
            found[name] = known[back].expand(len(like), -1)
    return found


def outer(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """The sum over rows of left times right transposed, block by block."""
    if heads == 1:
        return left.T @ right.expand(len(left), -1)
    blocks = (one.unflatten(1, (heads, -1)) for one in (left, right))
    return torch.einsum("bhi,bhj->hij", *blocks)


def step_values(task: Run, like: Tensor) -> dict[Term, Tensor]:
    """The value of every term of one step."""
    graph: Graph = task.graph
    values = {term: task.states[name] for name, term in graph.states.items()}
    values |= {term: task.inputs[name] for name, term in graph.inputs.items()}
    noises: Sequence[Tensor] = task.noises
    values |= dict(zip(graph.noises, noises, strict=True))
    for term in graph.forward:
        if term.op == "weight":
            values[term] = task.weights[term.attributes["weight"].path]
        elif term not in values:
            values[term] = evaluate(term, [values[one] for one in term.operands], task.sizes, like)
    # The adjoint's own constants are leaves too, and stand behind the step.
    for term in graph.terms.all:
        if term.op in ("constant", "inverse_size") and term not in values:
            values[term] = evaluate(term, [], task.sizes, like)
    return values
