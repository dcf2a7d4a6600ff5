"""Any cell as one writes it by hand: a loop over the steps, as Python source.

This is what our kernels are compared with where no library has the cell, so it is written with
care: what follows from the inputs is computed for all steps at once before the loop; products
that read the same source are one product with their matrices stacked, and gates that read the
same sources are added up together and split once. `careful=False` writes what stands in most
tutorials instead: the equations one after the other in the loop, each product by itself.

The source names no library. `linear`, `split`, `sigmoid` and the rest come from a namespace, so
one text is the loop in torch and the body of a scan in JAX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gatewright.graph import Graph, Weight
from gatewright.graph.sizes import number
from gatewright.language.node import Node, closure
from gatewright.language.operations import OPERATIONS

#: When a value is known: from the weights alone, from the inputs, within the loop.
FIXED, TIMED, LOOP = range(3)

#: One weight that the source reads as `w[k]`: the tensors stacked in it by path, or the number
#: of zeros that stand for a bias that is not there.
Stack = tuple[str | int, ...]


@dataclass(frozen=True)
class Written:
    """A cell's loop as source.

    Attributes:
        source: `before(w, *inputs) -> (timed, fixed)`: values with a time axis, one to be taken
            for each step, and values without; `step(w, fixed, *states, *timed) -> (output,
            states)`.
        weights: What each `w[k]` is made of.
    """

    source: str
    weights: tuple[Stack, ...]


def write(graph: Graph, sizes: Mapping[str, int], *, careful: bool = True) -> Written:
    """Write a cell's loop. Noises stand at their expectation, as in evaluation."""
    return _Writer(graph, sizes, careful).run()


@dataclass(eq=False)
class _Group:
    """Products of the same sources: they are added up together, and split once."""

    sources: tuple[Node, ...]
    alone: bool
    nodes: list[Node] = field(default_factory=list)


class _Writer:
    def __init__(self, graph: Graph, sizes: Mapping[str, int], careful: bool) -> None:
        self.graph, self.equations, self.careful = graph, graph.equations, careful
        self.length = {node: number(size, sizes) for node, size in graph.sizes.of.items()}
        self.biased = {one.path for one in graph.weights.values() if one.role == "bias"}
        roots = [*self.equations.updates.values(), self.equations.output]
        needed = closure(roots)
        self.nodes = [one for one in self.equations.nodes if one in needed]
        self.stage: dict[Node, int] = {}
        for one in self.nodes:
            self.stage[one] = self.stage_of(one)
        self.group_of = self.groups()
        self.weights: dict[Stack, int] = {}
        self.lines: tuple[list[str], list[str]] = ([], [])  # before the loop, and in it
        self.text: dict[object, str] = {}
        self.stages: dict[str, int] = {}
        self.handed: dict[int, list[str]] = {FIXED: [], TIMED: []}
        self.taken: set[str] = set()
        self.names = {node: name for name, node in self.equations.names.items()}

    def run(self) -> Written:
        inputs = [self.argument(one, TIMED) for one in self.equations.step_inputs]
        states = [self.argument(one, LOOP) for one in self.equations.states]
        for node in self.nodes:
            self.emit(node)
        after = []
        for name, node in self.equations.updates.items():
            length = self.length[self.state(name)]
            one = self.read(node, LOOP)
            after.append(one if self.length[node] == length else f"expand({one}, {length})")
        output = self.read(self.equations.output, LOOP)
        timed, fixed = self.handed[TIMED], self.handed[FIXED]
        unpacked = [f"{listed(fixed)} = fixed"] if fixed else []
        source = [
            f"def before({', '.join(['w', *inputs])}):",
            *self.lines[0],
            f"return ({listed(timed)}), ({listed(fixed)})",
            f"def step({', '.join(['w', 'fixed', *states, *timed])}):",
            *unpacked,
            *self.lines[1],
            f"return {output}, ({listed(after)})",
        ]
        text = "\n".join(one if one.startswith("def") else f"    {one}" for one in source)
        return Written(text + "\n", tuple(self.weights))

    def stage_of(self, node: Node) -> int:
        if node.op in ("constant", "parameter", "noise"):
            return FIXED
        if node.op in ("event", "input"):
            return TIMED
        if node.op == "state":
            return LOOP
        found = max((self.stage[one] for one in node.operands), default=FIXED)
        return found if self.careful else LOOP

    def groups(self) -> dict[Node, _Group]:
        """The group of each product."""
        products = [one for one in self.nodes if one.op == "linear"]
        uses = Counter(path for one in products for path in self.paths(one))
        found: dict[object, _Group] = {}
        of = {}
        for node in products:
            # A weight that is shared stays one tensor, and one with heads has three axes.
            shared = any(uses[path] > 1 for path in self.paths(node))
            alone = shared or node.attributes["heads"] > 1 or not self.careful
            key = node if alone else node.operands
            of[node] = found.setdefault(key, _Group(node.operands, alone))
            of[node].nodes.append(node)
        return of

    def paths(self, node: Node) -> list[str]:
        """The matrices of a product."""
        name = node.attributes["name"]
        return [Weight(name, key, "weight", ()).path for key in node.attributes["keys"]]

    def state(self, name: str) -> Node:
        return next(
            one
            for one in self.equations.nodes
            if one.op == "state" and one.attributes["name"] == name
        )

    # Names and weights.
    def fresh(self, wanted: str, stage: int) -> str:
        """A variable that is not there yet."""
        wanted = wanted.replace(".", "_")  # a cell within the cell
        name, times = wanted, 1
        while name in self.taken or name in OPERATIONS or name in RESERVED:
            times += 1
            name = f"{wanted}{times}"
        self.taken.add(name)
        self.stages[name] = stage
        return name

    def argument(self, name: str, stage: int) -> str:
        variable = self.fresh(name, stage)
        for node in self.nodes:
            if node.op in ("event", "input", "state") and node.attributes["name"] == name:
                self.text[node] = variable
        return variable

    def weight(self, *stack: str | int) -> str:
        """How the source names a weight."""
        return f"w[{self.weights.setdefault(stack, len(self.weights))}]"

    def read(self, key: object, stage: int) -> str:
        """A value's text where it is read; what the loop reads is handed to it."""
        text = self.text[key]
        of = self.stages.get(text)
        if stage == LOOP and of in self.handed and text not in self.handed[of]:
            self.handed[of].append(text)
        return text

    def line(self, name: str, stage: int, text: str) -> str:
        variable = self.fresh(name, stage)
        self.lines[stage == LOOP].append(f"{variable} = {text}")
        return variable

    # Emission.
    def emit(self, node: Node) -> None:
        stage = self.stage[node]
        if node in self.text:
            return
        if node.op == "constant":
            self.text[node] = repr(float(node.attributes["value"]))
        elif node.op == "noise":
            self.text[node] = repr(float(node.attributes["p"]))
        elif node.op == "parameter":
            self.text[node] = self.weight(node.attributes["name"])
        elif node.op == "linear":
            self.sum_up(self.group_of[node], stage)
        else:
            name = self.names.get(node, "v")
            self.text[node] = self.line(name, stage, self.formula(node, stage))

    def formula(self, node: Node, stage: int) -> str:
        operands = [self.read(one, stage) for one in node.operands]
        if node.op == "diagonal":
            vectors = [self.weight(path) for path in self.paths(node)]
            pairs = zip(vectors, operands, strict=True)
            return " + ".join(f"{vector} * {operand}" for vector, operand in pairs)
        text = OPERATIONS[node.op].text.format(*operands)
        how = {key: node.attributes[key] for key in ("heads", "eps") if key in node.attributes}
        return (
            text[:-1]
            + "".join(f", {key}={value}" for key, value in how.items())
            + (")" if how else text[-1:])
        )

    def sum_up(self, group: _Group, stage: int) -> None:
        """Add up what a group's products give, and split it into them."""
        parts = []
        for position, source in enumerate(group.sources):
            self.product(source)
            parts.append(self.read((group, position), stage))
        total = " + ".join(parts)
        if len(group.nodes) == 1:
            name = f"{group.nodes[0].attributes['name']}_sum"
            simple = len(parts) == 1
            self.text[group.nodes[0]] = total if simple else self.line(name, stage, total)
            return
        names = [self.fresh(f"{one.attributes['name']}_sum", stage) for one in group.nodes]
        lengths = ", ".join(str(self.length[one]) for one in group.nodes)
        self.lines[stage == LOOP].append(f"{', '.join(names)} = split({total}, ({lengths}))")
        self.text |= dict(zip(group.nodes, names, strict=True))

    def product(self, source: Node) -> None:
        """All that is multiplied with one source, in one product where that can be."""
        entries = [
            (group, position)
            for group in dict.fromkeys(self.group_of.values())
            for position, one in enumerate(group.sources)
            if one is source
        ]
        stacked = [one for one in entries if not one[0].alone]
        for some in (stacked, *([one] for one in entries if one[0].alone)):
            if some and some[0] not in self.text:
                self.multiply(source, some)

    def multiply(self, source: Node, entries: Sequence[tuple[_Group, int]]) -> None:
        stage = self.stage[source] if self.careful else LOOP
        matrices: list[str] = []
        biases: list[str | int] = []
        lengths = []
        for group, position in entries:
            for node in group.nodes:
                path = self.paths(node)[position]
                bias = path.removesuffix("weight") + "bias"
                matrices.append(path)
                biases.append(bias if bias in self.biased else self.length[node])
            lengths.append(sum(self.length[node] for node in group.nodes))
        text = f"{self.read(source, stage)}, {self.weight(*matrices)}"
        if any(isinstance(one, str) for one in biases):
            text += f", {self.weight(*biases)}"
        origin = self.names.get(source) or source.attributes.get("name", "value")
        names = [self.fresh(f"from_{origin}", stage) for _ in entries]
        made = f"linear({text})"
        if len(names) > 1:
            made = f"split({made}, ({', '.join(map(str, lengths))}))"
        self.lines[stage == LOOP].append(f"{', '.join(names)} = {made}")
        self.text |= dict(zip(entries, names, strict=True))


#: Names that the source uses itself.
RESERVED = {"w", "fixed", "before", "step", "split", "expand", "inf", "nan"}


def listed(names: Sequence[str]) -> str:
    """The inside of a tuple."""
    return ", ".join(names) + ("," if len(names) == 1 else "")
