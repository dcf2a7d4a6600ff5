"""Random weights for one step by hand, different for every gate, in the form of a call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import gatewright as gw

SIZES = {"input": 5, "hidden": 6}

Pairs = dict[str, dict[str, tuple[Tensor, Tensor | None]]]


def random_weights(cell: gw.Cell, sizes: dict[str, int] = SIZES, seed: int = 0) -> Pairs:
    """Draw `{"f": {"x": (W, b), "h": (W, None)}}` in float64."""
    generator = torch.Generator().manual_seed(seed)
    pairs: Any = {}
    for weight in cell.graph.weights.values():
        value = torch.randn(weight.numbers(sizes), generator=generator, dtype=torch.float64)
        sources = pairs.setdefault(weight.product, {})
        key = weight.source or weight.product
        own, bias = sources.get(key, (None, None))
        sources[key] = (own, value) if weight.role == "bias" else (value, bias)
    return pairs  # type: ignore[no-any-return]


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Draw random numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cell_of(step: Any, **attributes: Any) -> gw.Cell:
    """Make a cell with this step."""
    return type("Made", (gw.Cell,), {"step": step, **attributes})()  # type: ignore[no-any-return]


def paths(cell: gw.Cell) -> list[str]:
    """List the names under which a layer keeps the cell's weights."""
    return list(cell.graph.weights)
