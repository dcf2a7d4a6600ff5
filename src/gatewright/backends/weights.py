"""Weights by product and source, and the graph's weights out of them.

`{"f": {"x": (W, b), "h": (W, None), "c*": (v, None)}}`: a product keeps its one bias at its
first source; a parameter stands under its own name, `{"gain": {"gain": (v, None)}}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from gatewright.errors import ArgumentError, SizeError
from gatewright.graph import Graph, Weight


class Share(NamedTuple):
    """What a weight is of the tensors that are kept: one of equal parts of their sum.

    Attributes:
        names: The tensors that add up; where there are several, they are alike.
        position, parts: Which of so many parts along the first axis.
    """

    names: tuple[str, ...]
    position: int = 0
    parts: int = 1


Pair = tuple[Tensor, Tensor | None]
Pairs = Mapping[str, Mapping[str, Pair]]


def collect(graph: Graph, pairs: Pairs) -> dict[str, Tensor]:
    """Each of the graph's weights, by path, as its products read it.

    Where the graph keeps one bias a product and `pairs` has two (torch's layers have one
    for the input and one for the hidden state), they add up.
    """
    return {path: _one(graph, weight, pairs) for path, weight in graph.weights.items()}


def as_read(weight: Weight, own: Tensor) -> Tensor:
    """The tensor that a product reads, of the one that is learned."""
    return own - own.transpose(-1, -2) if weight.antisymmetric else own


def _one(graph: Graph, weight: Weight, pairs: Pairs) -> Tensor:
    sources = pairs[weight.product]
    if weight.role != "bias":
        return as_read(weight, sources[weight.source or weight.product][0])
    found = _biases(graph, weight, sources)
    return sum(found[1:], found[0])


def _biases(graph: Graph, weight: Weight, sources: Mapping[str, Pair]) -> list[Tensor]:
    """The biases that make up one of the graph's: all that are not another one's."""
    elsewhere = {
        one.source
        for one in graph.weights.values()
        if (one.product, one.role) == (weight.product, "bias") and one is not weight
    }
    return [bias for key, (_, bias) in sources.items() if bias is not None and key not in elsewhere]


def check_pairs(graph: Graph, pairs: Pairs, sizes: Mapping[str, int]) -> None:
    """Refuse weights that are missing, or of another shape than the graph's.

    Raises:
        ArgumentError, SizeError: naming the entry, what was given and what was expected.
    """
    for weight in graph.weights.values():
        if weight.product not in pairs:
            products = sorted({one.product for one in graph.weights.values()})
            raise ArgumentError(
                f"weights has no entry {weight.product!r}; {graph.equations.name} needs {products}"
            )
        sources, key = pairs[weight.product], weight.source or weight.product
        if key not in sources:
            raise ArgumentError(f"weights[{weight.product!r}] has no {key!r}, only {list(sources)}")
        if weight.role == "bias":
            given = _biases(graph, weight, sources)
            if not given:
                raise ArgumentError(
                    f"weights[{weight.product!r}][{key!r}] has no bias; give (W, b), "
                    "with zeros in b for none"
                )
        else:
            given = [sources[key][0]]
        for one in given:
            if tuple(one.shape) != weight.numbers(sizes):
                raise SizeError(
                    f"weights[{weight.product!r}][{key!r}]: the {weight.role} has shape "
                    f"{tuple(one.shape)}; expected {weight.numbers(sizes)} = {weight.shape}"
                )


def check_form(graph: Graph, pairs: Pairs) -> None:
    """Refuse what is no mapping of this form, and entries that would not be read.

    Raises:
        ArgumentError: naming the entry and the form.
    """
    products = {one.product for one in graph.weights.values()}
    if not isinstance(pairs, Mapping):
        raise ArgumentError(
            f"weights is a {type(pairs).__name__}; give a mapping from product to source to "
            f"(W, b), such as {{name: layer.weights(name) for name in {sorted(products)}}}"
        )
    for product, sources in pairs.items():
        known = {one.source or product for one in graph.weights.values() if one.product == product}
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
