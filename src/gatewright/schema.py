"""Check values of JSON against type hints; a damaged file is refused with the wrong field's path.

    typed([1, 2.5], tuple[float, ...], "model.task.seen.low")     (1.0, 2.5)
    typed("two", int, "model.task.window")                        ModelError

The type hints of dataclasses and constructors are the schema; there is no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gatewright.errors import ModelError

#: A message shows at most this many letters of a value.
MAX_LETTERS_SHOWN = 60
PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def typed(value: Any, hint: Any, path: str) -> Any:
    """Convert a value of JSON to the type of a hint: lists to tuples, whole numbers to floats.

    Raises:
        ModelError: with the field's path, its value and the expected type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _alternative(value, arguments, path)
    if origin is Literal:
        if any(type(value) is type(option) and value == option for option in arguments):
            return value
        raise mismatch(path, value, " or ".join(repr(option) for option in arguments))
    if hint in (None, NoneType):
        if value is None:
            return None
        raise mismatch(path, value, "null")
    if hint in PLAIN:
        return _plain(value, hint, path)
    if is_dataclass(hint) and isinstance(hint, type):
        return hint(**typed_fields(value, stored_hints(hint), path, optional=defaulted(hint)))
    return _container(value, origin or hint, arguments, path)


def typed_fields(
    value: Any, hints: Mapping[str, Any], path: str, *, optional: Iterable[str] = ()
) -> dict[str, Any]:
    """Convert an object of JSON with exactly these fields, each to the type of its hint.

    Raises:
        ModelError: for a field that is missing, unknown or of another type.
    """
    if not isinstance(value, dict):
        raise mismatch(path, value, "an object")
    unknown = [name for name in value if name not in hints]
    if unknown:
        raise ModelError(
            f"{path} has the field {shown(unknown[0])}; expected only {', '.join(hints)}"
        )
    missing = [name for name in hints if name not in value and name not in set(optional)]
    if missing:
        raise ModelError(f"{path}.{missing[0]} is missing")
    return {name: typed(item, hints[name], f"{path}.{name}") for name, item in value.items()}


def stored_hints(kind: type) -> dict[str, Any]:
    """The type hints of a dataclass's fields, by name."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def defaulted(kind: type) -> set[str]:
    """The fields of a dataclass that have a default."""
    return {
        field.name
        for field in fields(kind)
        if (field.default, field.default_factory) != (MISSING, MISSING)
    }


def mismatch(path: str, value: Any, expected: str) -> ModelError:
    """The error for a value of another type than expected."""
    return ModelError(f"{path} is {shown(value)}; expected {expected}")


def shown(value: Any) -> str:
    """A value for a message, shortened where it is long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= MAX_LETTERS_SHOWN else f"{text[:MAX_LETTERS_SHOWN]}…"


def _alternative(value: Any, options: Sequence[Any], path: str) -> Any:
    """Convert to the first alternative of a union that the value fits."""
    refusals = []
    for option in options:
        try:
            return typed(value, option, path)
        except ModelError as refusal:
            refusals.append(refusal)
    if set(options) <= PLAIN.keys():
        raise mismatch(path, value, " or ".join(PLAIN[option] for option in options))
    # The error of the alternative that got deepest into the value, such as a list's element.
    raise max(refusals, key=lambda refusal: len(str(refusal).partition(" is ")[0]))


def _plain(value: Any, hint: type, path: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and math.isfinite(value):
        try:
            return float(value)
        except OverflowError:
            raise mismatch(path, value, PLAIN[hint]) from None
    if hint is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise mismatch(path, value, PLAIN[hint])


def _container(value: Any, kind: Any, arguments: tuple[Any, ...], path: str) -> Any:
    if issubclass(kind, Mapping):
        if not isinstance(value, dict):
            raise mismatch(path, value, "an object")
        return {key: typed(item, arguments[1], f"{path}.{key}") for key, item in value.items()}
    if not isinstance(value, list | tuple):
        raise mismatch(path, value, "a list")
    if kind is tuple and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise mismatch(path, value, f"a list of {len(arguments)}")
        hints = arguments
    else:
        hints = (arguments[0],) * len(value)
    items = [
        typed(item, hint, f"{path}[{index}]")
        for index, (item, hint) in enumerate(zip(value, hints, strict=True))
    ]
    return items if kind is list else tuple(items)
