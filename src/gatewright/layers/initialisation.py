"""Starts of the weights, beyond torch's own: `gw.init.orthogonal_(layer)` and its sisters.

Each changes a layer in place and returns it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from gatewright.errors import ArgumentError
from gatewright.layers.pairs import ProductWeights
from gatewright.layers.recurrent import Recurrent

#: Products that keep the memory, and those that let new values in, where a cell has them.
KEEPS, ADMITS = ("f", "z"), ("i",)


def orthogonal_(layer: Recurrent, gain: float = 1.0) -> Recurrent:
    """Start every hidden-to-hidden matrix as an orthogonal one, gate by gate.

    Source: Saxe, McClelland and Ganguli 2014, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", section 3.

    >>> import gatewright as gw
    >>> _ = gw.init.orthogonal_(gw.LSTM(3, 4))
    """
    for product, _, _ in _places(layer, layer.products):
        for source, (weight, _) in product.items():
            if source in layer.graph.states and weight.dim() > 1:
                # A matrix with heads has a block for each.
                for block in weight if weight.dim() == 3 else (weight,):
                    nn.init.orthogonal_(block, gain)
    return layer


def forget_bias_(layer: Recurrent, value: float = 1.0, product: str | None = None) -> Recurrent:
    """Start the bias of the gate that keeps the memory at `value`, so that it starts open.

    Where the gate has two biases, as in torch's layers, the second becomes 0.
    Source: Gers, Schmidhuber and Cummins 2000; Jozefowicz et al. 2015, section 3.3.

    Args:
        product: The gate's product; "f", or "z" where there is no "f".

    >>> import gatewright as gw
    >>> _ = gw.init.forget_bias_(gw.LSTM(3, 4), 2.0)
    """
    for weights, _, _ in _places(layer, [product or _find(layer, KEEPS, "product")]):
        _set_bias(weights, torch.tensor(float(value)))
    return layer


def chrono_(
    layer: Recurrent, t_max: int, *, keeps: str | None = None, admits: str | None = None
) -> Recurrent:
    """Start the memory's gates for dependencies of up to `t_max` steps.

    The bias of the gate that keeps is log U(1, t_max - 1), drawn for each unit, and that
    of the gate that admits its negative.
    Source: Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", eq. 16.

    Args:
        keeps: The product that keeps the memory; "f", or "z" where there is no "f".
        admits: The product that admits new values; "i" where there is one.

    >>> import gatewright as gw
    >>> _ = gw.init.chrono_(gw.LSTM(3, 4), t_max=100)
    """
    if not isinstance(t_max, int) or t_max < 3:
        raise ArgumentError(f"t_max={t_max!r}; expected a number of steps from 3")
    keep = keeps or _find(layer, KEEPS, "keeps")
    admit = admits or next((name for name in ADMITS if name in layer.products), None)
    for weights, index, reverse in _places(layer, [keep]):
        first = next(iter(weights.values()))[0]
        units = first.shape[0] if first.dim() < 3 else first.shape[0] * first.shape[1]
        bias = torch.empty(units).uniform_(1.0, float(t_max - 1)).log()
        _set_bias(weights, bias)
        if admit is not None:
            _set_bias(layer.weights(admit, index, reverse), -bias)
    return layer


def _places(layer: Recurrent, products: object) -> Iterator[tuple[ProductWeights, int, bool]]:
    for index in range(layer.num_layers):
        for reverse in (False, True)[: layer.directions]:
            for name in products:  # type: ignore[attr-defined]
                yield layer.weights(name, index, reverse), index, reverse


def _find(layer: Recurrent, names: tuple[str, ...], argument: str) -> str:
    found = next((name for name in names if name in layer.products), None)
    if found is None:
        raise ArgumentError(
            f"the cell has no product {' or '.join(names)}; "
            f"name one of {list(layer.products)} with {argument}="
        )
    return found


def _set_bias(weights: ProductWeights, value: torch.Tensor) -> None:
    biases = [bias for _, bias in weights.values() if bias is not None]
    if not biases:
        raise ArgumentError(f"{weights!r} has no bias; build the layer with bias=True")
    for position, bias in enumerate(biases):
        bias.copy_(value if position == 0 else torch.zeros(()))
