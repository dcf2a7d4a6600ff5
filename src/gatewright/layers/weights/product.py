"""The weights of a layer by product and source, as the user reads and writes them.

`{"f": {"x": (W, b), "h": (W, None), "c*": (v, None)}}`: a product keeps its one bias at its
first source; a parameter has its own name as its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.weights import Pair
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.weights.store import Store


class ProductWeights(Mapping[str, Pair]):
    """The weights of one product, by source: `layer.weights("f")["x"]` is `(W, b)`.

    The tensors are detached but share the layer's memory, so `W.zero_()` writes to it.
    `weights["x"] = (W, b)` copies new values in; a bias that is left out (or None) stays as it
    is. Values that a parametrization computes can only be read.

    Attributes:
        frozen: Whether all of them are frozen (`layer.freeze`): resets and `gw.init` skip them.
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

    def __setitem__(self, source: str, value: Any) -> None:
        weight, bias = self._as_pair(source, value)
        own_weight, own_bias = self[source]
        if source in self._computed:
            raise ArgumentError(
                f"{self._name}.{source} is parametrized, so its values are computed from "
                "others; write before parametrizing, or to what it is computed from"
            )
        if bias is not None and own_bias is None:
            raise ArgumentError(f"{self._name}.{source} has no bias; give (W, None)")
        # Both are checked before either is written.
        writes = [
            (own, self._checked(new, own, f"{self._name}.{source}.{role}"))
            for own, new, role in ((own_weight, weight, "weight"), (own_bias, bias, "bias"))
            if own is not None and new is not None
        ]
        for own, new in writes:
            own.copy_(new)

    def _as_pair(self, source: str, value: Any) -> tuple[Any, Any]:
        if not isinstance(value, tuple | list):
            return value, None
        if len(value) != 2:
            raise ArgumentError(
                f"{self._name}.{source} was given {len(value)} values; give (W, b) or (W, None)"
            )
        return value[0], value[1]

    def _checked(self, new: Any, own: Tensor, title: str) -> Tensor:
        """The new values as a tensor of the shape, dtype and device of the weight's own."""
        try:
            tensor = torch.as_tensor(new, dtype=own.dtype, device=own.device).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentError(f"{title} was given {type(new).__name__}: {error}") from None
        if tensor.shape != own.shape:
            raise SizeError(
                f"{title} was given shape {tuple(tensor.shape)}; expected {tuple(own.shape)}"
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
