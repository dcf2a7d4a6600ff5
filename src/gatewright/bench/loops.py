"""The written loop in torch: what runs where a cell has no built-in layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatewright.backends.operations import POINTWISE, product
from gatewright.export.source import Stack, Written


def _linear(source: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() == 2:
        return functional.linear(source, weight, bias)
    result = product(source, weight)
    return result if bias is None else result + bias


def _clamp(which: str) -> Callable[[Any, Any], Tensor]:
    """maximum and minimum, where either side may be a number."""
    both: Callable[[Tensor, Tensor], Tensor] = getattr(torch, which)
    key = "min" if which == "maximum" else "max"

    def function(a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return both(a, b)
        tensor, limit = (a, b) if isinstance(a, Tensor) else (b, a)
        found: Tensor = tensor.clamp(**{key: limit})
        return found

    return function


def over_heads(reduce: Callable[[Tensor], Tensor], a: Tensor, heads: int | None) -> Tensor:
    """A reduction over the last axis, or over that of each head, spread over its units."""
    if heads is None:
        return reduce(a)
    parts = a.unflatten(-1, (heads, -1))
    return reduce(parts).expand_as(parts).flatten(-2)


def _row(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda a, heads=None: over_heads(function, a, heads)


def _layer_norm(a: Tensor, heads: int | None = None, eps: float = 1e-5) -> Tensor:
    return over_heads(lambda one: functional.layer_norm(one, one.shape[-1:], eps=eps), a, heads)


def _rms_norm(a: Tensor, heads: int | None = None, eps: float = 1e-5) -> Tensor:
    return over_heads(lambda one: functional.rms_norm(one, one.shape[-1:], eps=eps), a, heads)


#: What the written source calls, in torch.
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


def functions(written: Written, namespace: Mapping[str, Any]) -> tuple[Any, Any]:
    """`before` and `step` of a written loop, as functions."""
    names = dict(namespace)
    exec(compile(written.source, "<written loop>", "exec"), names)  # our own text
    return names["before"], names["step"]


def stacked(stack: Stack, weights: Mapping[str, Tensor]) -> Tensor:
    """The tensor that a `w[k]` is."""
    like = next(iter(weights.values()))
    parts = [like.new_zeros(one) if isinstance(one, int) else weights[one] for one in stack]
    return parts[0].detach().clone() if len(parts) == 1 else torch.cat(parts).detach()


class Loop(nn.Module):
    """A written loop with weights of its own; one layer, one direction, `(T, B, size)`."""

    def __init__(self, written: Written, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.before, self.step = functions(written, TORCH)
        self.stacks = nn.ParameterList(stacked(one, weights) for one in written.weights)
        self.weights = list(self.stacks)  # a plain list is read faster, at every step

    def forward(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor]
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The outputs, and the states after the last step."""
        w, step = self.weights, self.step
        timed, fixed = self.before(w, *inputs)
        outputs = []
        for now in zip(*(one.unbind(0) for one in timed), strict=True):
            output, states = step(w, fixed, *states, *now)
            outputs.append(output)
        return torch.stack(outputs), states
