"""The graph: what the compiler knows of a cell. Needs no torch."""

from gatewright.graph.adjoint import Adjoint, WeightGradient
from gatewright.graph.graph import Graph, Weight
from gatewright.graph.lowering import build_graph
from gatewright.graph.terms import Term

__all__ = ["Adjoint", "Graph", "Term", "Weight", "WeightGradient", "build_graph"]
