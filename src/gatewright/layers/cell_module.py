"""What every module around a cell shares: its graph, how it prints, what it refuses."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from gatewright.errors import BackendError
from gatewright.graph import Graph, build_graph
from gatewright.language.cell import Cell

#: Where a layer keeps the forms of its calls (`fast_path.py`).
PATH = "_fast_path"
#: What follows from the rest of a module, and is no part of a copy.
DERIVED = ("_graph", PATH)


class CellModule(nn.Module):
    """A module that runs a cell; `cell` and `bias` are set by whoever derives from it."""

    cell: Cell
    bias: bool
    #: Arguments that choose between a class's cells, with their defaults; None where any cell
    #: may be given.
    options: ClassVar[Mapping[str, Any] | None] = None

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
        return tuple(dict.fromkeys(one.product for one in self.graph.weights.values()))

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
        """Say what torch's quantization does to this layer, before it leaves it out.

        It gives every module a configuration, None where a module is not to be quantized; a
        type that it has no kernels for it would skip without a word.
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
        """Make now what a run reads of the graph: torch.compile cannot trace the making."""
        assert self.graph.stages

    def extra_repr(self) -> str:
        """The arguments, as torch prints its layers'; those at their default are left out."""
        if self.options is None:
            return ", ".join([repr(self.cell), *self.printed()])
        own = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self.options.items()
            if getattr(self, name) != default
        ]
        input_size, hidden_size, *further = self.printed()
        return ", ".join([input_size, hidden_size, *own, *further])

    def printed(self) -> list[str]:
        """The sizes, and what else is not at its default."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
