"""A contender: something that computes a case, to be verified and then timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewright.bench.cases import Case, state_list
from gatewright.errors import BackendError

#: The largest difference of two contenders, relative by norm. In bfloat16 a number has three
#: digits, and torch rounds more of them than the kernels do.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Contender:
    """A run that is timed, and its results, which are verified first.

    Attributes:
        run: One forward run, or one training step: all gradients, and no update.
        values: The results of such a run: the output, the states after it, and in training
            the gradients of inputs and first states, and one norm of the gradients of all
            matrices, which does not depend on how they are stacked.
    """

    run: Callable[[], Any]
    values: Callable[[], Mapping[str, Any]]


#: (inputs, states) to (output, states).
Forward = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, Any]]


def of_torch(case: Case, module: nn.Module, forward: Forward) -> Contender:
    """A contender that is a module of torch."""
    inputs, states = list(case.inputs.values()), list(case.states.values())
    leaves = [*inputs, *states, *module.parameters()]

    def infer() -> tuple[Tensor, Any]:
        with torch.no_grad():
            return forward(inputs, states)

    def train() -> tuple[Tensor, Any]:
        for leaf in leaves:
            leaf.grad = None
        output, last = forward(inputs, states)
        output.backward(case.gradient)
        return output, last

    run = train if case.training else infer

    def values() -> dict[str, Any]:
        output, last = run()
        results: dict[str, Any] = {"output": _numbers(output)}
        for name, state in zip(case.states, state_list(last), strict=True):
            shape = case.states[name].shape
            results[f"state {name}"] = _numbers(state.reshape(shape))
        if case.training:
            for name, leaf in {**case.inputs, **case.states}.items():
                results[f"gradient of {name}"] = _numbers(_gradient(leaf))
            squares = [_gradient(matrix).float().square().sum() for matrix in matrices(module)]
            results["gradients of matrices"] = np.sqrt(sum(float(square) for square in squares))
        return results

    return Contender(run, values)


def _numbers(tensor: Tensor) -> Any:
    """A tensor's numbers in float32, as NumPy has no bfloat16."""
    return tensor.detach().float().cpu().numpy()


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def matrices(module: nn.Module) -> list[Tensor]:
    """The weights that are matrices: their norm stays the same however they are stacked."""
    return [weight for weight in module.parameters() if weight.dim() > 1]


def ours(case: Case) -> Contender:
    """Our layer."""
    return of_layer(case, case.layer)


def of_layer(case: Case, layer: nn.Module) -> Contender:
    """A layer that is called as ours are."""
    further = list(case.inputs)[1:]
    several = len(case.states) > 1

    def forward(inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Any]:
        hx = tuple(states) if several else states[0]
        output, last = layer(inputs[0], hx, **dict(zip(further, inputs[1:], strict=True)))
        return output, last

    return of_torch(case, layer, forward)


def verify(
    case: Case, layer: Contender, peer: Contender, name: str, tolerance: float | None = None
) -> float:
    """Return the largest difference of a peer's results, relative by norm; refuse a large one.

    Args:
        tolerance: The largest that is allowed; by default that of the layer's number type.

    Raises:
        BackendError: with the value that differs and its error.
    """
    expected, results = layer.values(), peer.values()
    tolerance = tolerance or TOLERANCES[case.gradient.dtype]
    largest = 0.0
    for key, value in expected.items():
        if key not in results:
            raise BackendError(f"{name} gives no {key}")
        result, truth = (np.asarray(v, np.float64) for v in (results[key], value))
        if result.shape != truth.shape:
            raise BackendError(f"{name} gives {key} as {result.shape}, not {truth.shape}")
        error = float(np.linalg.norm(result - truth)) / max(float(np.linalg.norm(truth)), 1e-30)
        if not error < tolerance:
            raise BackendError(
                f"{name} computes something else than {case.name} at {case.size}: "
                f"{key} is {error:.2g} away, relative by norm; {tolerance} is allowed"
            )
        largest = max(largest, error)
    return largest
