"""The activation functions of imported layers: one table from ONNX's names to our functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gatewright.errors import ArgumentError
from gatewright.language.functions import (
    elu,
    exp,
    expm1,
    gelu,
    hard_tanh,
    log_sigmoid,
    maximum,
    minimum,
    relu,
    sigmoid,
    silu,
    softplus,
    softsign,
    tanh,
    where,
)


def affine(a: Any, alpha: float, beta: float) -> Any:
    """alpha * a + beta."""
    scaled = a if alpha == 1 else alpha * a
    return scaled if beta == 0 else scaled + beta


def leaky_relu(a: Any, alpha: float = 0.01) -> Any:
    """a where it is positive, alpha * a elsewhere."""
    return where(a > 0, a, alpha * a)


def thresholded_relu(a: Any, alpha: float) -> Any:
    """a where it is above alpha, 0 elsewhere."""
    return where(a > alpha, a, 0.0)


def scaled_tanh(a: Any, alpha: float, beta: float) -> Any:
    """alpha * tanh(beta * a)."""
    return alpha * tanh(beta * a)


def hard_sigmoid(a: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """alpha * a + beta, clipped to [0, 1]."""
    return maximum(minimum(affine(a, alpha, beta), 1.0), 0.0)


def scaled_elu(a: Any, alpha: float = 1.0) -> Any:
    """a where it is positive, alpha * (exp(a) - 1) elsewhere."""
    # Of the smaller value, since exp of a large one is infinite and its gradient NaN.
    return elu(a) if alpha == 1 else relu(a) + alpha * expm1(minimum(a, 0.0))


#: By ONNX's name. A function's further arguments are ONNX's alpha and beta, with its defaults where
#: ONNX Runtime has the same: of a ThresholdedRelu without alpha, for one, it has 0 in place of 1.
FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "Affine": affine,
        "Elu": scaled_elu,
        "HardSigmoid": hard_sigmoid,
        "LeakyRelu": leaky_relu,
        "Relu": relu,
        "ScaledTanh": scaled_tanh,
        "Sigmoid": sigmoid,
        "Softplus": softplus,
        "Softsign": softsign,
        "Tanh": tanh,
        "ThresholdedRelu": thresholded_relu,
        # Not in ONNX's recurrent nodes, but in Keras.
        "Exp": exp,
        "Gelu": gelu,
        "HardTanh": hard_tanh,
        "LogSigmoid": log_sigmoid,
        "Swish": silu,
    }
)


@dataclass(frozen=True, repr=False)
class Activation:
    """A function of `FUNCTIONS` with its numbers, to call on the values of a step.

    >>> Activation("LeakyRelu", (0.3,))
    LeakyRelu(0.3)
    """

    name: str
    numbers: tuple[float, ...] = ()

    def __call__(self, value: Any) -> Any:
        return FUNCTIONS[self.name](value, *self.numbers)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.numbers))})" if self.numbers else self.name


def with_numbers(name: str, numbers: Mapping[str, list[float]]) -> Activation:
    """The activation of a name, with the first alpha and beta that it takes from the lists.

    >>> lists = {"alpha": [0.3, 2.0], "beta": [0.5]}
    >>> [with_numbers(name, lists) for name in ("LeakyRelu", "Tanh", "ScaledTanh", "Elu")]
    [LeakyRelu(0.3), Tanh, ScaledTanh(2.0, 0.5), Elu(1.0)]

    Raises:
        ArgumentError: if a number is missing that has no default.
    """
    stated = []
    for key, parameter in inspect.signature(FUNCTIONS[name]).parameters.items():
        if key in numbers:
            number = numbers[key].pop(0) if numbers[key] else parameter.default
            if number is parameter.empty:
                raise ArgumentError(
                    f"the activation {name} has no activation_{key}, for which runtimes have "
                    "other defaults than ONNX; write the number into the node"
                )
            stated.append(number)
    return Activation(name, tuple(stated))


SIGMOID, TANH = Activation("Sigmoid"), Activation("Tanh")
