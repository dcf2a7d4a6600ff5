"""The written loop in JAX: a jitted `lax.scan`, its gradients by JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewright.bench.cases import Case
from gatewright.bench.contender import Contender
from gatewright.bench.loops import functions, stacked
from gatewright.export.source import write


def contender(case: Case) -> Contender:
    """The case in JAX, compiled."""
    import jax
    from jax import numpy as jnp

    layer = case.layer
    written = write(layer.graph, layer.sizes(0))
    before, step = functions(written, _namespace())
    w = [jnp.asarray(stacked(one, case.weights).numpy()) for one in written.weights]
    inputs = [jnp.asarray(one.detach().numpy()) for one in case.inputs.values()]
    states = [jnp.asarray(one.detach().numpy()[0]) for one in case.states.values()]
    gradient = jnp.asarray(case.gradient.numpy())

    def forward(w: Any, inputs: Any, states: Any) -> Any:
        timed, fixed = before(w, *inputs)

        def body(carried: Any, now: Any) -> Any:
            output, after = step(w, fixed, *carried, *now)
            return tuple(after), output

        after, output = jax.lax.scan(body, tuple(states), tuple(timed))
        return output, after

    def train(w: Any, inputs: Any, states: Any, gradient: Any) -> Any:
        output, back, after = jax.vjp(forward, w, inputs, states, has_aux=True)
        return output, after, back(gradient)

    compiled_forward, compiled_train = jax.jit(forward), jax.jit(train)

    def run() -> Any:
        if case.training:
            return jax.block_until_ready(compiled_train(w, inputs, states, gradient))
        return jax.block_until_ready(compiled_forward(w, inputs, states))

    def values() -> dict[str, Any]:
        output, after, *gradients = run()
        found: dict[str, Any] = {"output": np.asarray(output)}
        for name, one in zip(case.states, after, strict=True):
            found[f"state {name}"] = np.asarray(one)[None]
        if case.training:
            of_w, of_inputs, of_states = gradients[0]
            for name, one in zip(case.inputs, of_inputs, strict=True):
                found[f"gradient of {name}"] = np.asarray(one)
            for name, one in zip(case.states, of_states, strict=True):
                found[f"gradient of {name}"] = np.asarray(one)[None]
            squares = [float((np.asarray(one) ** 2).sum()) for one in of_w if one.ndim > 1]
            found["gradients of matrices"] = np.sqrt(sum(squares))
        return found

    return Contender(run, values)


def _namespace() -> dict[str, Any]:
    """What the written source calls, in JAX."""
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

    def row(function: Any) -> Any:
        def over(a: Any, heads: int | None = None, **how: Any) -> Any:
            if heads is None:
                return function(a, **how)
            parts = a.reshape(*a.shape[:-1], heads, -1)
            return jnp.broadcast_to(function(parts, **how), parts.shape).reshape(a.shape)

        return over

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
        "sum": row(lambda a: a.sum(-1, keepdims=True)),
        "mean": row(lambda a: a.mean(-1, keepdims=True)),
        "softmax": row(lambda a: nn.softmax(a, -1)),
        "layer_norm": row(layer_norm),
        "rms_norm": row(rms_norm),
    }
