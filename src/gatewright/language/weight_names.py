"""Name the weights of a step.

A weight gets its name from `name=`, else from the first named value that it flows into, else
from the state that it is returned in. The name never depends on the position, so moving a
line never swaps the weights of two gates in a saved model.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.language.functions import Update
from gatewright.language.node import Node, closure
from gatewright.language.recorder import Recorder, Scope

#: Operations that have weights, and so need a name.
OWNERS = frozenset({"linear", "diagonal", "parameter"})


def name_values(recorder: Recorder, scope: Scope, update: Update) -> None:
    """Name the values of one step in `scope.names`, and its weights in their nodes."""
    nodes = recorder.nodes[scope.first :]
    position = {node: index for index, node in enumerate(nodes)}
    bound = {
        name: value.node
        for name, value in update.names.items()
        if value.node in position and not name.startswith("_")
    }
    returned = {name: value.node for name, value in update.states.items()}
    # The values that can give a name, the earliest first. A state that is assigned again
    # (`c = f * c + i * g`) names a weight like any other local variable.
    namers = sorted(bound.items(), key=lambda item: position[item[1]])
    namers += [*returned.items(), ("output", update.output.node)]
    sources = {node: closure([node]) for _, node in namers}  # all that each depends on
    for node in nodes:
        recorder.makers.setdefault(node, scope.cell)
        if node.op in OWNERS and node.attributes["name"] is None:
            recorder.implicit.add(node)
            name = next((name for name, namer in namers if node in sources[namer]), None)
            if name is not None:
                node.attributes["name"] = scope.prefix + name
    # After `old = h`, `old` names the state before the step; `h` means the state after it.
    aliases = {
        name: value.node
        for name, value in update.names.items()
        if value.node.attributes.get("name") not in (None, name)
        and value.node.op in ("event", "state", "input")
        and not (scope.prefix or name.startswith("_"))
    }
    values = {name: node for name, node in namers[: len(bound)] if name not in returned}
    named = aliases | values | returned  # in the order of the step, the states last
    scope.names |= {scope.prefix + name: node for name, node in named.items()}


def check_weights(recorder: Recorder, learned: Iterable[str]) -> None:
    """Refuse two weights with the same stored name, unless they are shared on purpose.

    `learned` names the states whose start is learned and stored as `initial.<state>`.
    """
    owners: dict[str, Node] = {}
    for node in recorder.nodes:
        if node.op not in OWNERS or node.attributes["name"] is None:
            continue
        name = node.attributes["name"]
        keys = node.attributes.get("keys")
        for path in [f"{name}.{key}" for key in keys] if keys else [name]:
            owner = owners.setdefault(path, node)
            if owner is not node and not may_share(recorder, node, owner):
                source = f" and read `{path[len(name) + 1 :]}`" if keys else ""
                raise recorder.error(
                    f"two products would share one weight: both are named `{name}`{source} "
                    f"(the first is in line {owner.line})",
                    "give one a name of its own, as in linear(x, h, name=...), or assign the "
                    "parts to local names; to share the weight, give both the same name=",
                    node.line,
                )
    for state in learned:
        if f"initial.{state}" in owners:
            raise recorder.error(
                f"a product named `initial` reads `{state}`, whose learned start has that name too",
                "give the product a name of its own with name=",
                owners[f"initial.{state}"].line,
            )
    for path, node in owners.items():
        inside = any(longer.startswith(path + ".") for longer in owners)
        if node.op == "parameter" and inside:
            raise recorder.error(
                f"a parameter and a product are both named `{path}`",
                "give one a name of its own with name=",
                node.line,
            )


def may_share(recorder: Recorder, node: Node, owner: Node) -> bool:
    """Tell if two operations with the same stored name are meant to share the weight."""
    if recorder.makers[node] is recorder.makers[owner] is not recorder.cell:
        return True  # a cell that is a field, called twice
    if node in recorder.implicit or owner in recorder.implicit or node.op != owner.op:
        return False
    options = ("size", "heads", "antisymmetric", "start")
    return all(node.attributes.get(key) == owner.attributes.get(key) for key in options)
