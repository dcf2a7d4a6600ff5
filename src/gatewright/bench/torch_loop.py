"""The written loop in torch: the peer of cells for which no library has a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatewright.backends.operations import POINTWISE, product
from gatewright.exports.source import LoopSource


def _linear(source: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() == 2:
        return functional.linear(source, weight, bias)
    result = product(source, weight)
    return result if bias is None else result + bias


def _clamp(name: str) -> Callable[[Any, Any], Tensor]:
    """`maximum` or `minimum`, where either side may be a number."""
    of_tensors: Callable[[Tensor, Tensor], Tensor] = getattr(torch, name)
    key = "min" if name == "maximum" else "max"

    def function(a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return of_tensors(a, b)
        tensor, limit = (a, b) if isinstance(a, Tensor) else (b, a)
        result: Tensor = tensor.clamp(**{key: limit})
        return result

    return function


def _over_heads(reduce: Callable[[Tensor], Tensor], a: Tensor, heads: int | None) -> Tensor:
    """A reduction over the last axis, or over each head's part of it, spread over its units."""
    if heads is None:
        return reduce(a)
    parts = a.unflatten(-1, (heads, -1))
    return reduce(parts).expand_as(parts).flatten(-2)


def _row(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda a, heads=None: _over_heads(function, a, heads)


def _layer_norm(a: Tensor, heads: int | None = None, eps: float = 1e-5) -> Tensor:
    return _over_heads(lambda b: functional.layer_norm(b, b.shape[-1:], eps=eps), a, heads)


def _rms_norm(a: Tensor, heads: int | None = None, eps: float = 1e-5) -> Tensor:
    return _over_heads(lambda b: functional.rms_norm(b, b.shape[-1:], eps=eps), a, heads)


#: The functions that the written source calls, in torch.
TORCH: dict[str, Any] = {
    **POINTWISE,
    "inf": float("inf"),
    "nan": float("nan"),
    "linear": _linear,
    "split": lambda a, sizes: torch.split(a, sizes, -1),
    "expand": lambda a, size: torch.as_tensor(a).expand(*torch.as_tensor(a).shape[:-1], size),
    "maximum": _clamp("maximum"),
    "minimum": _clamp("minimum"),
    "softplus": functional.softplus,
    "square": torch.square,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "elu": functional.elu,
    "softsign": functional.softsign,
    "log_sigmoid": functional.logsigmoid,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_tanh": functional.hardtanh,
    "sum": _row(lambda a: a.sum(-1, keepdim=True)),
    "mean": _row(lambda a: a.mean(-1, keepdim=True)),
    "softmax": _row(lambda a: torch.softmax(a, -1)),
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}


class TorchLoop(nn.Module):
    """A written loop with weights of its own; one layer, one direction, `(T, B, size)`."""

    def __init__(self, source: LoopSource, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.before, self.step = source.functions(TORCH)
        self.stacks = nn.ParameterList(source.stacked(weights))
        self.weights = list(self.stacks)  # a plain list is read faster, at every step

    def forward(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor]
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The outputs, and the states after the last step."""
        w, step = self.weights, self.step
        timed, fixed = self.before(w, *inputs)
        outputs = []
        for values in zip(*(value.unbind(0) for value in timed), strict=True):
            output, states = step(w, fixed, *states, *values)
            outputs.append(output)
        return torch.stack(outputs), states
