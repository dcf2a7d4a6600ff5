"""Check the arguments of the language's functions: sources, names, sizes and options.

Each function returns the checked argument, or raises an error with the line and a hint.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from gatewright.language.frames import visible_names
from gatewright.language.node import Size
from gatewright.language.operations import OPERATIONS
from gatewright.language.recorder import Recorder
from gatewright.language.values import Value, lift

#: The options of the functions that multiply by weights, for messages.
OPTIONS = {
    "linear": "its options are name=, size=, bias=, heads= and antisymmetric=",
    "diagonal": "its only option is name=",
}


def check_real(recorder: Recorder, operand: Any, role: str) -> Value:
    """A value that may become a state or an output, or be the source of a product."""
    value = lift(recorder, operand, role)
    if OPERATIONS[value.node.op].boolean:
        raise recorder.error(f"{role} is a comparison", "use where(condition, 1.0, 0.0)")
    return value


def check_sources(
    recorder: Recorder, op: str, sources: tuple[Any, ...], keyed: Mapping[str, Any]
) -> dict[str, Value]:
    """The sources of a product by key: the keyword, or else the value's name in the step."""
    checked: dict[str, Value] = {}
    keywords = [*(None for _ in sources), *keyed]
    for keyword, source in zip(keywords, (*sources, *keyed.values()), strict=True):
        value = lift(recorder, source, op)
        check_real(recorder, value, f"a source of {op}")
        if value.node.op == "constant":
            number = f"{value.node.attributes['value']:g}"
            # A keyword with a number is nearly always a misspelt option: linear(x, sise=3).
            argument = f"{keyword}={number}" if keyword else "a number"
            raise recorder.error(
                f"{op} was given {argument}, but multiplies values of the step by weights",
                f"pass values such as x or h; {OPTIONS[op]}",
            )
        key = keyword or key_of(recorder, value)
        if key is None:
            raise recorder.error(
                f"{op} reads a value that has no name",
                f"name it first (`gated = r * h`, then {op}(x, gated)) "
                f"or give it a key ({op}(x, h=r * h))",
            )
        if key in checked:
            raise recorder.error(
                f"{op} has two sources with the key `{key}`", "give one another key: h2=h"
            )
        checked[key] = value
    return checked


def key_of(recorder: Recorder, value: Value) -> str | None:
    """The name that a value has in the step now, or had as an argument of the step."""
    for name, bound in visible_names(recorder.scopes[-1].code):
        if isinstance(bound, Value) and bound.node is value.node:
            return name
    if value.node.op in ("event", "state", "input"):
        return str(value.node.attributes["name"])
    return None


def check_name(recorder: Recorder, name: Any) -> str | None:
    """The `name=` of a weight, with the prefix of the running step."""
    if name is None:
        return None
    if not isinstance(name, str) or not name.isidentifier():
        raise recorder.error(f"name={name!r} is not a valid name", "use letters, digits and _")
    return recorder.scopes[-1].prefix + name


def check_size(recorder: Recorder, op: str, size: Any) -> Size:
    """A size as a number, "input" or "hidden"; the name of a field means the field's number."""
    cell = recorder.scopes[-1].cell if recorder.scopes else recorder.cell
    number = cell.fields().get(size, size) if isinstance(size, str) else size
    # numpy's integers are Integral but not int.
    if isinstance(number, numbers.Integral) and not isinstance(number, bool) and int(number) > 0:
        return int(number)
    if isinstance(size, str) and size in ("input", "hidden"):
        return size
    value = f"{size!r}, which is {number!r}" if number is not size else repr(size)
    raise recorder.error(
        f"{op} was given size={value}",
        'a size is "hidden", "input", a number from 1, or the name of a field with a number',
    )


def check_flag(recorder: Recorder, option: str, flag: Any) -> bool:
    """An option of `linear` that is on or off."""
    if not isinstance(flag, bool):
        raise recorder.error(f"linear was given {option}={flag!r}", "give True or False")
    return flag


def check_heads(recorder: Recorder, op: str, heads: Any) -> int:
    """The number of blocks into which a row of units is divided."""
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
        raise recorder.error(f"{op} was given heads={heads!r}", "give a whole number from 1")
    return heads


def check_eps(recorder: Recorder, op: str, eps: Any) -> float:
    """The number that is added to a variance to keep it away from 0."""
    if not isinstance(eps, numbers.Real) or not 0.0 <= float(eps) < math.inf:
        raise recorder.error(f"{op} was given eps={eps!r}", "give a small number, such as 1e-5")
    return float(eps)
