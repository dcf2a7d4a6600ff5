"""`Store`: the weights of one layer in one direction, in whatever form a module has them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gatewright.backends.weights import Pairs, Share


class Store(Protocol):
    """The weights of one layer in one direction: each by its name, or stacked as in torch."""

    def make(self, sizes: Mapping[str, int], device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters, without values."""

    def shapes(self, sizes: Mapping[str, int]) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor of `sources`."""

    def reset(self, bound: float) -> None:
        """Draw all values that are not frozen uniformly within `bound`."""

    def pairs(self) -> Pairs:
        """Every weight, live, by product and source."""

    def tensors(self) -> dict[str, Tensor]:
        """Each of the graph's weights, live, by path."""

    def shares(self) -> Mapping[str, Share] | None:
        """The part of the stored tensors that each of the graph's weights is.

        None if a weight is more than a part of them, so that it has to be computed.
        """

    def sources(self) -> Mapping[str, tuple[dict[str, Any], str]]:
        """The parameters of a module and the name in them, for each tensor of the shares."""

    def computed(self, product: str) -> Set[str]:
        """The sources of a product whose weights are computed from other ones."""

    def freeze(self, product: str, frozen: bool) -> None:
        """Freeze the weights of a product, or let them be trained again."""

    def frozen(self, product: str) -> bool:
        """Tell if all weights of a product are frozen."""

    def frozen_sources(self, product: str) -> Set[str]:
        """The sources of a product whose matrix or vector is frozen."""


def learned(module: nn.Module, name: str) -> list[nn.Parameter]:
    """The parameters behind a tensor: itself, or those that its parametrization reads."""
    inside = f"parametrizations.{name}."
    named = module.named_parameters()
    return [parameter for path, parameter in named if path == name or path.startswith(inside)]
