"""Equations out of stored JSON: whatever is damaged is found here, before anything is built."""

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
    """An attribute in JSON's types; infinities, which JSON has not, are strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return {k: to_plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


#: Letters of a name: a diagram with longer ones takes seconds, and nobody can read it.
MOST_LETTERS = 200
#: Letters of what is said of a cell.
MOST_ABOUT = 500
#: The fields of stored equations.
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
    """A text that is printed wherever its cell is named: on one line, and not endless."""
    escaped = printable(text)
    return escaped if len(escaped) <= MOST_ABOUT else f"{escaped[:MOST_ABOUT]}…"


def restore(given: Any, path: str) -> dict[str, Any]:
    """What `Equations` is made of.

    Raises:
        ModelError: with the path of a field of another type.
        KeyError, TypeError, ValueError, AttributeError: wherever else it is damaged.
    """
    stored = typed_fields(given, FIELDS, path)
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

    def at(position: Any) -> Node:
        return _earlier(nodes, position)

    states, inputs = _strings(stored["states"]), _strings(stored["inputs"])
    if set(stored["updates"]) != set(states):
        raise ValueError("its states do not agree with each other")
    updates = {name: at(stored["updates"][name]) for name in states}
    initial = {name: _start(value) for name, value in stored["initial"].items()}
    if not states or not set(initial) <= set(states):
        raise ValueError("its states do not agree with each other")
    leaves = [(one.op, one.attributes["name"]) for one in nodes if one.op in _ARGUMENTS]
    told = [("event", stored["event"])]
    told += [("state", name) for name in states] + [("input", name) for name in inputs]
    if sorted(leaves) != sorted(told) or len(set(told)) < len(told):
        raise ValueError("its arguments do not agree with each other")
    output = at(stored["output"])
    if any(OPERATIONS[one.op].boolean for one in (output, *updates.values())):
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
        "names": {name: at(position) for name, position in stored["names"].items()},
        "initial": initial,
        "sizes": sizes,
    }


_ARGUMENTS = ("event", "input", "state")


def _node(before: list[Node], entry: dict[str, Any]) -> Node:
    op, positions = entry.pop("op"), entry.pop("operands")
    operation = OPERATIONS[op]
    operands = tuple(_earlier(before, position) for position in positions)
    wanted = operation.arity if operation.arity is not None else max(1, len(operands))
    if len(operands) != wanted:
        raise ValueError(f"{op} has {len(operands)} operands")
    for place, one in enumerate(operands):
        if OPERATIONS[one.op].boolean != takes_boolean(op, place):
            raise ValueError(f"{op} takes no {one.op}")
    required, optional = _REQUIRED.get(op, {}), _OPTIONAL.get(op, {})
    if not set(required) <= set(entry) <= {*required, *optional}:
        raise ValueError(f"{op} has attributes {sorted(entry)}")
    attributes: dict[str, Any] = {}
    for key, value in entry.items():
        check = {**required, **optional}[key]
        infinite = check is _is_number and value in ("inf", "-inf")
        found = float(value) if infinite or (check in _FLOATS and type(value) is int) else value
        if not check(found):
            raise ValueError(f"{op} has {key} = {value!r}")
        attributes[key] = tuple(found) if isinstance(found, list) else found
    keys = attributes.get("keys", ())
    starred = all(key.endswith("*") == (op == "diagonal") for key in keys)
    if keys and (len(keys) != len(operands) or not starred):
        raise ValueError(f"{op} has keys {keys}")
    return Node(op, operands, attributes)


def _earlier(nodes: list[Node], position: Any) -> Node:
    if type(position) is not int or not 0 <= position < len(nodes):
        raise ValueError(f"operand {position!r} is not among the {len(nodes)} values before it")
    return nodes[position]


def _check_weights(nodes: list[Node], learned: list[str]) -> None:
    """Refuse two different weights in one place."""
    kept: dict[str, tuple[Any, ...]] = {place: ("parameter",) for place in learned}
    for node in nodes:
        name, given = node.attributes.get("name"), node.attributes
        if OPERATIONS[node.op].kind != "product" and node.op != "parameter":
            continue
        details = ("size", "heads", "antisymmetric", "start")
        alike = (node.op, *(given.get(one) for one in details))
        for place in [f"{name}.{key}" for key in given.get("keys", ())] or [str(name)]:
            if kept.setdefault(place, alike) != alike:
                raise ValueError(f"two different weights are called {place}")
    for place, (op, *_) in kept.items():
        if op == "parameter" and any(one.startswith(f"{place}.") for one in kept):
            raise ValueError(f"a parameter and a product are called {place}")


def _strings(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or len(set(given)) < len(given):
        raise ValueError(f"{given!r} is no list of names")
    return tuple(_string(one) for one in given)


def _string(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is no text")
    return given


def _start(given: Any) -> float | dict[str, float]:
    """A state's start: a number, or `{"learned": number}`."""
    learned = isinstance(given, dict)
    number = given["learned"] if learned else given
    number = float(number) if number in ("inf", "-inf") or type(number) is int else number
    if not _is_number(number) or (learned and (len(given) > 1 or not math.isfinite(number))):
        raise ValueError(f"{given!r} is no start of a state")
    return {"learned": number} if learned else number


# What an attribute may be.
def _is_number(value: Any) -> bool:
    return type(value) is float and not math.isnan(value)


def _is_finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _is_probability(value: Any) -> bool:
    return type(value) is float and 0.0 <= value <= 1.0


def _is_eps(value: Any) -> bool:
    return _is_finite(value) and value >= 0.0


#: Those of them that take a float, which JSON may hold as a whole number.
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
    return isinstance(value, str) and len(value) <= MOST_LETTERS and value.isidentifier()


def _is_path(value: Any) -> bool:
    """A name, with those of the cells it is within (`inner.f`, `cells.0.f`)."""
    return (
        isinstance(value, str)
        and len(value) <= MOST_LETTERS
        and all(part.isidentifier() or part.isdecimal() for part in value.split("."))
    )


def _is_keys(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(one, str) and _is_name(one.removesuffix("*")) for one in value)
        and len(set(value)) == len(value) > 0
    )


def _is_per(value: Any) -> bool:
    return value in ("step", "sequence")


#: The attributes that each operation carries besides its operands, and those that it may.
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
