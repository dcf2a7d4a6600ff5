"""Any cell in JAX: its written loop as the body of a `lax.scan`, which JAX differentiates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from gatewright.exports.source import write_loop
from gatewright.graph import Graph


@dataclass(frozen=True, eq=False)
class Scan:
    """A cell over a sequence, as a function of JAX that is not compiled yet.

    Attributes:
        run: `run(weights, inputs, states)` to `(output, states)`: inputs and output `(T, B, size)`,
            states `(B, size)`, in the cell's order.
        weights: JAX arrays, several gates stacked in one where they read the same sources.
    """

    run: Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], tuple[Any, tuple[Any, ...]]]
    weights: list[Any]


def scan(graph: Graph, sizes: Mapping[str, int], weights: Mapping[str, Tensor]) -> Scan:
    """A cell as a scan.

    Args:
        sizes: The numbers of the letters, such as `{"input": 3, "hidden": 5}`.
        weights: By path, as in the cell's graph; they are copied.
    """
    from jax import lax
    from jax import numpy as jnp

    source = write_loop(graph, sizes)
    before, step = source.functions(_namespace())

    def run(
        w: Sequence[Any], inputs: Sequence[Any], states: Sequence[Any]
    ) -> tuple[Any, tuple[Any, ...]]:
        timed, fixed = before(w, *inputs)

        def body(carried: Any, values: Any) -> tuple[tuple[Any, ...], Any]:
            output, new_states = step(w, fixed, *carried, *values)
            return tuple(new_states), output

        last, output = lax.scan(body, tuple(states), tuple(timed))
        return output, last

    return Scan(run, [jnp.asarray(weight.numpy()) for weight in source.stacked(weights)])


def _namespace() -> dict[str, Any]:
    """The functions that the written source calls, in JAX."""
    import jax
    from jax import lax, nn
    from jax import numpy as jnp

    def linear(source: Any, weight: Any, bias: Any = None) -> Any:
        if weight.ndim == 2:
            result = source @ weight.T
        else:
            heads, rows, columns = weight.shape
            parts = source.reshape(*source.shape[:-1], heads, columns)
            result = jnp.einsum("...hi,hoi->...ho", parts, weight)
            result = result.reshape(*source.shape[:-1], heads * rows)
        return result if bias is None else result + bias

    def split(a: Any, sizes: Any) -> Any:
        return jnp.split(a, np.cumsum(sizes)[:-1], -1)

    def by_heads(function: Any) -> Any:
        """A function of the last axis that can be applied to each head's part of it."""

        def apply(a: Any, heads: int | None = None, **options: Any) -> Any:
            if heads is None:
                return function(a, **options)
            parts = a.reshape(*a.shape[:-1], heads, -1)
            return jnp.broadcast_to(function(parts, **options), parts.shape).reshape(a.shape)

        return apply

    def layer_norm(a: Any, eps: float = 1e-5) -> Any:
        centred = a - a.mean(-1, keepdims=True)
        return centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + eps)

    def rms_norm(a: Any, eps: float = 1e-5) -> Any:
        return a * lax.rsqrt((a * a).mean(-1, keepdims=True) + eps)

    same = "where maximum minimum tanh exp expm1 log log1p sqrt abs sign sin cos square"
    return {
        **{name: getattr(jnp, name) for name in same.split()},
        "inf": jnp.inf,
        "nan": jnp.nan,
        "linear": linear,
        "split": split,
        "expand": lambda a, size: jnp.broadcast_to(a, (*jnp.shape(a)[:-1], size)),
        "sigmoid": nn.sigmoid,
        "relu": nn.relu,
        "erf": jax.scipy.special.erf,
        "softplus": nn.softplus,
        "stop_gradient": lax.stop_gradient,
        "silu": nn.silu,
        "gelu": lambda a: nn.gelu(a, approximate=False),
        "elu": nn.elu,
        "softsign": nn.soft_sign,
        "log_sigmoid": nn.log_sigmoid,
        "hard_sigmoid": nn.hard_sigmoid,
        "hard_tanh": nn.hard_tanh,
        "sum": by_heads(lambda a: a.sum(-1, keepdims=True)),
        "mean": by_heads(lambda a: a.mean(-1, keepdims=True)),
        "softmax": by_heads(lambda a: nn.softmax(a, -1)),
        "layer_norm": by_heads(layer_norm),
        "rms_norm": by_heads(rms_norm),
    }
