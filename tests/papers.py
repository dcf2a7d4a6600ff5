"""Compare a layer with a plain loop over one step, written from a paper with explicit matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import gatewright as gw
from tolerances import close, gradients

F64 = torch.float64
STEPS, ROWS = 5, 3

Weights = dict[str, Tensor]
States = tuple[Tensor, ...]
#: A step: from the weights, the event, the states and, by keyword, all else that it reads, to the
#: states after it. The output is the first of them, or comes before them.
Step = Callable[..., States]


def read(w: Weights, name: str, **sources: Tensor) -> Tensor:
    """The sum of a matrix times each source, and the bias."""
    total = sum(one @ w[f"{name}.{key}.weight"].T for key, one in sources.items())
    biases = [w[f"{name}.{key}.bias"] for key in sources if f"{name}.{key}.bias" in w]
    assert isinstance(total, Tensor)
    return total + biases[0] if biases else total


def randomised(layer: gw.Recurrent, seed: int = 0) -> gw.Recurrent:
    """Give every weight of a layer its own random number."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype) * 0.5
            )
    return layer


def own_weights(layer: gw.Recurrent) -> Weights:
    """The layer's parameters by the names under which they are stored."""
    return {name.removeprefix("layers.0_forward."): one for name, one in layer.named_parameters()}


def held_to_paper(
    layer: gw.Recurrent,
    step: Step,
    inputs: dict[str, Tensor],
    start: list[Tensor],
    drawn: dict[str, Tensor] | None = None,
    seed: int = 0,
) -> None:
    """Outputs, final states and every gradient are those of the plain step in a loop.

    The step gets the weights that are learned.

    Args:
        given: The event and the further inputs, `(T, B, size)`.
        start: The states, `(1, B, size)`.
        drawn: The noises that the layer draws from torch's generator at `seed`, `(T, B, size)`.
    """
    event, *further = inputs
    loose = {name: inputs[name] for name in further} | (drawn or {})
    weights = {name: one for name, one in own_weights(layer).items() if one.requires_grad}
    for leaf in (*inputs.values(), *start):
        leaf.requires_grad_()

    states, outputs = tuple(one[0] for one in start), []
    for t, x in enumerate(inputs[event]):
        results = step(weights, x, *states, **{name: one[t] for name, one in loose.items()})
        outputs.append(results[0])
        states = results[-len(start) :]
    expected = (torch.stack(outputs), tuple(one.unsqueeze(0) for one in states))

    torch.manual_seed(seed)
    hx = start[0] if len(start) == 1 else tuple(start)
    output, after = layer(inputs[event], hx, **{name: inputs[name] for name in further})
    actual = (output, after if isinstance(after, tuple) else (after,))
    what = layer.graph.equations.name
    close(actual, expected, what)
    leaves = [*weights.values(), *inputs.values(), *start]
    for name, gradient, expected_gradient in zip(
        [*weights, *inputs, *layer.graph.states],
        gradients(actual, leaves),
        gradients(expected, leaves),
        strict=True,
    ):
        assert expected_gradient.abs().sum() > 0, f"{name} has no part in {what}"
        close(gradient, expected_gradient, f"{what}: the gradient of {name}")
