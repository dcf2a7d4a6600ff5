"""The equations of a step as data, which can be printed, compiled and stored.

A saved model contains its cell in this form, so it loads without the class of the cell and
without running code that came with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import ModelError
from gatewright.language.node import Node, Size
from gatewright.language.storing import restore, to_plain

#: Increased whenever the stored cells of an earlier version would be read differently.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Equations:
    """The equations of one cell.

    Attributes:
        name: The cell's name; `about` is the first line of its docstring, and `origin`
            the path of its class, for people to read.
        nodes: All operations, each after its operands.
        event, states, inputs: The arguments of the step: the first, the other positional
            ones, and the keyword-only ones.
        updates: Each state after the step.
        output: The output of the layer.
        names: Each named value; a state's name means the state after the step.
        initial: Each state's start: a number, or `{"learned": number}` for a start that is
            learned and has this number before training.
        sizes: Sizes that the cell declares for its states and inputs.
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
        """The equations in the types of JSON; infinities are written as strings."""
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
                    "operands": [index[operand] for operand in node.operands],
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
        """Restore what `to_json` wrote; `path` is its place in a file, for messages.

        Raises:
            ModelError: if anything is missing, of the wrong type, or from another version.
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
        """Tell if two cells have the same equations, whatever their names and classes."""
        return self.content() == other.content()

    def content(self) -> str:
        """The equations as text, without their name and class: equal where they are the same."""
        stored = self.to_json()
        for key in ("name", "about", "origin"):
            del stored[key]
        return json.dumps(stored, sort_keys=True)
