"""Starts of the gates that keep a memory: by their biases, whatever the gates are called."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.graph.memory_gates import MemoryGate, biases, memory_gates
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.product import ProductWeights

#: Products that keep the memory where the equations do not show it, and that let values in.
KEEPS, ADMITS = ("f", "z"), "i"


def forget_bias_(layer: Recurrent, value: float = 1.0, product: str | None = None) -> Recurrent:
    """Start the bias of the gate that keeps the memory at `value`, so that it starts open.

    Where the gate has two biases, as in torch's layers, the second becomes 0.
    Source: Gers, Schmidhuber and Cummins 2000; Jozefowicz et al. 2015, section 3.3.

    Args:
        product: The product or parameter that holds the gate's bias; those that the cell's own
            equations keep a state with, else "f" or "z". A gate that keeps when it is shut
            starts at -value.

    Raises:
        ArgumentError: where there is no such gate, or it has no bias.

    >>> import gatewright as gw
    >>> _ = gw.init.forget_bias_(gw.LSTM(3, 4), 2.0)
    """
    for keeper in chosen(layer, product, "product"):
        if keeper.kind == "rate":
            raise ArgumentError(
                f"{keeper.biases[0]!r} is a leak and no gate; say for how many steps it is to "
                "keep its state, with gw.init.time_constants_"
            )
        start = torch.tensor(-float(value) if keeper.kind == "shut" else float(value))
        for place in layer.places:
            set_bias(layer, keeper.biases, place, start)
    return layer


def chrono_(
    layer: Recurrent, t_max: int, *, keeps: str | None = None, admits: str | None = None
) -> Recurrent:
    """Start the memory's gates for dependencies of up to `t_max` steps.

    The bias of the gate that keeps is log U(1, t_max - 1), drawn for each unit, and that
    of the gate that admits its negative.
    Source: Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", eq. 16.

    A leak, and gates that a state passes one after the other in a step, start so that together
    they keep as much.

    Args:
        keeps: The product or parameter that holds the bias of the gate that keeps; those that
            the cell's own equations keep a state with, else "f" or "z". A gate that keeps when
            it is shut gets the negative.
        admits: The same of the gate that admits new values; that of "i" where there is one.

    Raises:
        ArgumentError: where there is no such gate, or it has no bias.

    >>> import gatewright as gw
    >>> _ = gw.init.chrono_(gw.LSTM(3, 4), t_max=100)
    """
    if not isinstance(t_max, int) or t_max < 3:
        raise ArgumentError(f"t_max={t_max!r}; expected a number of steps from 3")
    own = chosen(layer, keeps, "keeps")
    kept = {name for keeper in own for name in keeper.biases}
    admitting = (admits,) if admits is not None else _admits(layer)
    for place in layer.places:
        drawn: dict[str, Tensor] = {}
        for keeper in own:
            if keeper.state not in drawn:
                like = next(_biases(layer, keeper.biases, place))[2]
                # Drawn in float32: half precision has too few numbers near t_max.
                odds = torch.empty(like.shape, device=like.device).uniform_(1.0, float(t_max - 1))
                drawn[keeper.state] = odds
            set_bias(layer, keeper.biases, place, _bias(keeper, drawn[keeper.state]))
        if admitting and not kept.intersection(admitting):
            set_bias(layer, admitting, place, -next(iter(drawn.values())).log())
    return layer


def time_constants_(
    layer: Recurrent, steps: float | Tensor, *, product: str | None = None
) -> Recurrent:
    """Start the gate that keeps so that, without input, 1/e of a memory is left after `steps`.

    The factor is exp(-1 / steps), so the bias is -log(exp(1 / steps) - 1).
    Source: the leaky memory of Tallec and Ollivier 2018, section 2; for one time a unit.

    Args:
        steps: A number, or one for each unit, `(H,)`; above 0.
        product: As in `forget_bias_`.

    Raises:
        ArgumentError: where there is no such gate, or it has no bias.

    >>> import gatewright as gw, torch
    >>> _ = gw.init.time_constants_(gw.LSTM(3, 4), torch.tensor([2.0, 5.0, 20.0, 100.0]))
    """
    times = torch.as_tensor(steps, dtype=torch.float32)
    if not bool((times > 0).all()):
        raise ArgumentError(f"steps={steps}; expected numbers above 0")
    odds = 1.0 / torch.expm1(1.0 / times)
    for keeper in chosen(layer, product, "product"):
        bias = _bias(keeper, odds)
        for place in layer.places:
            shape = next(_biases(layer, keeper.biases, place))[2].shape
            if bias.dim() and bias.shape != shape:
                raise ArgumentError(
                    f"steps has shape {tuple(bias.shape)}; expected {tuple(shape)}, one for each "
                    "unit"
                )
            set_bias(layer, keeper.biases, place, bias)
    return layer


def check_layer(layer: Recurrent) -> Recurrent:
    """Refuse what is no layer of ours."""
    if not isinstance(layer, Recurrent):
        raise ArgumentError(f"layer is a {type(layer).__name__}; give a gatewright layer")
    return layer


def found(layer: Recurrent) -> list[MemoryGate]:
    """The gates that keep a layer's states: by its equations, else by their names."""
    named = [MemoryGate("", (name,), "open") for name in KEEPS if name in layer.products]
    return memory_gates(layer.graph) or named[:1]


def chosen(layer: Recurrent, given: str | None, argument: str) -> list[MemoryGate]:
    """The gates to start: those that the caller names, or all that keep a state."""
    own = found(check_layer(layer))
    if given is not None:
        return [one for one in own if given in one.biases] or [MemoryGate("", (given,), "open")]
    if not own:
        raise ArgumentError(
            f"no gate of the cell keeps a state, and it has no product {' or '.join(KEEPS)}; "
            f"name one of {list(layer.products)} with {argument}="
        )
    return own


def set_bias(
    layer: Recurrent, names: tuple[str, ...], place: tuple[int, bool], value: Tensor
) -> None:
    """The value at the first of some biases, 0 at the others, since they add up."""
    for at, (product, source, bias) in enumerate(_biases(layer, names, place)):
        if product.frozen:
            continue
        start = (value if at == 0 else torch.zeros(())).expand_as(bias)
        weight, own = product[source]
        product[source] = (weight, start) if own is not None else (start, None)


def _biases(
    layer: Recurrent, names: tuple[str, ...], place: tuple[int, bool]
) -> Iterator[tuple[ProductWeights, str, Tensor]]:
    """(weights, source, tensor) of each bias of products, and of each parameter, by name."""
    weights, none = layer.graph.weights, True
    for name in names:
        product = layer.weights(name, *place)
        parameter = name in weights and weights[name].role == "parameter"
        for source, (weight, bias) in product.items():
            if (one := weight if parameter else bias) is not None:
                none = False
                yield product, source, one
    if none:
        own = [name for keeper in found(layer) for name in keeper.biases if name not in names]
        hint = f"the memory's gate has it in {own[0]!r}" if own else "build it with bias=True"
        raise ArgumentError(f"{' and '.join(map(repr, names))} has no bias; {hint}")


def _admits(layer: Recurrent) -> tuple[str, ...]:
    """Where the gate that lets values in has its bias; nowhere if there is none."""
    gate = layer.graph.values.get(ADMITS)
    within = biases(gate.operands[0]) if gate is not None and gate.op == "sigmoid" else ()
    return within or ((ADMITS,) if ADMITS in layer.products else ())


def _bias(keeper: MemoryGate, odds: Tensor) -> Tensor:
    """The bias with which a gate, or several in series, keep odds / (1 + odds) of a state."""
    if keeper.series > 1:
        odds = 1.0 / torch.expm1(torch.log1p(1.0 / odds) / keeper.series)
    if keeper.kind == "rate":
        return torch.log1p(1.0 / odds).log()
    if keeper.kind == "open":
        return odds.log()
    # 1 - share sigmoid(b) = odds / (1 + odds)
    against = (1.0 + odds) * keeper.share - 1.0 if keeper.share != 1.0 else odds
    if not bool((against > 0).all()):
        raise ArgumentError(
            f"{keeper.biases[0]!r} lets go of {keeper.share:g} at most; ask for longer times"
        )
    return -against.log()
