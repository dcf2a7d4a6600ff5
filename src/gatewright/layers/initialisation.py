"""Starts of the weights, beyond torch's own: `gw.init.orthogonal_(layer)` and its sisters.

Each changes a layer in place and returns it.
"""

from __future__ import annotations

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
    for name in _checked(layer).products:
        for place in layer.places:
            product = layer.weights(name, *place)
            for source, (weight, _) in product.items():
                if source in layer.graph.states and weight.dim() > 1:
                    start = torch.empty_like(weight)
                    # A matrix with heads has a block for each.
                    for block in start if start.dim() == 3 else (start,):
                        nn.init.orthogonal_(block, gain)
                    product[source] = (start, None)
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
    name = product or _find(_checked(layer), KEEPS, "product")
    for place in layer.places:
        _set_bias(layer.weights(name, *place), torch.tensor(float(value)))
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
    keep = keeps or _find(_checked(layer), KEEPS, "keeps")
    admit = admits or next((name for name in ADMITS if name in layer.products), None)
    for place in layer.places:
        product = layer.weights(keep, *place)
        first = _biases(product)[0][2]
        # Drawn in float32: half precision has too few numbers near t_max.
        drawn = torch.empty(first.shape, device=first.device).uniform_(1.0, float(t_max - 1)).log()
        _set_bias(product, drawn)
        if admit is not None:
            _set_bias(layer.weights(admit, *place), -drawn)
    return layer


def _checked(layer: Recurrent) -> Recurrent:
    if not isinstance(layer, Recurrent):
        raise ArgumentError(f"layer is a {type(layer).__name__}; give a gatewright layer")
    return layer


def _find(layer: Recurrent, names: tuple[str, ...], argument: str) -> str:
    found = next((name for name in names if name in layer.products), None)
    if found is None:
        raise ArgumentError(
            f"the cell has no product {' or '.join(names)}; "
            f"name one of {list(layer.products)} with {argument}="
        )
    return found


def _biases(product: ProductWeights) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """(source, weight, bias) of each source that has a bias."""
    found = [(key, weight, bias) for key, (weight, bias) in product.items() if bias is not None]
    if not found:
        raise ArgumentError(f"{product!r} has no bias; build the layer with bias=True")
    return found


def _set_bias(product: ProductWeights, value: torch.Tensor) -> None:
    """The value at the first bias, 0 at a second one, since they add up."""
    for position, (source, weight, bias) in enumerate(_biases(product)):
        start = value if position == 0 else torch.zeros(())
        product[source] = (weight, start.expand_as(bias))
