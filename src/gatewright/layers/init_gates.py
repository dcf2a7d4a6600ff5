"""Initial biases of the gates that keep a memory, whatever a cell calls them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.graph.memory_gates import MemoryGate, biases, memory_gates
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.product import ProductWeights

#: Products that keep the memory where the equations do not show it, and the one that admits
#: new values.
KEEPS, ADMITS = ("f", "z"), "i"


def forget_bias_(layer: Recurrent, value: float = 1.0, product: str | None = None) -> Recurrent:
    """Set the bias of the gate that keeps the memory to `value`, so that the gate is open.

    Where the gate has two biases, as in torch's layers, the second is set to 0.
    Source: Gers, Schmidhuber and Cummins 2000; Jozefowicz et al. 2015, section 3.3.

    Args:
        product: The product or parameter with the gate's bias. By default the gates that keep a
            state in the cell's equations, else "f" or "z". A gate that keeps the state when it
            is shut gets -value.

    Raises:
        ArgumentError: where there is no such gate, or it has no bias.

    >>> import gatewright as gw
    >>> _ = gw.init.forget_bias_(gw.LSTM(3, 4), 2.0)
    """
    for gate in chosen_gates(layer, product, "product"):
        if gate.kind == "rate":
            raise ArgumentError(
                f"{gate.biases[0]!r} is a leak and no gate; give the number of steps for which "
                "it keeps its state, with gw.init.time_constants_"
            )
        start = torch.tensor(-float(value) if gate.kind == "shut" else float(value))
        for place in layer.places:
            set_bias(layer, gate.biases, place, start)
    return layer


def chrono_(
    layer: Recurrent, t_max: int, *, keeps: str | None = None, admits: str | None = None
) -> Recurrent:
    """Initialise the memory's gates for dependencies of up to `t_max` steps.

    The bias of the gate that keeps the memory is log U(1, t_max - 1), drawn for each unit; the
    gate that admits new values gets the negative of it.
    Source: Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", eq. 16.

    A leak, or several gates that a state passes in one step, are set so that together they keep
    as much.

    Args:
        keeps: The product or parameter with the bias of the gate that keeps the memory. By
            default the gates that keep a state in the cell's equations, else "f" or "z". A gate
            that keeps the state when it is shut gets the negative.
        admits: The product or parameter with the bias of the gate that admits new values; by
            default "i" where there is one.

    Raises:
        ArgumentError: where there is no such gate, or it has no bias.

    >>> import gatewright as gw
    >>> _ = gw.init.chrono_(gw.LSTM(3, 4), t_max=100)
    """
    if not isinstance(t_max, int) or t_max < 3:
        raise ArgumentError(f"t_max={t_max!r}; expected a number of steps from 3")
    gates = chosen_gates(layer, keeps, "keeps")
    keeping = {name for gate in gates for name in gate.biases}
    admitting = (admits,) if admits is not None else _admits(layer)
    for place in layer.places:
        drawn: dict[str, Tensor] = {}
        for gate in gates:
            if gate.state not in drawn:
                like = next(_biases(layer, gate.biases, place))[2]
                # Drawn in float32: half precision has too few numbers near t_max.
                odds = torch.empty(like.shape, device=like.device).uniform_(1.0, float(t_max - 1))
                drawn[gate.state] = odds
            set_bias(layer, gate.biases, place, _bias(gate, drawn[gate.state]))
        if admitting and not keeping.intersection(admitting):
            set_bias(layer, admitting, place, -next(iter(drawn.values())).log())
    return layer


def time_constants_(
    layer: Recurrent, steps: float | Tensor, *, product: str | None = None
) -> Recurrent:
    """Initialise the gate so that, without input, 1/e of a memory is left after `steps` steps.

    The factor of each step is exp(-1 / steps), so the bias is -log(exp(1 / steps) - 1).
    Source: the leaky memory of Tallec and Ollivier 2018, section 2, with a time for each unit.

    Args:
        steps: A number above 0, or one for each unit, `(H,)`.
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
    for gate in chosen_gates(layer, product, "product"):
        bias = _bias(gate, odds)
        for place in layer.places:
            shape = next(_biases(layer, gate.biases, place))[2].shape
            if bias.dim() and bias.shape != shape:
                raise ArgumentError(
                    f"steps has shape {tuple(bias.shape)}; expected {tuple(shape)}, one for each "
                    "unit"
                )
            set_bias(layer, gate.biases, place, bias)
    return layer


def check_layer(layer: Recurrent) -> Recurrent:
    """Refuse a value that is no gatewright layer."""
    if not isinstance(layer, Recurrent):
        raise ArgumentError(f"layer is a {type(layer).__name__}; give a gatewright layer")
    return layer


def layer_memory_gates(layer: Recurrent) -> list[MemoryGate]:
    """The gates that keep a layer's states: by its equations, else by their names."""
    named = [MemoryGate("", (name,), "open") for name in KEEPS if name in layer.products]
    return memory_gates(layer.graph) or named[:1]


def chosen_gates(layer: Recurrent, product: str | None, argument: str) -> list[MemoryGate]:
    """The gates to initialise: the one that the caller names, or all that keep a state."""
    gates = layer_memory_gates(check_layer(layer))
    if product is not None:
        named = [gate for gate in gates if product in gate.biases]
        return named or [MemoryGate("", (product,), "open")]
    if not gates:
        raise ArgumentError(
            f"no gate of the cell keeps a state, and it has no product {' or '.join(KEEPS)}; "
            f"name one of {list(layer.products)} with {argument}="
        )
    return gates


def set_bias(
    layer: Recurrent, names: tuple[str, ...], place: tuple[int, bool], value: Tensor
) -> None:
    """Set the first of some biases to a value and the others to 0, since they add up."""
    for position, (product, source, bias) in enumerate(_biases(layer, names, place)):
        if product.frozen:
            continue
        start = (value if position == 0 else torch.zeros(())).expand_as(bias)
        weight, own = product[source]
        product[source] = (weight, start) if own is not None else (start, None)


def _biases(
    layer: Recurrent, names: tuple[str, ...], place: tuple[int, bool]
) -> Iterator[tuple[ProductWeights, str, Tensor]]:
    """(weights, source, tensor) of each bias of the named products, and of each parameter."""
    weights, has_none = layer.graph.weights, True
    for name in names:
        product = layer.weights(name, *place)
        parameter = name in weights and weights[name].role == "parameter"
        for source, (weight, bias) in product.items():
            if (tensor := weight if parameter else bias) is not None:
                has_none = False
                yield product, source, tensor
    if has_none:
        gates = layer_memory_gates(layer)
        own = [name for gate in gates for name in gate.biases if name not in names]
        hint = f"the memory's gate has it in {own[0]!r}" if own else "build it with bias=True"
        raise ArgumentError(f"{' and '.join(map(repr, names))} has no bias; {hint}")


def _admits(layer: Recurrent) -> tuple[str, ...]:
    """The products with the biases of the gate that admits new values; none without a gate."""
    gate = layer.graph.values.get(ADMITS)
    products = biases(gate.operands[0]) if gate is not None and gate.op == "sigmoid" else ()
    return products or ((ADMITS,) if ADMITS in layer.products else ())


def _bias(gate: MemoryGate, odds: Tensor) -> Tensor:
    """The bias with which a gate, or several in series, keep odds / (1 + odds) of a state."""
    if gate.series > 1:
        odds = 1.0 / torch.expm1(torch.log1p(1.0 / odds) / gate.series)
    if gate.kind == "rate":
        return torch.log1p(1.0 / odds).log()
    if gate.kind == "open":
        return odds.log()
    # 1 - share sigmoid(b) = odds / (1 + odds)
    against = (1.0 + odds) * gate.share - 1.0 if gate.share != 1.0 else odds
    if not bool((against > 0).all()):
        raise ArgumentError(
            f"{gate.biases[0]!r} forgets at most {gate.share:g} a step; ask for longer times"
        )
    return -against.log()
