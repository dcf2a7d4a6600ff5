"""Weights by name: those of one layer in one direction, in a tree of modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.backends.weights import Pair, Share, as_read
from gatewright.graph import Weight
from gatewright.layers.weights.sharded import check_whole
from gatewright.layers.weights.store import learned


class NamedWeights:
    """The weights in a tree of modules, each at its path, such as `f.x.weight`.

    The tree consists of plain modules, so that `torch.nn.utils.parametrize` works on
    `layer.layers["0_forward"].f.x`.
    """

    def __init__(self, tree: nn.Module, weights: Iterable[Weight]) -> None:
        self.tree = tree
        self.weights = tuple(weights)

    def make(self, sizes: Mapping[str, int], device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters, without values."""
        for weight in self.weights:
            module = self.tree
            *path, leaf = weight.path.split(".")
            # Not add_module and register_parameter, which refuse the names of Module's own
            # attributes: a gate may well be called `half` or `type`.
            for name in path:
                module = module._modules.setdefault(name, nn.Module())  # type: ignore[assignment]
            tensor = torch.empty(weight.numbers(sizes), device=device, dtype=dtype)
            module._parameters[leaf] = nn.Parameter(tensor)

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of `sources`."""
        return {weight.path: weight.numbers(sizes) for weight in self.weights}

    def location(self, weight: Weight) -> tuple[nn.Module, str]:
        """The module that has a weight, and the weight's name there."""
        module = self.tree
        *path, leaf = weight.path.split(".")
        for name in path:
            child = module._modules[name]
            assert child is not None
            module = child
        return module, leaf

    def tensor(self, weight: Weight) -> Tensor:
        """The present value of a weight: that of its parametrization if it has one.

        Raises:
            ArgumentError: if it is sharded.
        """
        module, leaf = self.location(weight)
        own = module._parameters.get(leaf)
        if own is not None:
            check_whole(own, weight.path)
            return own
        # The module itself is never called, so what a hook computes before each call
        # (torch.nn.utils.prune) is computed here.
        for hook in module._forward_pre_hooks.values():
            hook(module, ())
        computed: Tensor = getattr(module, leaf)
        return computed

    def pairs(self) -> dict[str, dict[str, Pair]]:
        """Every weight, by product and source."""
        pairs: dict[str, dict[str, Pair]] = {}
        for weight in self.weights:
            sources = pairs.setdefault(weight.product, {})
            key = weight.source or weight.product
            if weight.role == "bias":
                sources[key] = (sources[key][0], self.tensor(weight))
            else:
                sources[key] = (self.tensor(weight), None)
        return pairs

    def tensors(self) -> dict[str, Tensor]:
        """Each of the graph's weights, by path, as its products read it."""
        return {weight.path: as_read(weight, self.tensor(weight)) for weight in self.weights}

    def shares(self) -> dict[str, Share] | None:
        """The stored tensor that each of the graph's weights is; None if one is computed."""
        if any(weight.antisymmetric for weight in self.weights):
            return None
        return {weight.path: Share((weight.path,)) for weight in self.weights}

    def sources(self) -> dict[str, tuple[dict[str, Any], str]]:
        """The parameters of a module and the name in them, for each tensor of the shares."""
        locations = {weight.path: self.location(weight) for weight in self.weights}
        return {path: (module._parameters, leaf) for path, (module, leaf) in locations.items()}

    def computed(self, product: str) -> set[str]:
        """The sources of a product whose weights are computed from other ones."""
        sources = set()
        for weight in self.weights:
            module, leaf = self.location(weight)
            if weight.product == product and leaf not in module._parameters:
                sources.add(weight.source or weight.product)
        return sources

    def reset(self, bound: float) -> None:
        """Draw uniformly within `bound`; parameters get their start. Frozen values stay."""
        for weight in self.weights:
            for parameter in learned(*self.location(weight)):
                if not parameter.requires_grad:
                    continue
                if weight.start is None:
                    nn.init.uniform_(parameter, -bound, bound)
                else:
                    nn.init.constant_(parameter, weight.start)

    def freeze(self, product: str, frozen: bool) -> None:
        """Freeze the weights of a product, or let them be trained again."""
        for weight in self.weights:
            if weight.product == product:
                for parameter in learned(*self.location(weight)):
                    check_whole(parameter, weight.path)  # fully_shard would not notice
                    parameter.requires_grad_(not frozen)
                    parameter.grad = None  # an optimizer would still apply an old gradient

    def frozen(self, product: str) -> bool:
        """Tell if all weights of a product are frozen."""
        own = [self.location(weight) for weight in self.weights if weight.product == product]
        return not any(p.requires_grad for location in own for p in learned(*location))

    def frozen_sources(self, product: str) -> set[str]:
        """The sources of a product whose matrix or vector is frozen."""
        return {
            weight.source or product
            for weight in self.weights
            if weight.product == product
            and weight.role != "bias"
            and not any(p.requires_grad for p in learned(*self.location(weight)))
        }
