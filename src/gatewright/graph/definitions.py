"""What the language's defined operations are made of, each in one line of primitives.

`a` is a term; the rest are its attributes. Sources stand at the functions of the language.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gatewright.graph.terms import Term


def _f(op: str, *operands: Term | float, **attributes: Any) -> Term:
    terms = next(one.terms for one in operands if isinstance(one, Term))
    return terms.make(op, *operands, **attributes)


def _several(heads: int | None) -> dict[str, int]:
    """The attribute of what is done by head; one head is the whole row."""
    return {} if heads in (None, 1) else {"heads": heads}


def _spread(value: Term, a: Term, heads: int | None) -> Term:
    """One value a row, or a head, at all its units of `a`."""
    if a.size == 1:
        return value
    return a.terms.make("expand", value, size=a.size, **_several(heads))


def _average(a: Term, heads: int | None) -> Term:
    count = a.terms.make("inverse_size", size=1, of=a.size, **_several(heads))
    return _f("sum", a, **_several(heads)) * count


def _sum(a: Term, *, heads: int | None = None) -> Term:
    total = _f("sum", a, **_several(heads))
    return total if heads is None else _spread(total, a, heads)


def _mean(a: Term, *, heads: int | None = None) -> Term:
    average = _average(a, heads)
    return average if heads is None else _spread(average, a, heads)


def _softmax(a: Term, *, heads: int | None = None) -> Term:
    # The largest becomes exp(0), so that nothing overflows and the sum is at least 1.
    grown = _f("exp", a - _spread(_f("largest", a, **_several(heads)), a, heads))
    return grown * _spread(1.0 / _f("sum", grown, **_several(heads)), a, heads)


def _layer_norm(a: Term, *, eps: float, heads: int | None = None) -> Term:
    return _rms_norm(a - _spread(_average(a, heads), a, heads), eps=eps, heads=heads)


def _rms_norm(a: Term, *, eps: float, heads: int | None = None) -> Term:
    return a * _spread(1.0 / _f("sqrt", _average(a * a, heads) + eps), a, heads)


def _gelu(a: Term) -> Term:
    return 0.5 * a * (1.0 + _f("erf", a / math.sqrt(2.0)))


def _elu(a: Term) -> Term:
    # minimum keeps expm1 finite on the side that is not taken.
    return _f("where", _f("greater", a, 0.0), a, _f("expm1", _f("minimum", a, 0.0)))


DEFINITIONS: dict[str, Callable[..., Term]] = {
    "square": lambda a: a * a,
    "silu": lambda a: a * _f("sigmoid", a),
    "gelu": _gelu,
    "elu": _elu,
    "softsign": lambda a: a / (1.0 + _f("abs", a)),
    "log_sigmoid": lambda a: -_f("softplus", -a),
    "hard_sigmoid": lambda a: _f("minimum", _f("maximum", a / 6.0 + 0.5, 0.0), 1.0),
    "hard_tanh": lambda a: _f("minimum", _f("maximum", a, -1.0), 1.0),
    "sum": _sum,
    "mean": _mean,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}
