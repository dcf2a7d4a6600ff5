"""What a function of the language was given, checked: sources by key, names, sizes, options.

Each returns what is meant, or raises the reader's refusal, which names the line and the hint.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatewright.language.frames import name_in
from gatewright.language.node import Size
from gatewright.language.operations import OPERATIONS
from gatewright.language.values import Value, lift

if TYPE_CHECKING:
    from gatewright.language.reading import Reader


def check_real(reader: Reader, given: Any, role: str) -> Value:
    """A value that may become a state or an output, or be the source of a product."""
    value = lift(reader, given, role)
    if OPERATIONS[value.node.op].boolean:
        raise reader.error(f"{role} is a comparison", "use where(condition, 1.0, 0.0)")
    return value


def check_sources(
    reader: Reader, op: str, sources: tuple[Any, ...], keyed: Mapping[str, Any]
) -> dict[str, Value]:
    """The sources of a product by key: the name that each has where the product stands."""
    named: dict[str, Value] = {}
    pairs = [(None, lift(reader, one, op)) for one in sources]
    for key, value in [*pairs, *((key, lift(reader, one, op)) for key, one in keyed.items())]:
        check_real(reader, value, f"a source of {op}")
        if value.node.op == "constant":
            what = f"{key}={value.node.attributes['value']:g}" if key else "a number"
            options = (
                "size=, bias=, heads= and antisymmetric=" if op == "linear" else "and nothing else"
            )
            raise reader.error(
                f"{op} was given {what}, which is no value to learn from",
                f"its sources are values; its options are name=, {options}",
            )
        key = key or key_of(reader, value)
        if key is None:
            raise reader.error(
                f"{op} reads a value that has no name",
                f"give it one first (`gated = r * h`, then {op}(x, gated)) "
                f"or a key ({op}(x, h=r * h))",
            )
        if key in named:
            raise reader.error(f"{op} has two sources with the key `{key}`", "key one: h2=h")
        named[key] = value
    return named


def key_of(reader: Reader, value: Value) -> str | None:
    """The name that a value has in the step at this moment, or was an argument by."""
    found = name_in(reader.scopes[-1].code, value)
    if found is None and value.node.op in ("event", "state", "input"):
        return str(value.node.attributes["name"])
    return found


def check_name(reader: Reader, name: Any) -> str | None:
    """An explicit name of a product, with the scope's prefix."""
    if name is None:
        return None
    if not isinstance(name, str) or not name.isidentifier():
        raise reader.error(f"name={name!r} is no name", "use letters, digits and _")
    return reader.scopes[-1].prefix + name


def check_size(reader: Reader, op: str, size: Any) -> Size:
    """A size as a number, "input" or "hidden"; a field's name stands for its number."""
    cell = reader.scopes[-1].cell if reader.scopes else reader.cell
    found = cell.fields().get(size, size) if isinstance(size, str) else size
    # Integral rather than int: numpy's whole numbers are as good.
    if isinstance(found, numbers.Integral) and not isinstance(found, bool) and int(found) > 0:
        return int(found)
    if isinstance(size, str) and size in ("input", "hidden"):
        return size
    given = f"{size!r}, which is {found!r}" if found is not size else repr(size)
    raise reader.error(
        f"{op} was given size={given}",
        'a size is "hidden", "input", a number from 1, or the name of a field with one',
    )


def check_flag(reader: Reader, option: str, given: Any) -> bool:
    """An option of a product that is on or off."""
    if not isinstance(given, bool):
        raise reader.error(f"linear was given {option}={given!r}", "give True or False")
    return given


def check_heads(reader: Reader, op: str, heads: Any) -> int:
    """Into how many blocks a row is divided."""
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
        raise reader.error(f"{op} was given heads={heads!r}", "give a whole number from 1")
    return heads


def check_eps(reader: Reader, op: str, eps: Any) -> float:
    """What is added to a variance."""
    if not isinstance(eps, numbers.Real) or not 0.0 <= float(eps) < math.inf:
        raise reader.error(f"{op} was given eps={eps!r}", "give a small number, such as 1e-5")
    return float(eps)
