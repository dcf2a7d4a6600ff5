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


def _mean(a: Term, **heads: int) -> Term:
    count = a.terms.make("inverse_size", size=1, of=a.size, **heads)
    return _f("sum", a, **heads) * count


def _layer_norm(a: Term, *, eps: float, **heads: int) -> Term:
    centred = a - _mean(a, **heads)
    return centred / _f("sqrt", _mean(centred * centred, **heads) + eps)


def _rms_norm(a: Term, *, eps: float, **heads: int) -> Term:
    return a / _f("sqrt", _mean(a * a, **heads) + eps)


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
    "mean": _mean,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}
