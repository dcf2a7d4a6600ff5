"""Weights by name: those of one layer in one direction, in a tree of modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.backends.weights import Pair, Share, as_read
from gatewright.graph import Weight


class NamedWeights:
    """A view of the weights in a tree of modules, each at its path, `f.x.weight`.

    The tree consists of plain modules, so that `torch.nn.utils.parametrize` works on
    `layer.layers["0_forward"].f.x`.
    """

    def __init__(self, tree: nn.Module, weights: Iterable[Weight]) -> None:
        self.tree = tree
        self.places = tuple(weights)

    def make(self, sizes: Mapping[str, int], device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters."""
        for weight in self.places:
            module = self.tree
            *where, leaf = weight.path.split(".")
            # Not add_module and register_parameter, which refuse the names of Module's own
            # attributes: a gate may well be called `half` or `type`.
            for name in where:
                module = module._modules.setdefault(name, nn.Module())  # type: ignore[assignment]
            tensor = torch.empty(weight.numbers(sizes), device=device, dtype=dtype)
            module._parameters[leaf] = nn.Parameter(tensor)

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of `sources`."""
        return {weight.path: weight.numbers(sizes) for weight in self.places}

    def place(self, weight: Weight) -> tuple[nn.Module, str]:
        """The module that holds a weight, and its name there."""
        module = self.tree
        *where, leaf = weight.path.split(".")
        for name in where:
            inner = module._modules[name]
            assert inner is not None
            module = inner
        return module, leaf

    def tensor(self, weight: Weight) -> Tensor:
        """A weight as it is now, parametrized if it is."""
        module, leaf = self.place(weight)
        own = module._parameters.get(leaf)
        if own is None:
            # The module itself is never called, so what a hook computes before each call
            # (torch.nn.utils.prune) is computed here.
            for hook in module._forward_pre_hooks.values():
                hook(module, ())
        found: Tensor = own if own is not None else getattr(module, leaf)
        return found

    def pairs(self) -> dict[str, dict[str, Pair]]:
        """Every weight, by product and source."""
        found: dict[str, dict[str, Pair]] = {}
        for weight in self.places:
            sources = found.setdefault(weight.product, {})
            key = weight.source or weight.product
            if weight.role == "bias":
                sources[key] = (sources[key][0], self.tensor(weight))
            else:
                sources[key] = (self.tensor(weight), None)
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Each of the graph's weights, by path, as its products read it."""
        return {weight.path: as_read(weight, self.tensor(weight)) for weight in self.places}

    def shares(self) -> dict[str, Share] | None:
        """What each of the graph's weights is of the tensors kept; None if one is computed."""
        if any(weight.antisymmetric for weight in self.places):
            return None
        return {weight.path: Share((weight.path,)) for weight in self.places}

    def sources(self) -> dict[str, tuple[dict[str, Any], str]]:
        """Where each tensor of the shares is found, in a module's parameters."""
        found = {weight.path: self.place(weight) for weight in self.places}
        return {path: (module._parameters, leaf) for path, (module, leaf) in found.items()}

    def computed(self, product: str) -> set[str]:
        """The sources of a product whose weights are computed from other ones."""
        found = set()
        for weight in self.places:
            module, leaf = self.place(weight)
            if weight.product == product and leaf not in module._parameters:
                found.add(weight.source or weight.product)
        return found

    def reset(self, bound: float) -> None:
        """Uniform within `bound`; parameters at their start. What is frozen stays."""
        for weight in self.places:
            for one in learned(*self.place(weight)):
                if not one.requires_grad:
                    continue
                if weight.start is None:
                    nn.init.uniform_(one, -bound, bound)
                else:
                    nn.init.constant_(one, weight.start)

    def freeze(self, product: str, frozen: bool) -> None:
        """Hold a product's weights, or let them go."""
        for weight in self.places:
            if weight.product == product:
                for one in learned(*self.place(weight)):
                    one.requires_grad_(not frozen)
                    one.grad = None  # what was left there would still move it

    def frozen(self, product: str) -> bool:
        """Tell if all weights of a product are held."""
        own = [self.place(weight) for weight in self.places if weight.product == product]
        return not any(one.requires_grad for place in own for one in learned(*place))

    def frozen_sources(self, product: str) -> set[str]:
        """The sources of a product whose matrix or vector is frozen."""
        return {
            weight.source or product
            for weight in self.places
            if weight.product == product
            and weight.role != "bias"
            and not any(one.requires_grad for one in learned(*self.place(weight)))
        }


def learned(module: nn.Module, name: str) -> list[nn.Parameter]:
    """What is learned of a tensor: itself, or what its parametrization computes it from."""
    inside = f"parametrizations.{name}."
    named = module.named_parameters()
    return [one for path, one in named if path == name or path.startswith(inside)]
