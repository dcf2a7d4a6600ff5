"""The weights of a layer that its cell fixes (`Cell.fixed`): frozen, with the cell's values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from gatewright.errors import ArgumentError
from gatewright.language.fixed import Constant, Shape

if TYPE_CHECKING:
    from gatewright.layers.recurrent import Recurrent


def freeze_constants(layer: Recurrent) -> None:
    """Freeze the weights that the cell fixes; others of the same product are learned."""
    for _, parameter, _ in _constants(layer):
        parameter.requires_grad_(False)


@torch.no_grad()
def write_constants(layer: Recurrent) -> None:
    """Write the cell's values into the weights that it fixes.

    Raises:
        SizeError, ArgumentError: if the cell has no such values for the layer's sizes.
    """
    for constant, parameter, shape in _constants(layer):
        table = constant.at(shape)
        if parameter.is_meta:
            continue
        values = torch.tensor(table, dtype=parameter.dtype, device=parameter.device)
        if not values.isfinite().all():
            raise ArgumentError(
                f"the fixed weight {constant.name} has numbers beyond {parameter.dtype}; "
                "give smaller ones, or build the layer with another dtype"
            )
        parameter.copy_(values.view(shape))


def _constants(layer: Recurrent) -> Iterator[tuple[Constant, nn.Parameter, Shape]]:
    """Each weight that the cell fixes, in each layer and direction, and its shape.

    What a parametrization computes is left out: it has no values of its own to be written.
    """
    for number, reverse in layer.places:
        store, sizes = layer.store(number, reverse), layer.sizes(number)
        sources, shapes = store.sources(), store.shapes(sizes)
        for path, constant in layer.cell.constants.items():
            parameters, leaf = sources[path]
            if (parameter := parameters.get(leaf)) is not None:
                yield constant, parameter, shapes[path]
