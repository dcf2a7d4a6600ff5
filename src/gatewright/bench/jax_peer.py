"""A case in JAX: the cell's scan, jitted, with its gradients by `jax.vjp`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gatewright.bench.cases import Case
from gatewright.bench.contender import Contender
from gatewright.exports.jax import scan


def in_jax(case: Case) -> Contender:
    """A case as JAX runs it, compiled at its first run."""
    layer = case.layer
    forward = scan(layer.graph, layer.sizes(0), case.weights)
    return of_jax(case, forward.run, forward.weights)


def of_jax(case: Case, forward: Callable[[Any, Any, Any], Any], w: Any) -> Contender:
    """A contender that is a function of JAX.

    Args:
        forward: `forward(w, inputs, states)` to `(output, states)`: inputs and output
            `(T, B, size)`, states `(B, size)`.
        w: The weights, JAX arrays in any nest of lists and dictionaries.
    """
    import jax
    from jax import numpy as jnp

    inputs = [jnp.asarray(x.detach().numpy()) for x in case.inputs.values()]
    states = [jnp.asarray(s.detach().numpy()[0]) for s in case.states.values()]
    gradient = jnp.asarray(case.gradient.numpy())

    def train(w: Any, inputs: Any, states: Any, gradient: Any) -> Any:
        output, backward, last = jax.vjp(forward, w, inputs, states, has_aux=True)
        return output, last, backward(gradient)

    compiled_forward, compiled_train = jax.jit(forward), jax.jit(train)

    def run() -> Any:
        # JAX returns before it has computed; the timing must wait for the values.
        if case.training:
            return jax.block_until_ready(compiled_train(w, inputs, states, gradient))
        return jax.block_until_ready(compiled_forward(w, inputs, states))

    def values() -> dict[str, Any]:
        output, last, *gradients = run()
        results: dict[str, Any] = {"output": np.asarray(output)}
        for name, state in zip(case.states, last, strict=True):
            results[f"state {name}"] = np.asarray(state)[None]
        if case.training:
            of_w, of_inputs, of_states = gradients[0]
            for name, value in zip(case.inputs, of_inputs, strict=True):
                results[f"gradient of {name}"] = np.asarray(value)
            for name, value in zip(case.states, of_states, strict=True):
                results[f"gradient of {name}"] = np.asarray(value)[None]
            squares = [
                float((np.asarray(g) ** 2).sum()) for g in jax.tree.leaves(of_w) if g.ndim > 1
            ]
            results["gradients of matrices"] = np.sqrt(sum(squares))
        return results

    return Contender(run, values)
