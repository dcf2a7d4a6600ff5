"""A layer's weights by product and source, as the user reads and writes them.

`{"f": {"x": (W, b), "h": (W, None), "c*": (v, None)}}`: a product keeps its one bias at its
first source; a parameter stands under its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from gatewright.backends.weights import Pair
from gatewright.errors import ArgumentError, SizeError


class ProductWeights(Mapping[str, Pair]):
    """The weights of one product, by source: `layer.weights("f")["x"]` is `(W, b)`.

    The tensors are detached but share the layer's memory, so `W.zero_()` writes to it.
    `weights["x"] = (W, b)` copies new values in; a bias left out (or None) stays.
    """

    def __init__(self, name: str, pairs: Mapping[str, Pair]) -> None:
        self._name = name
        self._pairs = {
            key: (weight.detach(), None if bias is None else bias.detach())
            for key, (weight, bias) in pairs.items()
        }

    def __getitem__(self, source: str) -> Pair:
        if source not in self._pairs:
            raise ArgumentError(
                f"product {self._name!r} has no source {source!r}; it has {list(self)}"
            )
        return self._pairs[source]

    def __setitem__(self, source: str, given: Any) -> None:
        weight, bias = given if isinstance(given, tuple | list) else (given, None)
        own_weight, own_bias = self[source]
        if bias is not None and own_bias is None:
            raise ArgumentError(f"{self._name}.{source} has no bias; give (W, None)")
        for own, new, what in ((own_weight, weight, "weight"), (own_bias, bias, "bias")):
            if own is None or new is None:
                continue
            new = torch.as_tensor(new, dtype=own.dtype, device=own.device)
            if new.shape != own.shape:
                raise SizeError(
                    f"{self._name}.{source}.{what} was given shape {tuple(new.shape)}; "
                    f"expected {tuple(own.shape)}"
                )
            own.copy_(new)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        shapes = {key: tuple(weight.shape) for key, (weight, _) in self._pairs.items()}
        return f"<weights of {self._name}: {shapes}>"
