"""Equations: what a step says, as data that can be printed, compiled and stored.

A saved model holds its cell in this form, so that it loads without the class of the
cell and without running anyone's code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import ModelError
from gatewright.language.node import Node, Size
from gatewright.language.operations import OPERATIONS

#: Raised by one whenever a stored cell of an older version would be read differently.
VERSION = 1

#: The attributes that each operation carries besides its operands, and their types.
ATTRIBUTES: dict[str, dict[str, tuple[type, ...]]] = {
    "event": {"name": (str,)},
    "input": {"name": (str,)},
    "state": {"name": (str,)},
    "constant": {"value": (float,)},
    "parameter": {"name": (str,), "size": (str, int, type(None)), "start": (float,)},
    "noise": {"size": (str, int, type(None)), "p": (float,), "per": (str,)},
    "linear": {
        "keys": (tuple,),
        "name": (str,),
        "size": (str, int),
        "bias": (bool,),
        "heads": (int,),
    },
    "diagonal": {"keys": (tuple,), "name": (str,)},
}
OPTIONAL: dict[str, dict[str, tuple[type, ...]]] = {
    **{name: {"heads": (int,)} for name in ("sum", "mean", "softmax")},
    **{name: {"heads": (int,), "eps": (float,)} for name in ("layer_norm", "rms_norm")},
}


@dataclass(frozen=True, eq=False)
class Equations:
    """The equations of one cell.

    Attributes:
        name: The cell's name; `about` is the first line of its docstring, and `origin`
            the path of its class, for people only.
        nodes: All operations, each after its operands.
        event, states, inputs: The arguments of the step: the first, the other positional
            ones, and the keyword-only ones.
        updates: Each state after the step.
        output: What the layer gives out.
        names: Each named value; a state's name is the state after the step.
        initial: Each state's start: a number, or a number wrapped as `{"learned": number}`
            where it is learned from there.
        sizes: Sizes that the cell states for its states and inputs.
    """

    name: str
    about: str
    origin: str
    nodes: tuple[Node, ...]
    event: str
    states: tuple[str, ...]
    inputs: tuple[str, ...]
    updates: Mapping[str, Node]
    output: Node
    names: Mapping[str, Node]
    initial: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    sizes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def step_inputs(self) -> tuple[str, ...]:
        """The event and the further inputs."""
        return (self.event, *self.inputs)

    def to_json(self) -> dict[str, Any]:
        """The equations in JSON's types; infinities are written as strings."""
        index = {node: position for position, node in enumerate(self.nodes)}
        return {
            "version": VERSION,
            "name": self.name,
            "about": self.about,
            "origin": self.origin,
            "event": self.event,
            "states": list(self.states),
            "inputs": list(self.inputs),
            "nodes": [
                {
                    "op": node.op,
                    "operands": [index[one] for one in node.operands],
                    **{key: _to_json(value) for key, value in node.attributes.items()},
                }
                for node in self.nodes
            ],
            "updates": {name: index[node] for name, node in self.updates.items()},
            "output": index[self.output],
            "names": {name: index[node] for name, node in self.names.items()},
            "initial": {name: _to_json(value) for name, value in self.initial.items()},
            "sizes": dict(self.sizes),
        }

    @classmethod
    def from_json(cls, stored: Any) -> Equations:
        """The equations that `to_json` wrote.

        Raises:
            ModelError: if anything is missing, of the wrong kind, or from a later version.
        """
        version = stored.get("version") if isinstance(stored, dict) else None
        if version != VERSION:
            raise ModelError(
                f"the stored cell has version {version!r}; this gatewright reads version "
                f"{VERSION}: update gatewright, or save the model again"
            )
        try:
            return _restore(cls, stored)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ModelError(
                f"the stored cell is damaged ({type(error).__name__}: {error}); "
                "save the model again"
            ) from error

    def same_as(self, other: Equations) -> bool:
        """Whether both say the same, whatever they are called and wherever they come from."""
        return self._content() == other._content()

    def _content(self) -> str:
        stored = self.to_json()
        return json.dumps({k: v for k, v in stored.items() if k not in ("name", "about", "origin")})


def _restore(cls: type[Equations], stored: dict[str, Any]) -> Equations:
    nodes: list[Node] = []
    for entry in stored["nodes"]:
        operands = tuple(_earlier(nodes, position) for position in entry["operands"])
        attributes = {
            key: _from_json(value) for key, value in entry.items() if key not in ("op", "operands")
        }
        nodes.append(_checked(Node(entry["op"], operands, attributes)))
    states, inputs = tuple(stored["states"]), tuple(stored["inputs"])
    initial = {name: _from_json(value) for name, value in stored["initial"].items()}
    updates = {name: _earlier(nodes, position) for name, position in stored["updates"].items()}
    if tuple(updates) != states or not set(initial) <= set(states) or not states:
        raise ValueError("its states do not agree with each other")
    leaves = [node.attributes["name"] for node in nodes if node.op in ("event", "input", "state")]
    if sorted(leaves) != sorted((stored["event"], *states, *inputs)):
        raise ValueError("its arguments do not agree with each other")
    return cls(
        name=str(stored["name"]),
        about=str(stored["about"]),
        origin=str(stored["origin"]),
        nodes=tuple(nodes),
        event=stored["event"],
        states=states,
        inputs=inputs,
        updates=updates,
        output=_earlier(nodes, stored["output"]),
        names={name: _earlier(nodes, position) for name, position in stored["names"].items()},
        initial=initial,
        sizes=dict(stored["sizes"]),
    )


def _earlier(nodes: list[Node], position: Any) -> Node:
    if type(position) is not int or not 0 <= position < len(nodes):
        raise ValueError(f"operand {position!r} is not among the {len(nodes)} values before it")
    return nodes[position]


def _checked(node: Node) -> Node:
    operation = OPERATIONS[node.op]
    if operation.arity is not None and len(node.operands) != operation.arity:
        raise ValueError(f"{node.op} has {len(node.operands)} operands")
    required = ATTRIBUTES.get(node.op, {})
    allowed = {**required, **OPTIONAL.get(node.op, {})}
    if not set(required) <= set(node.attributes) <= set(allowed):
        raise ValueError(f"{node.op} has attributes {sorted(node.attributes)}")
    for key, value in node.attributes.items():
        if type(value) not in allowed[key]:
            raise ValueError(f"{node.op} has {key} = {value!r}")
    if "keys" in node.attributes and len(node.attributes["keys"]) != len(node.operands):
        raise ValueError(f"{node.op} has keys {node.attributes['keys']}")
    return node


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _from_json(value: Any) -> Any:
    if value in ("inf", "-inf"):
        return float(value)
    return tuple(value) if isinstance(value, list) else value
