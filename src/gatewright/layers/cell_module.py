"""`CellModule`: what layers and step cells share: their graph, how they print and copy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from gatewright.errors import BackendError
from gatewright.graph import Graph, build_graph
from gatewright.language.cell import Cell
from gatewright.layers.built_in import BuiltIn, options_of

#: The attribute with the prepared calls of a layer (`fast_path.py`).
FAST_PATH = "_fast_path"
#: Attributes that are derived from the others, so that a copy makes its own.
DERIVED = ("_graph", FAST_PATH)


class CellModule(nn.Module):
    """A module that runs a cell. Subclasses set `cell` and `bias`."""

    cell: Cell
    bias: bool
    #: The cell of a class that has one of its own, such as `LSTM`; None for any cell.
    built_in: ClassVar[BuiltIn | None] = None
    #: The arguments that choose among the forms of that cell, with their defaults.
    options: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, built_in: BuiltIn | None = None, **further: Any) -> None:
        super().__init_subclass__(**further)
        if built_in is not None:
            cls.built_in, cls.options = built_in, options_of(cls.__init__)

    def choose_cell(self, **options: Any) -> Cell:
        """Keep the options as attributes, and make the built-in cell that they choose."""
        assert self.built_in is not None
        for name, value in options.items():
            setattr(self, name, value)
        return self.built_in.cell(**options)

    @property
    def graph(self) -> Graph:
        """The cell's graph, without biases if the module has none."""
        if self.bias:
            graph: Graph = self.cell.graph
            return graph
        if "_graph" not in self.__dict__:
            self.__dict__["_graph"] = build_graph(self.cell.equations, bias=False)
        return self.__dict__["_graph"]  # type: ignore[no-any-return]

    @property
    def products(self) -> tuple[str, ...]:
        """The names of the cell's products and parameters."""
        return tuple(dict.fromkeys(weight.product for weight in self.graph.weights.values()))

    def __prepare_scriptable__(self) -> None:
        raise BackendError(
            f"torch.jit.script cannot read a gatewright {type(self).__name__}; "
            "use torch.compile or torch.export"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "qconfig":
            self._refuse_quantization(value)
        super().__setattr__(name, value)

    def _refuse_quantization(self, configuration: Any) -> None:
        """Refuse torch's quantization, which has no kernels for this layer.

        torch sets a configuration on every module, None on those that are not to be quantized.
        It would leave out a type that it does not know without a word.
        """
        kind = type(self).__name__
        fact = f"torch's quantization has no kernels for a gatewright {kind}"
        if configuration is not None:
            raise BackendError(f"{fact}; leave it out of the types and names to quantize")
        hint = ""
        if hasattr(nn, kind):
            hint = f"; to quantize it, load its state_dict into a torch.nn.{kind}"
        warnings.warn(f"{fact} and leaves it as it is{hint}", UserWarning, stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in DERIVED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in DERIVED:
            self.__dict__.pop(name, None)
        super().__setstate__(state)
        self.prepare()

    def prepare(self) -> None:
        """Compute the stages of the graph ahead of a run: torch.compile cannot trace that."""
        assert self.graph.stages

    def extra_repr(self) -> str:
        """The arguments that are not at their default, as torch prints those of its layers."""
        if self.built_in is None:
            return ", ".join([repr(self.cell), *self.printed()])
        own = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self.options.items()
            if getattr(self, name) != default
        ]
        input_size, hidden_size, *further = self.printed()
        return ", ".join([input_size, hidden_size, *own, *further])

    def printed(self) -> list[str]:
        """The sizes, then the further arguments that are not at their default."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
