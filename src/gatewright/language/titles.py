"""Titles: what values are called in print that the step has not named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain, count

from gatewright.language.equations import Equations
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS

#: Operations within each other that a reader can still follow.
MOST_NESTED = 12


def name_shared(
    equations: Equations, written: Callable[[str], str], titles: dict[Node, str]
) -> None:
    """Name values without a name that are used twice, or made of too many parts.

    Chains of the one would print in exponentially many pieces, the other as one endless line.
    """
    uses = Counter(one for node in equations.nodes for one in node.operands)
    hints = _hints(equations)
    taken = {"", *equations.names}
    depth: dict[Node, int] = {}
    for node in equations.nodes:
        depth[node] = 1 + max((depth[one] for one in node.operands), default=0)
        inner = node not in titles and OPERATIONS[node.op].kind != "leaf"
        if inner and (uses[node] > 1 or depth[node] > MOST_NESTED):
            hint = hints.get(node, "")
            numbered = (f"{hint or 't'}{k}" for k in count(1))
            name = next(one for one in chain([hint], numbered) if one not in taken)
            taken.add(name)
            titles[node] = written(name)
        if node in titles:
            depth[node] = 0


def _hints(equations: Equations) -> dict[Node, str]:
    """What is known of values: the product that one is a function of, as that is named, or
    else the key under which a product reads it. So micro-steps print as t1, s1, t2, s2."""
    found: dict[Node, str] = {}
    for node in equations.nodes:
        for key, source in zip(node.attributes.get("keys", ()), node.operands, strict=False):
            found.setdefault(source, key.removesuffix("*"))
        if OPERATIONS[node.op].arity == 1 and node.operands[0].op == "linear":
            found[node] = node.operands[0].attributes["name"]
    return found
