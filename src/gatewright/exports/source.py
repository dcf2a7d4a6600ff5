"""Any cell as a programmer would write it by hand: a loop over the steps, as Python source.

Our kernels are compared with this loop where no library has the cell, so it is written with care:
values that follow from the inputs are computed for all steps at once, before the loop; products
that read the same source are one product with their matrices stacked; gates that read the same
sources are added up together and split once. `careful=False` writes the loop of most tutorials
instead: all equations inside the loop, in order, each product by itself.

The source names no library. It takes `linear`, `split`, `sigmoid` and the rest from a namespace,
so the same text is a loop in torch and the body of a scan in JAX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gatewright.graph import Graph, Weight
from gatewright.graph.sizes import number
from gatewright.language.node import Node, closure
from gatewright.language.operations import OPERATIONS

#: The earliest time at which a value is known: from the weights, from the inputs of all steps,
#: or only within the loop.
FIXED, TIMED, LOOP = range(3)

#: A weight that the source reads as `w[k]`: the paths of the tensors that are stacked in it. A
#: number is that many zeros, in place of a bias that the cell does not have.
Stack = tuple[str | int, ...]

#: Names that the source uses itself.
RESERVED = {"w", "fixed", "before", "step", "split", "expand", "inf", "nan"}


@dataclass(frozen=True)
class LoopSource:
    """The source of a cell's loop, and the weights that it reads.

    Attributes:
        text: `before(w, *inputs) -> (timed, fixed)`: values with a time axis, of which each step
            takes its own, and values without; `step(w, fixed, *states, *timed) -> (output,
            states)`.
        weights: The parts of each `w[k]`.
    """

    text: str
    weights: tuple[Stack, ...]

    def functions(self, namespace: Mapping[str, Any]) -> tuple[Any, Any]:
        """`before` and `step` as functions, which take `linear` and the rest from `namespace`."""
        names = dict(namespace)
        exec(compile(self.text, "<written loop>", "exec"), names)  # only text that we wrote
        return names["before"], names["step"]

    def stacked(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """The tensors `w`, copied from the cell's weights, which are given by path."""

        def tensor(part: str | int) -> Tensor:
            if isinstance(part, str):
                return weights[part].detach()
            return next(iter(weights.values())).new_zeros(part)

        return [torch.cat([tensor(part) for part in stack]) for stack in self.weights]


def write_loop(graph: Graph, sizes: Mapping[str, int], *, careful: bool = True) -> LoopSource:
    """Write a cell's loop. Noise is replaced by its expectation, as in evaluation."""
    return _Writer(graph, sizes, careful).run()


@dataclass(eq=False)
class _ProductGroup:
    """Products of the same sources: they are added up together, and split once.

    A group that is not `stackable` holds one product, whose matrix stays a tensor of its own.
    """

    sources: tuple[Node, ...]
    stackable: bool
    nodes: list[Node] = field(default_factory=list)


class _Writer:
    def __init__(self, graph: Graph, sizes: Mapping[str, int], careful: bool) -> None:
        self.equations, self.careful = graph.equations, careful
        self.length = {node: number(size, sizes) for node, size in graph.sizes.of.items()}
        self.biases = {w.path for w in graph.weights.values() if w.role == "bias"}
        needed = closure([*self.equations.updates.values(), self.equations.output])
        self.nodes = [node for node in self.equations.nodes if node in needed]
        self.stage: dict[Node, int] = {}
        for node in self.nodes:  # in order, so the operands have theirs
            self.stage[node] = self.stage_of(node)
        self.group_of = self.product_groups()
        self.weights: dict[Stack, int] = {}
        self.before: list[str] = []
        self.loop: list[str] = []
        #: The text of each value; a key is a node, or (group, index of a source) for the share
        #: of one source in the sum of a group.
        self.text: dict[object, str] = {}
        self.variable_stage: dict[str, int] = {}
        #: Variables of `before` that the loop reads, in the order of their first use.
        self.handed_over: dict[int, list[str]] = {FIXED: [], TIMED: []}
        self.gate_names = {node: name for name, node in self.equations.names.items()}

    def run(self) -> LoopSource:
        inputs = [self.argument(name, TIMED) for name in self.equations.step_inputs]
        states = [self.argument(name, LOOP) for name in self.equations.states]
        for node in self.nodes:
            self.emit(node)
        new_states = []
        for name, node in self.equations.updates.items():
            length = self.length[self.state(name)]
            text = self.read(node, LOOP)
            same = self.length[node] == length
            new_states.append(text if same else f"expand({text}, {length})")
        output = self.read(self.equations.output, LOOP)
        timed, fixed = self.handed_over[TIMED], self.handed_over[FIXED]
        unpack = [f"{tuple_items(fixed)} = fixed"] if fixed else []
        before = [*self.before, f"return ({tuple_items(timed)}), ({tuple_items(fixed)})"]
        step = [*unpack, *self.loop, f"return {output}, ({tuple_items(new_states)})"]
        lines = [
            f"def before({', '.join(['w', *inputs])}):",
            *(f"    {line}" for line in before),
            f"def step({', '.join(['w', 'fixed', *states, *timed])}):",
            *(f"    {line}" for line in step),
        ]
        return LoopSource("\n".join(lines) + "\n", tuple(self.weights))

    def stage_of(self, node: Node) -> int:
        """The stage in which a value is computed; without care, all work is in the loop."""
        if node.op in ("constant", "parameter", "noise"):
            return FIXED
        if node.op in ("event", "input"):
            return TIMED
        if node.op == "state" or not self.careful:
            return LOOP
        return max((self.stage[operand] for operand in node.operands), default=FIXED)

    def product_groups(self) -> dict[Node, _ProductGroup]:
        """The group of each product."""
        products = [node for node in self.nodes if node.op == "linear"]
        uses = Counter(path for node in products for path in self.paths(node))
        groups: dict[object, _ProductGroup] = {}
        group_of = {}
        for node in products:
            # A weight that is shared stays one tensor, and one with heads has three axes.
            shared = any(uses[path] > 1 for path in self.paths(node))
            stackable = self.careful and not shared and node.attributes["heads"] == 1
            key = node.operands if stackable else node
            group = groups.setdefault(key, _ProductGroup(node.operands, stackable))
            group.nodes.append(node)
            group_of[node] = group
        return group_of

    def paths(self, node: Node) -> list[str]:
        """The paths of a product's matrices, source by source."""
        name = node.attributes["name"]
        return [Weight(name, key, "weight", ()).path for key in node.attributes["keys"]]

    def state(self, name: str) -> Node:
        nodes = self.equations.nodes
        return next(n for n in nodes if n.op == "state" and n.attributes["name"] == name)

    # Names, weights and lines.
    def new_variable(self, name: str, stage: int) -> str:
        """A variable of this name, with a number behind it where the name is in use."""
        name = name.replace(".", "_")  # the value of a cell within the cell
        variable, times = name, 1
        while variable in self.variable_stage or variable in OPERATIONS or variable in RESERVED:
            times += 1
            variable = f"{name}{times}"
        self.variable_stage[variable] = stage
        return variable

    def argument(self, name: str, stage: int) -> str:
        """An argument of `before` or `step`: an input or a state."""
        variable = self.new_variable(name, stage)
        for node in self.nodes:
            if node.op in ("event", "input", "state") and node.attributes["name"] == name:
                self.text[node] = variable
        return variable

    def weight(self, *stack: str | int) -> str:
        """`w[k]` for a stack of weights."""
        return f"w[{self.weights.setdefault(stack, len(self.weights))}]"

    def read(self, key: object, stage: int) -> str:
        """A value's text where it is read; a variable that the loop reads is handed over to it."""
        text = self.text[key]
        origin = self.variable_stage.get(text)
        if stage == LOOP and origin in self.handed_over and text not in self.handed_over[origin]:
            self.handed_over[origin].append(text)
        return text

    def assign(self, variables: str, stage: int, text: str) -> None:
        """Write one line, before the loop or in it."""
        lines = self.loop if stage == LOOP else self.before
        lines.append(f"{variables} = {text}")

    def variable(self, name: str, stage: int, text: str) -> str:
        """A new variable that holds the value of a text."""
        variable = self.new_variable(name, stage)
        self.assign(variable, stage, text)
        return variable

    # Emission.
    def emit(self, node: Node) -> None:
        """Write the lines of one value."""
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
            self.emit_sum(self.group_of[node], stage)
        else:
            name = self.gate_names.get(node, "v")
            self.text[node] = self.variable(name, stage, self.formula(node, stage))

    def formula(self, node: Node, stage: int) -> str:
        """The right-hand side of a pointwise or row operation."""
        operands = [self.read(operand, stage) for operand in node.operands]
        if node.op == "diagonal":
            vectors = [self.weight(path) for path in self.paths(node)]
            return " + ".join(f"{v} * {x}" for v, x in zip(vectors, operands, strict=True))
        text = OPERATIONS[node.op].text.format(*operands)
        options = [
            f", {key}={node.attributes[key]}" for key in ("heads", "eps") if key in node.attributes
        ]
        # Operations with options are calls: the options go before the closing bracket.
        return f"{text[:-1]}{''.join(options)})" if options else text

    def emit_sum(self, group: _ProductGroup, stage: int) -> None:
        """Add up the products of a group over its sources, and split the sum into its gates."""
        parts = []
        for position, source in enumerate(group.sources):
            self.emit_products(source)
            parts.append(self.read((group, position), stage))
        total = " + ".join(parts)
        if len(group.nodes) == 1:
            node = group.nodes[0]
            name = f"{node.attributes['name']}_sum"
            self.text[node] = total if len(parts) == 1 else self.variable(name, stage, total)
            return
        names = [self.new_variable(f"{n.attributes['name']}_sum", stage) for n in group.nodes]
        lengths = ", ".join(str(self.length[node]) for node in group.nodes)
        self.assign(", ".join(names), stage, f"split({total}, ({lengths}))")
        self.text |= dict(zip(group.nodes, names, strict=True))

    def emit_products(self, source: Node) -> None:
        """Multiply a source with all its matrices: in one product, but for those not stackable."""
        entries = [
            (group, position)
            for group in dict.fromkeys(self.group_of.values())
            for position, operand in enumerate(group.sources)
            if operand is source
        ]
        stacked = [entry for entry in entries if entry[0].stackable]
        separate = [[entry] for entry in entries if not entry[0].stackable]
        for together in (stacked, *separate):
            if together and together[0] not in self.text:
                self.multiply(source, together)

    def multiply(self, source: Node, entries: Sequence[tuple[_ProductGroup, int]]) -> None:
        """Write one product of a source, split into the shares of several groups."""
        stage = self.stage[source] if self.careful else LOOP
        matrices: list[str] = []
        biases: list[str | int] = []
        lengths = []
        for group, position in entries:
            for node in group.nodes:
                path = self.paths(node)[position]
                bias = path.removesuffix("weight") + "bias"
                matrices.append(path)
                biases.append(bias if bias in self.biases else self.length[node])
            lengths.append(sum(self.length[node] for node in group.nodes))
        text = f"{self.read(source, stage)}, {self.weight(*matrices)}"
        if any(isinstance(bias, str) for bias in biases):
            text += f", {self.weight(*biases)}"
        product = f"linear({text})"
        if len(entries) > 1:
            product = f"split({product}, ({', '.join(map(str, lengths))}))"
        origin = self.gate_names.get(source) or source.attributes.get("name", "value")
        names = [self.new_variable(f"from_{origin}", stage) for _ in entries]
        self.assign(", ".join(names), stage, product)
        self.text |= dict(zip(entries, names, strict=True))


def tuple_items(names: Sequence[str]) -> str:
    """The inside of a tuple's brackets."""
    return ", ".join(names) + ("," if len(names) == 1 else "")
