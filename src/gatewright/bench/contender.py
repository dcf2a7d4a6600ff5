"""A contender: something that computes a case, to be verified and then timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewright.bench.cases import Case, listed
from gatewright.errors import BackendError

#: How far two may be apart, relative by norm, in float32.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Contender:
    """What is timed, and what it finds.

    Attributes:
        run: One forward run, or one training step: all gradients, and no update.
        values: What such a run computes: the output, the states after it, and in training
            the gradients of inputs and first states, and the norm of those of all matrices,
            however they are stacked.
    """

    run: Callable[[], Any]
    values: Callable[[], Mapping[str, Any]]


#: (inputs, states) to (output, states).
Forward = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, Any]]


def of_torch(case: Case, module: nn.Module, forward: Forward) -> Contender:
    """A contender that is a module of torch."""
    inputs, states = list(case.inputs.values()), list(case.states.values())
    asking = [*inputs, *states, *module.parameters()]

    def infer() -> tuple[Tensor, Any]:
        with torch.no_grad():
            return forward(inputs, states)

    def train() -> tuple[Tensor, Any]:
        for one in asking:
            one.grad = None
        output, after = forward(inputs, states)
        output.backward(case.gradient)
        return output, after

    run = train if case.training else infer

    def values() -> dict[str, Any]:
        output, after = run()
        found: dict[str, Any] = {"output": output.detach().cpu().numpy()}
        for name, one in zip(case.states, listed(after), strict=True):
            found[f"state {name}"] = one.detach().reshape(case.states[name].shape).cpu().numpy()
        if case.training:
            for name, one in {**case.inputs, **case.states}.items():
                found[f"gradient of {name}"] = _gradient(one).cpu().numpy()
            squares = [_gradient(one).square().sum() for one in matrices(module)]
            found["gradients of matrices"] = np.sqrt(sum(float(one) for one in squares))
        return found

    return Contender(run, values)


def _gradient(one: Tensor) -> Tensor:
    return torch.zeros_like(one) if one.grad is None else one.grad


def matrices(module: nn.Module) -> list[Tensor]:
    """The weights that are matrices, which stacking only rearranges."""
    return [one for one in module.parameters() if one.dim() > 1]


def ours(case: Case) -> Contender:
    """Our layer."""
    return of_layer(case, case.layer)


def of_layer(case: Case, layer: nn.Module) -> Contender:
    """A layer that is called as ours are."""
    further = list(case.inputs)[1:]
    several = len(case.states) > 1

    def forward(inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Any]:
        hx = tuple(states) if several else states[0]
        output, after = layer(inputs[0], hx, **dict(zip(further, inputs[1:], strict=True)))
        return output, after

    return of_torch(case, layer, forward)


def verify(case: Case, one: Contender, other: Contender, name: str) -> None:
    """Refuse a pair that does not compute the same.

    Raises:
        BackendError: naming the value and how far apart the two are.
    """
    expected, found = one.values(), other.values()
    for key, value in expected.items():
        if key not in found:
            raise BackendError(f"{name} gives no {key}")
        theirs = np.asarray(found[key], np.float64)
        mine = np.asarray(value, np.float64)
        if theirs.shape != mine.shape:
            raise BackendError(f"{name} gives {key} as {theirs.shape}, not {mine.shape}")
        error = float(np.linalg.norm(theirs - mine)) / max(float(np.linalg.norm(mine)), 1e-30)
        if not error < TOLERANCE:
            raise BackendError(
                f"{name} computes something else than {case.name} at {case.size}: "
                f"{key} is {error:.2g} away, relative by norm; {TOLERANCE} is allowed"
            )
