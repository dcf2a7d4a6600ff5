"""Naming: how a product gets the name under which its weights are kept.

By `name=`, else by the first named value that it flows into, else by the state it
returns in. Never by position, so that moving a line never swaps gates in a saved model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gatewright.language.node import Node, closure

if TYPE_CHECKING:
    from gatewright.language.functions import Update
    from gatewright.language.reading import Reader, Scope

#: Operations that own weights, and so need a name.
OWNERS = frozenset({"linear", "diagonal", "parameter"})


def name_values(reader: Reader, scope: Scope, update: Update) -> None:
    """Name what one step made: its values in `scope.names`, its products in place."""
    made = reader.nodes[scope.first :]
    position = {node: index for index, node in enumerate(made)}
    bound = {
        name: value.node
        for name, value in update.names.items()
        if value.node in position and not name.startswith("_")
    }
    returned = {name: value.node for name, value in update.states.items()}
    # A rebound state's argument (`c = f * c + i * g`) names a product like any other local.
    ends = sorted(bound.items(), key=lambda item: position[item[1]])
    ends += [*returned.items(), ("output", update.output.node)]
    reach = {end: closure([end]) for _, end in ends}
    for node in made:
        reader.makers.setdefault(node, scope.cell)
        if node.op in OWNERS and node.attributes["name"] is None:
            reader.implicit.add(node)
            found = next((name for name, end in ends if node in reach[end]), None)
            if found is not None:
                node.attributes["name"] = scope.prefix + found
    # `old = h` names the state before the step, of which `h` means the one after it.
    kept = {
        name: value.node
        for name, value in update.names.items()
        if value.node.attributes.get("name") not in (None, name)
        and value.node.op in ("event", "state", "input")
        and not (scope.prefix or name.startswith("_"))
    }
    values = {name: node for name, node in ends[: len(bound)] if name not in returned}
    named = kept | values | returned  # in the order in which they were made, the states last
    scope.names |= {scope.prefix + name: node for name, node in named.items()}


def check_weights(reader: Reader, learned: Iterable[str]) -> None:
    """Refuse two weights that would be kept in one place without being said to be one.

    `learned` names the states whose start is learned; each is kept as `initial.<state>`.
    """
    seen: dict[str, Node] = {}
    for node in reader.nodes:
        if node.op not in OWNERS or node.attributes["name"] is None:
            continue
        name = node.attributes["name"]
        keys = node.attributes.get("keys")
        for place in [f"{name}.{key}" for key in keys] if keys else [name]:
            other = seen.setdefault(place, node)
            if other is not node and not may_share(reader, node, other):
                what = f"both are named `{name}`"
                what += f" and read `{place[len(name) + 1 :]}`" if keys else ""
                raise reader.error(
                    f"two products would keep their weights in one place: {what} "
                    f"(the other stands in line {other.line})",
                    "give one a name of its own, as in linear(x, h, name=...), or bind the "
                    "parts to local names; to share weights, give both the same name=",
                    node.line,
                )
    for state in learned:
        if f"initial.{state}" in seen:
            raise reader.error(
                f"a product named `initial` reads `{state}`, whose learned start is kept there",
                "give the product a name of its own with name=",
                seen[f"initial.{state}"].line,
            )
    for place, node in seen.items():
        inside = next((one for one in seen if one.startswith(place + ".")), None)
        if node.op == "parameter" and inside is not None:
            raise reader.error(
                f"a parameter and a product are both named `{place}`",
                "give one a name of its own with name=",
                node.line,
            )


def may_share(reader: Reader, node: Node, other: Node) -> bool:
    """Whether two weights in one place are meant to be one."""
    if reader.makers[node] is reader.makers[other] is not reader.cell:
        return True  # a cell that is a field, applied twice
    if node in reader.implicit or other in reader.implicit or node.op != other.op:
        return False
    alike = ("size", "heads", "antisymmetric", "start")
    return all(node.attributes.get(one) == other.attributes.get(one) for one in alike)
