"""The definitions of the language's composed operations, each in one line of primitives.

`a` is the operand; the rest are attributes. The sources are cited at the language's functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gatewright.graph.terms import Expression


def _by_head(heads: int | None) -> dict[str, int]:
    """Return the attribute of an operation by head; one head is the whole row."""
    return {} if heads in (None, 1) else {"heads": heads}


def _spread(value: Expression, a: Expression, heads: int | None) -> Expression:
    """Repeat one value a row, or a head, at all its units of `a`."""
    if a.size == 1:
        return value
    return value.apply("expand", size=a.size, **_by_head(heads))


def _average(a: Expression, heads: int | None) -> Expression:
    share = a.terms.make("inverse_size", size=1, of=a.size, **_by_head(heads))
    return a.apply("sum", **_by_head(heads)) * Expression(a.terms, share)


def _sum(a: Expression, *, heads: int | None = None) -> Expression:
    total = a.apply("sum", **_by_head(heads))
    return total if heads is None else _spread(total, a, heads)


def _mean(a: Expression, *, heads: int | None = None) -> Expression:
    average = _average(a, heads)
    return average if heads is None else _spread(average, a, heads)


def _softmax(a: Expression, *, heads: int | None = None) -> Expression:
    # The largest becomes exp(0), so that nothing overflows and the sum is at least 1.
    largest = _spread(a.apply("largest", **_by_head(heads)), a, heads)
    grown = (a - largest).apply("exp")
    return grown * _spread(1.0 / grown.apply("sum", **_by_head(heads)), a, heads)


def _layer_norm(a: Expression, *, eps: float, heads: int | None = None) -> Expression:
    return _rms_norm(a - _spread(_average(a, heads), a, heads), eps=eps, heads=heads)


def _rms_norm(a: Expression, *, eps: float, heads: int | None = None) -> Expression:
    return a * _spread(1.0 / (_average(a * a, heads) + eps).apply("sqrt"), a, heads)


def _gelu(a: Expression) -> Expression:
    return 0.5 * a * (1.0 + (a / math.sqrt(2.0)).apply("erf"))


def _elu(a: Expression) -> Expression:
    # minimum keeps expm1 finite on the side that is not taken.
    return a.apply("greater", 0.0).apply("where", a, a.apply("minimum", 0.0).apply("expm1"))


DEFINITIONS: dict[str, Callable[..., Expression]] = {
    "square": lambda a: a * a,
    "silu": lambda a: a * a.apply("sigmoid"),
    "gelu": _gelu,
    "elu": _elu,
    "softsign": lambda a: a / (1.0 + a.apply("abs")),
    "log_sigmoid": lambda a: -(-a).apply("softplus"),
    "hard_sigmoid": lambda a: (a / 6.0 + 0.5).apply("maximum", 0.0).apply("minimum", 1.0),
    "hard_tanh": lambda a: a.apply("maximum", -1.0).apply("minimum", 1.0),
    "sum": _sum,
    "mean": _mean,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}
