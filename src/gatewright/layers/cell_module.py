"""What every module around a cell shares: its graph, how it prints, what it refuses."""

from __future__ import annotations

from typing import Any

from torch import nn

from gatewright.errors import BackendError
from gatewright.graph import Graph, build_graph
from gatewright.language.cell import Cell


class CellModule(nn.Module):
    """A module that runs a cell; `cell` and `bias` are set by whoever derives from it."""

    cell: Cell
    bias: bool

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

    def __getstate__(self) -> dict[str, Any]:
        # The graph follows from the cell, and is larger than it.
        return {name: value for name, value in self.__dict__.items() if name != "_graph"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.prepare()

    def prepare(self) -> None:
        """Make now what a run reads of the graph: torch.compile cannot trace the making."""
        assert self.graph.stages

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"
