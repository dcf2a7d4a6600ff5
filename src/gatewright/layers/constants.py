"""The weights of a layer that its cell fixes (`Cell.fixed`): frozen, with the cell's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.language.fixed import Constant, Shape
from gatewright.layers.form import Form
from gatewright.layers.weights.sharded import as_sharded
from gatewright.layers.weights.store import Store
from gatewright.layers.weights.stored_names import Place


def freeze_constants(cell: Cell, form: Form, stores: Mapping[Place, Store]) -> None:
    """Freeze the weights that the cell fixes; others of the same product are learned."""
    for _, parameter, _ in _constants(cell, form, stores):
        parameter.requires_grad_(False)


@torch.no_grad()
def write_constants(cell: Cell, form: Form, stores: Mapping[Place, Store]) -> None:
    """Write the cell's values into the weights that it fixes.

    Raises:
        SizeError, ArgumentError: if the cell has no such values for the layer's sizes.
    """
    for constant, parameter, shape in _constants(cell, form, stores):
        table = constant.table(shape)
        if parameter.is_meta:
            continue
        values = torch.tensor(table, dtype=parameter.dtype, device=parameter.device)
        if not values.isfinite().all():
            raise ArgumentError(
                f"the fixed weight {constant.name} has numbers beyond {parameter.dtype}; "
                "give smaller ones, or build the layer with another dtype"
            )
        parameter.copy_(as_sharded(values.view(shape), parameter))


def _constants(
    cell: Cell, form: Form, stores: Mapping[Place, Store]
) -> Iterator[tuple[Constant, nn.Parameter, Shape]]:
    """Each weight that the cell fixes, in each layer and direction, and its shape.

    Values that a parametrization computes are left out, since they cannot be written.
    """
    for (layer, _), store in stores.items():
        sources, shapes = store.sources(), store.shapes(form.sizes(layer))
        for path, constant in cell.constants.items():
            parameters, leaf = sources[path]
            if (parameter := parameters.get(leaf)) is not None:
                yield constant, parameter, shapes[path]
