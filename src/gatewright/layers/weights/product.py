"""A layer's weights by product and source, as the user reads and writes them.

`{"f": {"x": (W, b), "h": (W, None), "c*": (v, None)}}`: a product keeps its one bias at its
first source; a parameter stands under its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, Protocol

import torch
from torch import Tensor

from gatewright.backends.weights import Pair, Pairs, Share
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.readable import check_readable


class Store(Protocol):
    """Where one layer keeps the weights of one direction: by name, or as torch does."""

    def make(self, sizes: Mapping[str, int], device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters."""

    def shapes(self, sizes: Mapping[str, int]) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor of `sources`."""

    def reset(self, bound: float) -> None:
        """Start them, uniform within `bound`."""

    def pairs(self) -> Pairs:
        """Every weight, live, by product and source."""

    def tensors(self) -> dict[str, Tensor]:
        """Each of the graph's weights, live, by path."""

    def shares(self) -> Mapping[str, Share] | None:
        """What each of the graph's weights is of the tensors kept; None if one is computed."""

    def sources(self) -> Mapping[str, tuple[dict[str, Any], str]]:
        """Where each tensor of the shares is found, in a module's parameters."""

    def computed(self, product: str) -> Set[str]:
        """The sources of a product whose weights are computed from other ones."""

    def freeze(self, product: str, frozen: bool) -> None:
        """Hold a product's weights, or let them go."""

    def frozen(self, product: str) -> bool:
        """Tell if all weights of a product are held."""

    def frozen_sources(self, product: str) -> Set[str]:
        """The sources of a product whose matrix or vector is frozen."""


def check_weights(store: Store, sizes: Mapping[str, int]) -> None:
    """Refuse weights of another shape than the layer's, before autograd has seen them.

    Raises:
        SizeError: naming the weight, its shape and the one expected.
    """
    sources = store.sources()
    for name, shape in store.shapes(sizes).items():
        parameters, leaf = sources[name]
        own = parameters.get(leaf)
        if own is None:
            continue
        check_readable(own, f"the weight {name}")
        if tuple(own.shape) != shape:
            raise SizeError(
                f"the weight {name} has shape {tuple(own.shape)}; expected {shape}: give it that "
                "one, or make a layer of its sizes"
            )


class ProductWeights(Mapping[str, Pair]):
    """The weights of one product, by source: `layer.weights("f")["x"]` is `(W, b)`.

    The tensors are detached but share the layer's memory, so `W.zero_()` writes to it.
    `weights["x"] = (W, b)` copies new values in; a bias left out (or None) stays. What a
    parametrization computes can be read only.

    Attributes:
        frozen: Whether all of them are held (`layer.freeze`): resets and `gw.init` skip them.
        frozen_sources: The sources whose matrix or vector is frozen, if only by `Cell.fixed`.
    """

    def __init__(self, name: str, store: Store) -> None:
        self._name = name
        self._computed = store.computed(name)
        self.frozen = store.frozen(name)
        self.frozen_sources = store.frozen_sources(name)
        self._pairs = {
            key: (weight.detach(), None if bias is None else bias.detach())
            for key, (weight, bias) in store.pairs()[name].items()
        }

    def __getitem__(self, source: str) -> Pair:
        # A KeyError is what Mapping's `in` and `get` expect.
        if source not in self._pairs:
            raise UnknownSource(
                f"product {self._name!r} has no source {source!r}; it has {list(self)}"
            )
        return self._pairs[source]

    def __setitem__(self, source: str, given: Any) -> None:
        weight, bias = self._pair(source, given)
        own_weight, own_bias = self[source]
        if source in self._computed:
            raise ArgumentError(
                f"{self._name}.{source} is parametrized, so its values are computed from "
                "others; write before parametrizing, or to what it is computed from"
            )
        if bias is not None and own_bias is None:
            raise ArgumentError(f"{self._name}.{source} has no bias; give (W, None)")
        writes = [
            (own, self._fitting(new, own, f"{self._name}.{source}.{what}"))
            for own, new, what in ((own_weight, weight, "weight"), (own_bias, bias, "bias"))
            if own is not None and new is not None
        ]
        for own, new in writes:
            own.copy_(new)

    def _pair(self, source: str, given: Any) -> tuple[Any, Any]:
        if not isinstance(given, tuple | list):
            return given, None
        if len(given) != 2:
            raise ArgumentError(
                f"{self._name}.{source} was given {len(given)} values; give (W, b) or (W, None)"
            )
        return given[0], given[1]

    def _fitting(self, new: Any, own: Tensor, what: str) -> Tensor:
        try:
            tensor = torch.as_tensor(new, dtype=own.dtype, device=own.device).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentError(f"{what} was given {type(new).__name__}: {error}") from None
        if tensor.shape != own.shape:
            raise SizeError(
                f"{what} was given shape {tuple(tensor.shape)}; expected {tuple(own.shape)}"
            )
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        shapes = {key: tuple(weight.shape) for key, (weight, _) in self._pairs.items()}
        return f"<weights of {self._name}: {shapes}>"


class UnknownSource(ArgumentError, KeyError):
    """A source that a product does not read."""

    __str__ = Exception.__str__  # KeyError's would show the message in quotes


def check_product(name: str, products: tuple[str, ...]) -> None:
    """Refuse a name that is none of a cell's products and parameters."""
    if name not in products:
        raise ArgumentError(f"there is no product {name!r}; the cell has {list(products)}")


def product_weights(store: Store, name: str, products: tuple[str, ...]) -> ProductWeights:
    """The weights of one product in a store.

    Raises:
        ArgumentError: if there is no such product.
    """
    check_product(name, products)
    return ProductWeights(name, store)
