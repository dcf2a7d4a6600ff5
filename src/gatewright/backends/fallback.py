"""The backward pass by torch's own operations, where kernels cannot compute it.

Second derivatives, transforms of torch.func and tensors without memory need operations that
torch sees. Then the reference runs once more, under autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gatewright.backends import reference
from gatewright.backends.conditions import why_not_read, why_watched
from gatewright.backends.run import Run
from gatewright.graph import Term

#: A placeholder that expands to any size: the output may be a held value that was not passed.
_NOTHING = torch.zeros(())


def needs_operations(tensors: Sequence[Tensor], upstream: Sequence[Tensor | None]) -> bool:
    """Tell if a backward pass has to be computed by torch's operations, not by kernels."""
    present = [gradient for gradient in upstream if gradient is not None]
    watched = torch.is_grad_enabled() or why_watched() is not None
    return watched or why_not_read([*tensors, *present]) is not None


def without_tensors(run: Run) -> Run:
    """Copy a run without its tensors: a backward pass may hold only what autograd saves."""
    return replace(
        run,
        weights=dict.fromkeys(run.weights, _NOTHING),
        inputs=dict.fromkeys(run.inputs, _NOTHING),
        states=dict.fromkeys(run.states, _NOTHING),
        fresh=dict.fromkeys(run.fresh, _NOTHING),
        hold=dict.fromkeys(run.hold, _NOTHING),
        noises=[_NOTHING] * len(run.noises),
    )


def aliases(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return views of the tensors for a recomputation, so that none depends on another.

    An event may have been computed from a weight of the layer. Autograd knows that path
    between the saved tensors, and would count it in the gradient of the weight.
    """
    with torch.enable_grad():
        return [tensor.view_as(tensor) for tensor in tensors]


def gradients_by_operations(
    run: Run,
    terms: Sequence[Term],
    returned: Sequence[Term],
    tensors: Sequence[Tensor],
    upstream: Sequence[Tensor | None],
    sources: Sequence[Tensor],
) -> list[Tensor | None]:
    """Compute the gradients of `sources` by torch's operations, differentiable in grad mode.

    Args:
        run: The run; its tensors are not read.
        terms: The terms that the kernels received.
        returned: The terms that they returned, in front of the last states.
        tensors: The values of `terms`, then the first states, then the fresh ones if any.
        upstream: The gradients of the tensors that the kernels returned.
        sources: The tensors from which `tensors` were made.
    """
    further = torch.is_grad_enabled()
    graph = run.graph
    known = dict(zip(terms, tensors, strict=False))
    states = dict(zip(graph.states, tensors[len(known) :], strict=False))
    fresh = dict(zip(graph.states, tensors[len(known) + len(states) :], strict=False))
    # Held values that no term reads are not passed to the kernels; a placeholder will do.
    hold = {name: known.get(graph.values[name], value) for name, value in run.hold.items()}
    # Values that follow from weights only never went through the kernels, and are unknown here.
    names = [name for name in run.names if graph.values[name] in returned]
    run = replace(run, states=states, fresh=fresh or run.fresh, hold=hold, names=names)
    with torch.enable_grad():
        result = reference.run(run, known)
    by_term = {graph.output: result.output}
    by_term |= {graph.values[name]: value for name, value in result.values.items()}
    outputs = [*(by_term[term] for term in returned), *result.states.values()]
    pairs = zip(outputs, upstream, strict=True)
    reached = [(o, g.reshape(o.shape)) for o, g in pairs if o.requires_grad and g is not None]
    gradients = iter(
        torch.autograd.grad(
            [output for output, _ in reached],
            [tensor for tensor in sources if tensor.requires_grad],
            [gradient for _, gradient in reached],
            create_graph=further,
            allow_unused=True,
        )
    )
    return [next(gradients) if tensor.requires_grad else None for tensor in sources]
