"""The adjoint of one step, evaluated in torch: this is how the derived gradient is checked.

Other backends compile the adjoint; here it is evaluated term by term, from its saved and
recomputed terms only, to be compared with torch's own automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatewright.backends.operations import evaluate
from gatewright.backends.run import Run
from gatewright.graph import Adjoint, Term
from gatewright.graph.recompute import LEAVES


def step_gradients(
    run: Run, adjoint: Adjoint[str], seeds: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Compute the gradients of one step.

    Args:
        run: A run of a single step.
        adjoint: The adjoint of its graph.
        seeds: The upstream gradient of each of the adjoint's seeds, `(B, size)`.

    Returns:
        The gradient of every weight by its path, and of the states before the step and the
        inputs by name; without those that no gradient reaches.
    """
    like = next(iter(run.states.values()))
    values = step_values(run, like)
    known = {term: value for term, value in values.items() if term.op in LEAVES}
    known |= {term: values[term] for term in adjoint.saved}
    known |= {term: seeds[name] for name, term in adjoint.seeds.items()}
    for term in adjoint.order:
        if term not in known:
            operands = [known[operand] for operand in term.operands]
            known[term] = evaluate(term, operands, run.sizes, like)
    gradients: dict[str, Tensor] = {}
    for weight in adjoint.weights:
        shape = run.weights[weight.path].shape
        left = known[weight.left].expand(len(like), -1)
        if weight.right is None:
            gradient = left.sum(0).sum_to_size(shape)
        else:
            gradient = outer(left, known[weight.right], weight.heads)
        # A weight that is used several times has the sum of its gradients.
        before = gradients.get(weight.path)
        gradients[weight.path] = gradient if before is None else before + gradient
    for name, back in (*adjoint.states.items(), *adjoint.inputs.items()):
        if back is not None:
            gradients[name] = known[back].expand(len(like), -1)
    return gradients


def outer(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """Sum left times right transposed over the rows, block by block."""
    if heads == 1:
        return left.T @ right.expand(len(left), -1)
    blocks = (side.unflatten(1, (heads, -1)) for side in (left, right))
    return torch.einsum("bhi,bhj->hij", *blocks)


def step_values(run: Run, like: Tensor) -> dict[Term, Tensor]:
    """Compute the value of every term of one step."""
    values = {term: run.states[name] for name, term in run.graph.states.items()}
    values |= run.known_terms()
    for term in run.graph.forward:
        if term not in values:
            operands = [values[operand] for operand in term.operands]
            values[term] = evaluate(term, operands, run.sizes, like)
    return values
