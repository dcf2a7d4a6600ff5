"""A kernel's terms and buffers in words: the comments of a kernel that is printed to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from gatewright.graph import Graph, Term
from gatewright.language.printing import text
from gatewright.schedule.buffers import Buffer, Kind
from gatewright.schedule.loop import Nest
from gatewright.schedule.slots import Group, Plan

#: The meaning of a buffer, by its kind.
KINDS: Mapping[Kind, str] = {
    "leaf": "known for all steps before this loop starts",
    "vector": "the same at each step, one row for all",
    "state": "the state, before and after each step",
    "value": "a result of the loop",
    "scratch": "passed from one nest to a later one of the same step",
    "seed": "the gradient of a result, from outside",
    "gradient": "the gradient of the state",
    "result": "a gradient that leaves the loop",
}
#: The meaning of the index by which a row of a buffer is found, see `schedule/slots.py`.
ROWS = {
    "step": "a row for each packed row",
    "before": "the row of the state before the step",
    "after": "the row of the state after the step",
    "scratch": "a row for each row of the batch",
    "vector": "a single row",
}


class Description:
    """The terms and buffers of one kernel, in words.

    A value with a name of its own in the cell is shown with it: `%26 (f) = sigmoid(%25)`.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan = graph, plan
        self.names = {term: name for name, term in reversed(list(graph.values.items()))}
        self.names |= {term: f"{name} before the step" for name, term in graph.states.items()}
        #: The ways in which the rows of a buffer are found, by its slot.
        self.rows: dict[int, list[str]] = {}
        for place in [*plan.loads.values(), *chain.from_iterable(plan.stores.values())]:
            rows = self.rows.setdefault(place.slot, [])
            if ROWS[place.how] not in rows:
                rows.append(ROWS[place.how])

    def equations(self) -> Iterator[str]:
        """The lines of the cell's equations."""
        yield from text(self.graph.equations).splitlines()

    def label(self, term: Term) -> str:
        """A term's number, with its name in the cell."""
        name = self.names.get(term)
        return f"%{term.index} ({name})" if name else f"%{term.index}"

    def term(self, term: Term) -> str:
        """The line of a term: `%35 (learn) = multiply(%18, %10)`."""
        if term.op in ("event", "input", "state", "seed"):
            return self.label(term)
        return f"{self.label(term)} = {self.operation(term)}"

    def operation(self, term: Term) -> str:
        """A term's operation on its operands."""
        operands = ", ".join(map(self.operand, term.operands))
        return f"{term.op}({operands})"

    def operand(self, term: Term) -> str:
        """A term where another one reads it: its number, or itself where it is short."""
        if term.op == "constant":
            return f"{term.attributes['value']:g}"
        if term.op == "weight":
            return str(term.attributes["weight"].path)
        if term.op in ("event", "input"):
            return str(term.attributes["name"])
        if term.op == "product":
            source, matrix = term.operands
            return f"{self.operand(matrix)} @ {self.operand(source)}"
        return f"%{term.index}"

    def nest(self, nest: Nest) -> Iterator[str]:
        """The lines of a nest: its products by their source, then its terms."""
        for group in self.plan.groups[nest]:
            yield self.group(group)
        for term in nest.terms:
            if term in nest.sums:  # its products are numbers of the group
                numbers = ", ".join(f"%{operand.index}" for operand in term.operands)
                yield f"{self.label(term)} = {term.op}({numbers})"
            else:
                yield self.term(term)

    def group(self, group: Group) -> str:
        """The products of one source, with their matrices."""
        side = "transposed " if group.products[0].op == "transposed" else ""
        products = ", ".join(
            f"%{product.index} with {side}{self.operand(product.operands[1])}"
            for product in group.products
        )
        return f"products of {self.label(group.source)}: {products}"

    def buffer(self, buffer: Buffer) -> str:
        """The line of a buffer: its term, its meaning, and the rows that it has."""
        rows = " or ".join(self.rows.get(self.plan.buffers[buffer], ()))
        parts = [self.term(buffer.term), KINDS[buffer.kind], rows]
        return f"{buffer}: " + "; ".join(filter(None, parts))
