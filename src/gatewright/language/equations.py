"""Equations: what a step says, as data that can be printed, compiled and stored.

A saved model holds its cell in this form, so that it loads without the class of the
cell and without running anyone's code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import ModelError
from gatewright.language.node import Node, Size
from gatewright.language.storing import restore, to_plain

#: Raised by one whenever a stored cell of an older version would be read differently.
VERSION = 1


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
                    **{key: to_plain(value) for key, value in node.attributes.items()},
                }
                for node in self.nodes
            ],
            "updates": {name: index[node] for name, node in self.updates.items()},
            "output": index[self.output],
            "names": {name: index[node] for name, node in self.names.items()},
            "initial": {name: to_plain(value) for name, value in self.initial.items()},
            "sizes": dict(self.sizes),
        }

    @classmethod
    def from_json(cls, stored: Any, path: str = "cell") -> Equations:
        """The equations that `to_json` wrote; `path` is their place in a file, for messages.

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
            return cls(**restore(stored, path))
        except ModelError as error:
            raise ModelError(
                f"the stored cell is damaged: {error}; save the model again"
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(
                f"the stored cell is damaged ({path}: {type(error).__name__}: {error}); "
                "save the model again"
            ) from error

    def same_as(self, other: Equations) -> bool:
        """Whether both say the same, whatever they are called and wherever they come from."""
        return self._content() == other._content()

    def _content(self) -> str:
        stored = self.to_json()
        for name in ("name", "about", "origin"):
            del stored[name]
        return json.dumps(stored, sort_keys=True)
