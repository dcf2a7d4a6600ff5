"""The compiler's graph of a cell: named values with sizes and stages, and the adjoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gatewright.errors import ArgumentError
from gatewright.graph.adjoint import Adjoint, derive
from gatewright.graph.sizes import Sizes, number
from gatewright.graph.stages import after_loop, stages
from gatewright.graph.terms import Term, Terms
from gatewright.language.equations import Equations
from gatewright.language.node import Node, Size


@dataclass(frozen=True)
class Weight:
    """One learned tensor: the matrix or vector of a product's source, a bias, a parameter.

    Attributes:
        product: The product's name, or the parameter's.
        source: The source's key; empty for a parameter.
        role: "weight", "bias" or "parameter".
        shape: Symbolic sizes: rows and columns of a matrix, or the length of a vector.
        heads: Blocks of a matrix; with more than one, its tensor has three axes, heads first.
        start: The value that a parameter starts from.
        antisymmetric: Whether its product reads W - W^T in the place of the tensor W.
    """

    product: str
    source: str
    role: str
    shape: tuple[Size, ...]
    heads: int = 1
    start: float | None = None
    antisymmetric: bool = False

    @cached_property
    def path(self) -> str:
        """The name under which a layer keeps it: `f.x.weight`, `f.x.bias`, `gain`."""
        return f"{self.product}.{self.source}.{self.role}" if self.source else self.product

    def numbers(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape in numbers."""
        *_, rows, columns = (1, 1, *(number(size, sizes) for size in self.shape))
        if len(self.shape) == 1:
            return (columns,)
        return (
            (self.heads, rows // self.heads, columns // self.heads)
            if self.heads > 1
            else (rows, columns)
        )


@dataclass(frozen=True, eq=False)
class Graph:
    """The terms of a step, and the names of those that a user or a backend asks for.

    Attributes:
        equations: The equations that it was built from.
        terms: The frozen arena of the step's terms.
        weights: The learned tensors, by path.
        values: Each named value's term; a state's name is the state after the step.
        states: Each state before the step; `updates` after it.
        inputs: The event and the further inputs, and `noises` in their order.
        initial: The learned starts among the weights, or numbers.
        text: The cell as it is stored; it identifies the graph in a compiled program.
        lowered: The term of each node of the equations.
    """

    equations: Equations
    terms: Terms
    sizes: Sizes
    weights: Mapping[str, Weight]
    values: Mapping[str, Term]
    inputs: Mapping[str, Term]
    states: Mapping[str, Term]
    updates: Mapping[str, Term]
    output: Term
    noises: tuple[Term, ...]
    initial: Mapping[str, float | Weight]
    text: str = ""
    lowered: Mapping[Node, Term] = field(default_factory=dict)

    @property
    def forward(self) -> Sequence[Term]:
        """The terms of the step, each after its operands."""
        return self.terms.all

    @cached_property
    def stages(self) -> dict[Term, int]:
        """The stage of each term of the step; see `graph/stages.py`."""
        return stages(self.forward)

    @cached_property
    def after(self) -> frozenset[Term]:
        """Terms that no next state needs."""
        return after_loop(self.updates.values(), [self.output, *self.values.values()])

    @cached_property
    def adjoint(self) -> Adjoint[str]:
        """The gradient of the step, seeded at the states after it and at the output."""
        return self.adjoint_of()

    def adjoint_of(self, *names: str) -> Adjoint[str]:
        """Derive the gradient of the step, seeded also at the named values.

        Raises:
            ArgumentError: if a name is not there, or is that of a comparison.
        """
        unknown = [name for name in names if name not in self.values]
        if unknown:
            raise ArgumentError(f"{unknown} are not among the values {sorted(self.values)}")
        truths = [name for name in names if self.values[name].boolean]
        if truths:
            raise ArgumentError(f"{truths} are comparisons, which have no gradient; leave them out")
        seeds = {name: self.values[name] for name in names} | dict(self.updates)
        if self.output not in self.updates.values():
            seeds["output"] = self.output
        return derive(self.terms.extended(), self.forward, seeds, self.states, self.inputs)

    def stage(self, name: str) -> int:
        """Return the stage of a named value."""
        return self.stages[self.values[name]]

    def size(self, name: str) -> Size:
        """Return the symbolic size of a named value."""
        return self.values[name].size

    @property
    def output_size(self) -> Size:
        return self.output.size
