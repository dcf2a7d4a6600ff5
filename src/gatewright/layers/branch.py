"""Weights by name: the parameters of one layer in one direction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.backends.weights import Pair
from gatewright.graph import Weight


class Directions(nn.Module):
    """The branches of one layer, at the paths `forward` and `reverse`.

    Module has a method `forward` and refuses a child of that name; here the name is a
    property, so that `layer.layers[0].forward.f.x` and `get_parameter` find the branch.
    """

    def __init__(self, *branches: Branch) -> None:
        super().__init__()
        self._modules.update(zip(("forward", "reverse"), branches, strict=False))

    @property
    def forward(self) -> Branch:  # type: ignore[override]  # a branch, where Module has a method
        branch = self._modules["forward"]
        assert isinstance(branch, Branch)
        return branch

    @property
    def reverse(self) -> Branch:
        branch = self._modules["reverse"]
        assert isinstance(branch, Branch)
        return branch


class Branch(nn.Module):
    """A tree of modules in which every weight stands at its path, `f.x.weight`.

    Reading goes through attributes, so that `torch.nn.utils.parametrize` on
    `layer.layers[0].forward.f.x` takes effect, once a run.
    """

    def __init__(
        self,
        weights: Iterable[Weight],
        sizes: Mapping[str, int],
        device: Any,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self._places = tuple(weights)
        for weight in self._places:
            where, _, leaf = weight.path.rpartition(".")
            tensor = torch.empty(weight.numbers(sizes), device=device, dtype=dtype)
            self.at(where, make=True).register_parameter(leaf, nn.Parameter(tensor))

    def at(self, path: str, *, make: bool = False) -> nn.Module:
        """The module at a path such as `f.x`."""
        module: nn.Module = self
        for name in path.split(".") if path else ():
            if make and name not in module._modules:
                # Not add_module, which refuses the names of Module's own methods.
                module._modules[name] = nn.Module()
            inner = module._modules[name]
            assert inner is not None
            module = inner
        return module

    def tensor(self, weight: Weight) -> Tensor:
        """A weight as it is now, parametrized if it is."""
        where, _, leaf = weight.path.rpartition(".")
        module = self.at(where)
        own = module._parameters.get(leaf)
        found: Tensor = own if own is not None else getattr(module, leaf)
        return found

    def pairs(self) -> dict[str, dict[str, Pair]]:
        """Every weight, by product and source."""
        found: dict[str, dict[str, Pair]] = {}
        for weight in self._places:
            sources = found.setdefault(weight.product, {})
            key = weight.source or weight.product
            if weight.role == "bias":
                sources[key] = (sources[key][0], self.tensor(weight))
            else:
                sources[key] = (self.tensor(weight), None)
        return found

    def reset(self, bound: float) -> None:
        """Uniform within `bound`; parameters at their start."""
        for weight in self._places:
            tensor = self.tensor(weight)
            if weight.start is None:
                tensor.uniform_(-bound, bound)
            else:
                tensor.fill_(weight.start)

    def freeze(self, product: str, frozen: bool) -> None:
        """Hold a product's parameters, or let them go."""
        for weight in self._places:
            if weight.product == product:
                where, _, leaf = weight.path.rpartition(".")
                for path, one in self.at(where).named_parameters():
                    # "weight", or "parametrizations.weight.original0" where parametrized.
                    if leaf in path.split("."):
                        one.requires_grad_(not frozen)
