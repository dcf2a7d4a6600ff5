"""Restore equations from JSON, and refuse whatever is damaged before anything is built.

A stored cell may have been edited by hand or by an attacker, so every attribute, operand and
name is checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from gatewright.escaping import printable
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS, takes_boolean
from gatewright.schema import mismatch, typed_fields

Check = Callable[[Any], bool]


def to_plain(value: Any) -> Any:
    """An attribute in the types of JSON, which has no infinities: they become strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return {k: to_plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


#: Longer names take seconds to lay out in a diagram, and nobody can read them.
MAX_NAME_LETTERS = 200
#: Longest name, summary or origin of a cell.
MAX_TEXT_LETTERS = 500
#: The fields of stored equations and their types.
FIELDS: dict[str, Any] = {
    "version": int,
    **dict.fromkeys(("name", "about", "origin", "event"), str),
    **dict.fromkeys(("states", "inputs"), list[str]),
    "nodes": list[dict[str, Any]],
    "updates": dict[str, int],
    "output": int,
    "names": dict[str, int],
    "initial": dict[str, Any],
    "sizes": dict[str, int | str],
}


def for_people(text: str) -> str:
    """A text that is printed with its cell: escaped to one line, and cut where it is too long."""
    escaped = printable(text)
    return escaped if len(escaped) <= MAX_TEXT_LETTERS else f"{escaped[:MAX_TEXT_LETTERS]}…"


def restore(json: Any, path: str) -> dict[str, Any]:
    """The fields of `Equations`.

    Raises:
        ModelError: with the path of a field that has the wrong type.
        KeyError, TypeError, ValueError, AttributeError: for any other damage.
    """
    stored = typed_fields(json, FIELDS, path)
    nodes: list[Node] = []
    for position, entry in enumerate(stored["nodes"]):
        try:
            nodes.append(_node(nodes, dict(entry)))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"nodes[{position}]: {error}") from error
    for name in stored["names"]:
        if not _is_path(name):
            raise mismatch(f"{path}.names", name, "names of values")
    learned = [f"initial.{k}" for k, v in stored["initial"].items() if isinstance(v, dict)]
    _check_weights(nodes, learned)

    def node_at(position: Any) -> Node:
        return _earlier(nodes, position)

    states, inputs = _strings(stored["states"]), _strings(stored["inputs"])
    if set(stored["updates"]) != set(states):
        raise ValueError("its states do not agree with each other")
    updates = {name: node_at(stored["updates"][name]) for name in states}
    initial = {name: _start(value) for name, value in stored["initial"].items()}
    if not states or not set(initial) <= set(states):
        raise ValueError("its states do not agree with each other")
    leaves = [(node.op, node.attributes["name"]) for node in nodes if node.op in _ARGUMENTS]
    declared = [("event", stored["event"])]
    declared += [("state", name) for name in states] + [("input", name) for name in inputs]
    if sorted(leaves) != sorted(declared) or len(set(declared)) < len(declared):
        raise ValueError("its arguments do not agree with each other")
    output = node_at(stored["output"])
    if any(OPERATIONS[node.op].boolean for node in (output, *updates.values())):
        raise ValueError("a state or its output is a comparison")
    sizes = dict(stored["sizes"])
    if not set(sizes) <= {*states, *inputs} or not all(map(_is_size, sizes.values())):
        raise ValueError(f"its sizes are {sizes}")
    return {
        **{key: for_people(stored[key]) for key in ("name", "about", "origin")},
        "event": stored["event"],
        "nodes": tuple(nodes),
        "states": states,
        "inputs": inputs,
        "updates": updates,
        "output": output,
        "names": {name: node_at(position) for name, position in stored["names"].items()},
        "initial": initial,
        "sizes": sizes,
    }


_ARGUMENTS = ("event", "input", "state")


def _node(earlier: list[Node], entry: dict[str, Any]) -> Node:
    """Restore one node, whose operands are among the earlier ones."""
    op, positions = entry.pop("op"), entry.pop("operands")
    operation = OPERATIONS[op]
    operands = tuple(_earlier(earlier, position) for position in positions)
    arity = operation.arity if operation.arity is not None else max(1, len(operands))
    if len(operands) != arity:
        raise ValueError(f"{op} has {len(operands)} operands")
    for position, operand in enumerate(operands):
        if OPERATIONS[operand.op].boolean != takes_boolean(op, position):
            raise ValueError(f"{op} takes no {operand.op}")
    required, optional = _REQUIRED.get(op, {}), _OPTIONAL.get(op, {})
    if not set(required) <= set(entry) <= {*required, *optional}:
        raise ValueError(f"{op} has attributes {sorted(entry)}")
    attributes: dict[str, Any] = {}
    for key, value in entry.items():
        check = {**required, **optional}[key]
        infinite = check is _is_number and value in ("inf", "-inf")
        whole_float = check in _FLOATS and type(value) is int  # some writers store 1.0 as 1
        restored = float(value) if infinite or whole_float else value
        if not check(restored):
            raise ValueError(f"{op} has {key} = {value!r}")
        attributes[key] = tuple(restored) if isinstance(restored, list) else restored
    keys = attributes.get("keys", ())  # of a product: one for each operand
    # The keys of diagonal weights end with a star, and no others do.
    well_formed = all(key.endswith("*") == (op == "diagonal") for key in keys)
    if keys and (len(keys) != len(operands) or not well_formed):
        raise ValueError(f"{op} has keys {keys}")
    return Node(op, operands, attributes)


def _earlier(nodes: list[Node], position: Any) -> Node:
    if type(position) is not int or not 0 <= position < len(nodes):
        raise ValueError(f"operand {position!r} is not among the {len(nodes)} values before it")
    return nodes[position]


def _check_weights(nodes: list[Node], learned: list[str]) -> None:
    """Refuse two different weights with the same stored name."""
    details: dict[str, tuple[Any, ...]] = {path: ("parameter",) for path in learned}
    for node in nodes:
        if OPERATIONS[node.op].kind != "product" and node.op != "parameter":
            continue
        name, attributes = node.attributes.get("name"), node.attributes
        options = ("size", "heads", "antisymmetric", "start")
        detail = (node.op, *(attributes.get(option) for option in options))
        for path in [f"{name}.{key}" for key in attributes.get("keys", ())] or [str(name)]:
            if details.setdefault(path, detail) != detail:
                raise ValueError(f"two different weights are called {path}")
    for path, (op, *_) in details.items():
        if op == "parameter" and any(longer.startswith(f"{path}.") for longer in details):
            raise ValueError(f"a parameter and a product are called {path}")


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(set(value)) < len(value):
        raise ValueError(f"{value!r} is not a list of different names")
    return tuple(_string(item) for item in value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _start(value: Any) -> float | dict[str, float]:
    """The start of a state: a number, or `{"learned": number}`."""
    learned = isinstance(value, dict)
    number = value["learned"] if learned else value
    number = float(number) if number in ("inf", "-inf") or type(number) is int else number
    if not _is_number(number) or (learned and (len(value) > 1 or not math.isfinite(number))):
        raise ValueError(f"{value!r} is not the start of a state")
    return {"learned": number} if learned else number


# The checks of attributes.
def _is_number(value: Any) -> bool:
    return type(value) is float and not math.isnan(value)


def _is_finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _is_probability(value: Any) -> bool:
    return type(value) is float and 0.0 <= value <= 1.0


def _is_eps(value: Any) -> bool:
    return _is_finite(value) and value >= 0.0


#: The checks of floats, which JSON may contain as whole numbers.
_FLOATS = {_is_number, _is_finite, _is_probability, _is_eps}


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_size(value: Any) -> bool:
    return _is_count(value) or value in ("input", "hidden")


def _is_open_size(value: Any) -> bool:
    return value is None or _is_size(value)


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME_LETTERS and value.isidentifier()


def _is_path(value: Any) -> bool:
    """A name, after the fields of the cells around it (`inner.f`, `cells.0.f`)."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_NAME_LETTERS
        and all(part.isidentifier() or part.isdecimal() for part in value.split("."))
    )


def _is_keys(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(key, str) and _is_name(key.removesuffix("*")) for key in value)
        and len(set(value)) == len(value) > 0
    )


def _is_per(value: Any) -> bool:
    return value in ("step", "sequence")


#: The attributes that each operation must have, and those that it may have.
_REQUIRED: dict[str, dict[str, Check]] = {
    **{op: {"name": _is_name} for op in _ARGUMENTS},
    "constant": {"value": _is_number},
    "parameter": {"name": _is_path, "size": _is_open_size, "start": _is_finite},
    "noise": {"size": _is_open_size, "p": _is_probability, "per": _is_per},
    "linear": {
        "keys": _is_keys,
        "name": _is_path,
        "size": _is_size,
        "bias": _is_flag,
        "heads": _is_count,
    },
    "diagonal": {"keys": _is_keys, "name": _is_path},
    **{op: {"eps": _is_eps} for op in ("layer_norm", "rms_norm")},
}
_OPTIONAL: dict[str, dict[str, Check]] = {
    "linear": {"antisymmetric": _is_flag},
    **{op: {"heads": _is_count} for op in ("sum", "mean", "softmax", "layer_norm", "rms_norm")},
}
