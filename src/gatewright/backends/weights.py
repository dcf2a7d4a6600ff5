"""Weights by product and source, and the graph's weights computed from them.

`{"f": {"x": (W, b), "h": (W, None), "c*": (v, None)}}`: a product keeps its one bias at its
first source; a parameter has an entry under its own name, `{"gain": {"gain": (v, None)}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from gatewright.backends.conditions import is_exporting
from gatewright.errors import ArgumentError, SizeError, WrongType
from gatewright.graph import Graph, Weight


class Share(NamedTuple):
    """The part that a weight is of a layer's tensors: one of equal parts of their sum.

    Attributes:
        names: The tensors that add up; several tensors have the same shape.
        position, parts: The index of the part, and the number of parts along the first axis.
    """

    names: tuple[str, ...]
    position: int = 0
    parts: int = 1


def from_shares(shares: Mapping[str, Share], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each of the graph's weights, by path, as parts of a layer's tensors, by name."""
    # Each tensor is divided once, for all of its parts.
    parts: dict[tuple[tuple[str, ...], int], Sequence[Tensor]] = {}
    weights = {}
    for path, (names, position, count) in shares.items():
        if (names, count) not in parts:
            first, *rest = [tensors[name] for name in names]
            parts[names, count] = _divided(sum(rest, first), count)
        weights[path] = parts[names, count][position]
    return weights


def _divided(stacked: Tensor, count: int) -> Sequence[Tensor]:
    """A stacked tensor in equal parts."""
    if count == 1:
        return (stacked,)
    if is_exporting():
        # torch's exporter to ONNX computes slices of weights ahead of time, but no splits.
        rows = len(stacked) // count
        return [stacked[k * rows : (k + 1) * rows] for k in range(count)]
    return stacked.chunk(count)


class StackedWeights(dict[str, Tensor]):
    """A graph's weights by path, which are parts of tensors that are stacked as torch's are.

    Attributes:
        stacked: Those tensors, in torch's order: both matrices, both biases, the projection.
    """

    def __init__(self, weights: Mapping[str, Tensor], stacked: Sequence[Tensor]) -> None:
        super().__init__(weights)
        self.stacked = tuple(stacked)


Pair = tuple[Tensor, Tensor | None]
Pairs = Mapping[str, Mapping[str, Pair]]


def collect(graph: Graph, pairs: Pairs) -> dict[str, Tensor]:
    """Compute each of the graph's weights, by path, as its products read it.

    Where the graph keeps one bias a product and `pairs` has two (torch's layers have one
    for the input and one for the hidden state), they add up.
    """
    return {path: _tensor(graph, weight, pairs) for path, weight in graph.weights.items()}


def as_read(weight: Weight, own: Tensor) -> Tensor:
    """Compute the tensor that a product reads from the one that is learned."""
    return own - own.transpose(-1, -2) if weight.antisymmetric else own


def _tensor(graph: Graph, weight: Weight, pairs: Pairs) -> Tensor:
    sources = pairs[weight.product]
    if weight.role != "bias":
        return as_read(weight, sources[weight.source or weight.product][0])
    biases = _biases(graph, weight, sources)
    return sum(biases[1:], biases[0])


def _biases(graph: Graph, weight: Weight, sources: Mapping[str, Pair]) -> list[Tensor]:
    """List the biases that add up to one of the graph's: all that belong to no other weight."""
    elsewhere = {
        other.source
        for other in graph.weights.values()
        if (other.product, other.role) == (weight.product, "bias") and other is not weight
    }
    return [bias for key, (_, bias) in sources.items() if bias is not None and key not in elsewhere]


def check_pairs(graph: Graph, pairs: Pairs, sizes: Mapping[str, int]) -> None:
    """Refuse weights that are missing, or have another shape than the graph's.

    Raises:
        ArgumentError, SizeError: naming the entry, its shape and the expected one.
    """
    for weight in graph.weights.values():
        if weight.product not in pairs:
            products = sorted({known.product for known in graph.weights.values()})
            raise ArgumentError(
                f"weights has no entry {weight.product!r}; {graph.equations.name} needs {products}"
            )
        sources, key = pairs[weight.product], weight.source or weight.product
        if key not in sources:
            raise ArgumentError(f"weights[{weight.product!r}] has no {key!r}, only {list(sources)}")
        if weight.role == "bias":
            tensors = _biases(graph, weight, sources)
            if not tensors:
                raise ArgumentError(
                    f"weights[{weight.product!r}][{key!r}] has no bias; give (W, b), "
                    "with zeros in b for none"
                )
        else:
            tensors = [sources[key][0]]
        for tensor in tensors:
            if tuple(tensor.shape) != weight.numbers(sizes):
                raise SizeError(
                    f"weights[{weight.product!r}][{key!r}]: the {weight.role} has shape "
                    f"{tuple(tensor.shape)}; expected {weight.numbers(sizes)} = {weight.shape}"
                )


def check_form(graph: Graph, pairs: Pairs) -> None:
    """Refuse weights that are no mapping of this form, and entries that no product reads.

    Raises:
        ArgumentError: naming the entry and the form.
    """
    products = {weight.product for weight in graph.weights.values()}
    if not isinstance(pairs, Mapping):
        raise WrongType(
            f"weights is a {type(pairs).__name__}; give a mapping from product to source to "
            f"(W, b), such as {{name: layer.weights(name) for name in {sorted(products)}}}"
        )
    for product, sources in pairs.items():
        own = [weight for weight in graph.weights.values() if weight.product == product]
        known = {weight.source or product for weight in own}
        if product not in products:
            raise ArgumentError(
                f"weights has an entry {product!r} that {graph.equations.name} does not read; "
                f"it reads {sorted(products)}"
            )
        if not isinstance(sources, Mapping):
            raise ArgumentError(f"weights[{product!r}] is no mapping; give {{source: (W, b)}}")
        for source, pair in sources.items():
            if source not in known:
                raise ArgumentError(
                    f"weights[{product!r}] has an entry {source!r} that is not read; "
                    f"{product} reads {sorted(known)}"
                )
            if not (
                isinstance(pair, tuple | list)
                and len(pair) == 2
                and isinstance(pair[0], Tensor)
                and isinstance(pair[1], Tensor | None)
            ):
                raise ArgumentError(
                    f"weights[{product!r}][{source!r}] is no pair of tensors; "
                    "give (W, b), or (W, None) where there is no bias"
                )
