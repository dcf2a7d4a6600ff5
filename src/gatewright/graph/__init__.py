"""The graph: the compiler's knowledge of a cell. Needs no torch."""

from gatewright.graph.adjoint import Adjoint, WeightGradient
from gatewright.graph.graph import Graph, Weight
from gatewright.graph.lowering import build_graph
from gatewright.graph.terms import Term, Terms

__all__ = ["Adjoint", "Graph", "Term", "Terms", "Weight", "WeightGradient", "build_graph"]
