"""Starts of the weights, beyond torch's own: `gw.init.orthogonal_(layer)` and its sisters.

Each changes a layer in place and returns it.
"""

from __future__ import annotations

import torch
from torch import nn

from gatewright.errors import ArgumentError
from gatewright.graph.keepers import keepers
from gatewright.layers.pairs import ProductWeights
from gatewright.layers.recurrent import Recurrent

#: Products that keep the memory where the equations do not show it, and that let values in.
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
        product: The gate's product; the one that the cell's own equations keep a state with,
            else "f" or "z". A gate that keeps when it is shut starts at -value.

    >>> import gatewright as gw
    >>> _ = gw.init.forget_bias_(gw.LSTM(3, 4), 2.0)
    """
    name, sign = _keeper(_checked(layer), product, "product")
    for place in layer.places:
        _set_bias(layer.weights(name, *place), torch.tensor(sign * float(value)))
    return layer


def chrono_(
    layer: Recurrent, t_max: int, *, keeps: str | None = None, admits: str | None = None
) -> Recurrent:
    """Start the memory's gates for dependencies of up to `t_max` steps.

    The bias of the gate that keeps is log U(1, t_max - 1), drawn for each unit, and that
    of the gate that admits its negative.
    Source: Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", eq. 16.

    Args:
        keeps: The product that keeps the memory; the one that the cell's own equations keep a
            state with, else "f" or "z". A gate that keeps when it is shut gets the negative.
        admits: The product that admits new values; "i" where there is one.

    >>> import gatewright as gw
    >>> _ = gw.init.chrono_(gw.LSTM(3, 4), t_max=100)
    """
    if not isinstance(t_max, int) or t_max < 3:
        raise ArgumentError(f"t_max={t_max!r}; expected a number of steps from 3")
    keep, sign = _keeper(_checked(layer), keeps, "keeps")
    admit = admits or next((name for name in ADMITS if name in layer.products), None)
    admit = None if admit == keep else admit
    for place in layer.places:
        product = layer.weights(keep, *place)
        first = _biases(product)[0][2]
        # Drawn in float32: half precision has too few numbers near t_max.
        drawn = torch.empty(first.shape, device=first.device).uniform_(1.0, float(t_max - 1)).log()
        _set_bias(product, sign * drawn)
        if admit is not None:
            _set_bias(layer.weights(admit, *place), -drawn)
    return layer


def time_constants_(
    layer: Recurrent, steps: float | torch.Tensor, *, product: str | None = None
) -> Recurrent:
    """Start the gate that keeps so that, without input, 1/e of a memory is left after `steps`.

    The factor is exp(-1 / steps), so the bias is -log(exp(1 / steps) - 1).
    Source: the leaky memory of Tallec and Ollivier 2018, section 2; for one time a unit.

    Args:
        steps: A number, or one for each unit, `(H,)`; above 0.
        product: The gate's product, as in `forget_bias_`.

    >>> import gatewright as gw, torch
    >>> _ = gw.init.time_constants_(gw.LSTM(3, 4), torch.tensor([2.0, 5.0, 20.0, 100.0]))
    """
    times = torch.as_tensor(steps, dtype=torch.float32)
    if not bool((times > 0).all()):
        raise ArgumentError(f"steps={steps}; expected numbers above 0")
    name, sign = _keeper(_checked(layer), product, "product")
    bias = -sign * torch.expm1(1.0 / times).log()
    for place in layer.places:
        gate = layer.weights(name, *place)
        shape = _biases(gate)[0][2].shape
        if bias.dim() and bias.shape != shape:
            raise ArgumentError(
                f"steps has shape {tuple(bias.shape)}; expected {tuple(shape)}, one for each unit"
            )
        _set_bias(gate, bias)
    return layer


def identity_(layer: Recurrent, scale: float = 1.0) -> Recurrent:
    """Start every hidden-to-hidden matrix as the identity, and its biases at 0.

    With `nonlinearity="relu"` it is the IRNN, whose state stays as it is without input.
    Source: Le, Jaitly and Hinton 2015, "A simple way to initialize recurrent networks of
    rectified linear units", section 3.

    >>> import gatewright as gw
    >>> _ = gw.init.identity_(gw.RNN(3, 4, nonlinearity="relu"))
    """
    for name in _checked(layer).products:
        for place in layer.places:
            product = layer.weights(name, *place)
            square = [
                source
                for source, (weight, _) in product.items()
                if source in layer.graph.states
                and weight.dim() == 2
                and weight.shape[0] == weight.shape[1]
            ]
            for source in square:
                weight, bias = product[source]
                product[source] = (scale * torch.eye(len(weight)).to(weight), bias)
            if square and any(bias is not None for _, bias in product.values()):
                _set_bias(product, torch.zeros(()))
    return layer


def horizon_(layer: Recurrent, steps: int) -> Recurrent:
    """Start a layer for a memory of up to `steps` steps, in the way that its cell allows.

    Where a gate keeps the memory, `chrono_`. Where none does, nothing can be carried on as
    it is: `identity_` for one network of rectified units, `orthogonal_` for others, which
    keep what they can through their matrix.

    >>> import gatewright as gw
    >>> _ = gw.init.horizon_(gw.GRU(3, 4), 100)
    """
    _checked(layer)
    if keepers(layer.graph) or any(name in layer.products for name in KEEPS):
        return chrono_(layer, max(steps, 3) if isinstance(steps, int) else steps)
    rectified = any(term.op == "relu" for term in layer.graph.forward)
    return identity_(layer) if rectified else orthogonal_(layer)


def _checked(layer: Recurrent) -> Recurrent:
    if not isinstance(layer, Recurrent):
        raise ArgumentError(f"layer is a {type(layer).__name__}; give a gatewright layer")
    return layer


def _keeper(layer: Recurrent, given: str | None, argument: str) -> tuple[str, int]:
    """The product that keeps the memory, and whether by being open (1) or shut (-1)."""
    if given is not None:
        return given, keepers(layer.graph).get(given, 1)
    found = keepers(layer.graph) or {name: 1 for name in KEEPS if name in layer.products}
    if not found:
        raise ArgumentError(
            f"no gate of the cell keeps a state, and it has no product {' or '.join(KEEPS)}; "
            f"name one of {list(layer.products)} with {argument}="
        )
    return next(iter(found.items()))


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
