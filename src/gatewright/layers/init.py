"""Initial values of weights beyond torch's own, such as `gw.init.orthogonal_(layer)`.

Each function changes a layer in place and returns it. Frozen weights stay as they are.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from gatewright.errors import ArgumentError
from gatewright.graph.memory_gates import additive_path
from gatewright.layers.init_gates import (
    check_layer,
    chrono_,
    forget_bias_,
    layer_memory_gates,
    set_bias,
    time_constants_,
)
from gatewright.layers.recurrent import Recurrent

__all__ = [
    "chrono_",
    "forget_bias_",
    "horizon_",
    "horizon_limit",
    "identity_",
    "orthogonal_",
    "time_constants_",
]


def orthogonal_(layer: Recurrent, gain: float = 1.0) -> Recurrent:
    """Make every hidden-to-hidden matrix orthogonal, gate by gate.

    Source: Saxe, McClelland and Ganguli 2014, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", section 3.

    >>> import gatewright as gw
    >>> _ = gw.init.orthogonal_(gw.LSTM(3, 4))
    """
    for name in check_layer(layer).products:
        for place in layer.places:
            product = layer.weights(name, *place)
            if product.frozen:
                continue
            for source, (weight, _) in product.items():
                frozen = source in product.frozen_sources
                if source in layer.graph.states and weight.dim() > 1 and not frozen:
                    start = torch.empty_like(weight)
                    # A matrix with heads has a block for each.
                    for block in start if start.dim() == 3 else (start,):
                        nn.init.orthogonal_(block, gain)
                    product[source] = (start, None)
    return layer


def identity_(layer: Recurrent, scale: float = 1.0) -> Recurrent:
    """Make every hidden-to-hidden matrix the identity, and its biases 0.

    With `nonlinearity="relu"` this is the IRNN, whose state stays as it is without input. A
    state that reads itself through a vector (`ind_rnn`) gets ones.
    Source: Le, Jaitly and Hinton 2015, "A simple way to initialize recurrent networks of
    rectified linear units", section 3.

    >>> import gatewright as gw
    >>> _ = gw.init.identity_(gw.RNN(3, 4, nonlinearity="relu"))
    """
    states = check_layer(layer).graph.states
    for name in layer.products:
        for place in layer.places:
            product = layer.weights(name, *place)
            if product.frozen:
                continue
            square = [
                source
                for source, (weight, _) in product.items()
                if source in states and weight.dim() == 2 and weight.shape[0] == weight.shape[1]
                if source not in product.frozen_sources
            ]
            for source in square:
                weight, bias = product[source]
                product[source] = (scale * torch.eye(len(weight)).to(weight), bias)
            if name in states and (own := f"{name}*") in product.keys() - product.frozen_sources:
                vector, bias = product[own]
                product[own] = (torch.full_like(vector, scale), bias)
                square.append(own)
            if square and any(bias is not None for _, bias in product.values()):
                set_bias(layer, (name,), place, torch.zeros(()))
    return layer


def horizon_(layer: Recurrent, steps: int) -> Recurrent:
    """Initialise a layer for a memory of up to `steps` steps, as far as its cell allows.

    - A cell whose gates or leaks keep the memory: `chrono_`.
    - A cell without them: `identity_` for rectified units, `orthogonal_` for others. These keep
      what they can through their matrix, but not for as long as `steps`.
    - A cell that carries its memory over by constants (`scrn`, `cornn`, `antisymmetric_rnn`,
      `lstm_nfg`): no weight decides for how long, and the layer stays as it is.

    `gw.probes.gradient_horizon` measures the result.

    Raises:
        ArgumentError: where `steps` is no number of steps, or the gate has no bias.

    Warns:
        UserWarning: where the cell cannot be initialised for as many steps (`horizon_limit`).

    >>> import gatewright as gw
    >>> _ = gw.init.horizon_(gw.GRU(3, 4), 100)
    """
    if not isinstance(steps, int) or steps < 1:
        raise ArgumentError(f"steps={steps!r}; expected a number of steps from 1")
    if layer_memory_gates(check_layer(layer)):
        return chrono_(layer, max(steps, 3))
    if (limit := horizon_limit(layer)) is not None:
        warnings.warn(limit, stacklevel=2)
    if carried(layer):
        return layer
    return identity_(layer) if rectified(layer) else orthogonal_(layer)


def horizon_limit(layer: Recurrent) -> str | None:
    """The reason why `horizon_` cannot initialise a layer for many steps, or None if it can.

    >>> import gatewright as gw
    >>> print(horizon_limit(gw.LSTM(3, 4)))
    None
    """
    name = check_layer(layer).graph.equations.name
    if layer_memory_gates(layer):
        return None
    if states := carried(layer):
        return (
            f"{name} carries {' and '.join(states)} over by constants, and no weight decides for "
            "how long: it stays as it is. Give the cell other constants, or take a cell whose "
            "gate keeps its state (lstm, gru)"
        )
    if rectified(layer):
        return None
    return (
        f"no gate of {name} keeps its state: with orthogonal matrices it keeps what it can, but "
        "not for as long as asked. Take a cell whose gate keeps its state (lstm, gru)"
    )


def carried(layer: Recurrent) -> list[str]:
    """The states of which a part is carried over to the next step unchanged."""
    return [state for state in layer.graph.states if len(additive_path(layer.graph, state)) > 1]


def rectified(layer: Recurrent) -> bool:
    """Tell if a cell has rectified units."""
    return any(term.op == "relu" for term in layer.graph.forward)
