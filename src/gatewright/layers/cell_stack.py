"""`CellStack`: the cells of a layer, with their sizes and weights; `Recurrent` runs them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from gatewright.backends.weights import Pairs
from gatewright.errors import ArgumentError
from gatewright.layers.arguments import check_flags
from gatewright.layers.cell_module import CellModule
from gatewright.layers.constants import write_constants
from gatewright.layers.form import Form
from gatewright.layers.weights.named import NamedWeights
from gatewright.layers.weights.product import ProductWeights, check_product, product_weights
from gatewright.layers.weights.store import Store
from gatewright.layers.weights.stored_names import Place, place_name, to_module_names

#: Attributes that decide which weights a layer has.
DECIDE_WEIGHTS = ("cell", "num_layers", "bidirectional", "directions")


class CellStack(CellModule):
    """L layers of a cell in D directions. `Recurrent` sets the attributes and runs them."""

    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    backend: str
    #: D: 2 where the layer reads both ways, else 1.
    directions: int

    def __setattr__(self, name: str, value: Any) -> None:
        if name in DECIDE_WEIGHTS and self.__dict__.get(name, value) != value:
            raise ArgumentError(
                f"{name} decides which weights a layer has, and this layer has those of "
                f"{name}={self.__dict__[name]!r}; make a new layer"
            )
        super().__setattr__(name, value)

    # Sizes.
    @property
    def form(self) -> Form:
        """The cell and the sizes, as the helpers of a layer take them."""
        return Form(
            self.graph,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.directions,
            self.batch_first,
        )

    @property
    def places(self) -> list[Place]:
        """(layer, reverse) of each of the L * D networks, in the order of the states."""
        return self.form.places

    @property
    def output_size(self) -> int:
        """Values of each output step: directions times the cell's output size."""
        return self.form.output_size

    def sizes(self, layer: int) -> dict[str, int]:
        """The numbers for "input" and "hidden" at a layer."""
        return self.form.sizes(layer)

    def trace_name(self, name: str, layer: int, reverse: bool) -> str:
        """The name of a value in a trace, with layer and direction where there are several."""
        return self.form.trace_name(name, layer, reverse)

    # Weights.
    def make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters; `reset_parameters` fills them."""
        # One level for layer and direction; files have two (`weights/stored_names.py`).
        self.layers = nn.ModuleDict({place_name(*place): nn.Module() for place in self.places})
        self.register_load_state_dict_pre_hook(_accept_file_names)
        for (layer, _), store in self.stores().items():
            store.make(self.sizes(layer), device, dtype)

    def store(self, layer: int, reverse: bool) -> Store:
        """The weights of one layer in one direction, in the form that this module has them."""
        return NamedWeights(self.layers[place_name(layer, reverse)], self.graph.weights.values())

    def stores(self) -> dict[Place, Store]:
        """The weights of all layers and directions."""
        return {place: self.store(*place) for place in self.places}

    def pairs(self, layer: int, reverse: bool) -> Pairs:
        """All weights of one layer in one direction, live, by product and source."""
        return self.store(layer, reverse).pairs()

    def reset_parameters(self) -> None:
        """Draw the weights as torch does: uniformly within 1 / sqrt(hidden size).

        Frozen weights stay, and those that the cell fixes (`Cell.fixed`) get the cell's values.
        """
        stores = self.stores()
        for store in stores.values():
            store.reset(1.0 / math.sqrt(self.hidden_size))
        write_constants(self.cell, self.form, stores)

    def weights(self, name: str, layer: int = 0, reverse: bool = False) -> ProductWeights:
        """The weights of one product: a mapping from source to `(weight, bias)`.

        Detached, to read and to write: `layer.weights("f")["x"] = (W, b)`.

        Raises:
            ArgumentError: if there is no such product, layer or direction.
        """
        if not isinstance(layer, int) or not 0 <= layer < self.num_layers:
            raise ArgumentError(f"layer={layer!r}; the layers are 0 to {self.num_layers - 1}")
        check_flags(reverse=reverse)
        if reverse and not self.bidirectional:
            raise ArgumentError("reverse=True; the layer is not bidirectional")
        return product_weights(self.store(layer, reverse), name, self.products)

    def freeze(self, name: str, frozen: bool = True) -> None:
        """Freeze a product's weights in all layers and directions, or train them again.

        Matrices that a cell always has are given in its `fixed`.

        Raises:
            ArgumentError: if there is no such product.
        """
        check_product(name, self.products)
        for store in self.stores().values():
            store.freeze(name, frozen)

    def printed(self) -> list[str]:
        flags = {
            f"num_layers={self.num_layers}": self.num_layers != 1,
            "bias=False": not self.bias,
            "batch_first=True": self.batch_first,
            f"dropout={self.dropout}": self.dropout,
            "bidirectional=True": self.bidirectional,
        }
        changed = [text for text, differs in flags.items() if differs]
        return [str(self.input_size), str(self.hidden_size), *changed]


def _accept_file_names(layer: CellStack, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load weights with the names of files too."""
    to_module_names(state, prefix, layer.places)
