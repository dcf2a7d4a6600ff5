"""Every pointwise operation on vectors.

Exact to a few units in the last place (ulp); `README.md` has the choice of the methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from gatewright.backends.llvm.angles import cos, sin
from gatewright.backends.llvm.error_function import erf
from gatewright.backends.llvm.exponentials import (
    EXP_ENDS,
    LOG2_E,
    absolute,
    clamp,
    exp,
    expm1,
    horner,
    log,
    log1p,
    nearest_whole,
    power_of_two,
    reduce,
    small_expm1,
)
from gatewright.backends.llvm.ir import Function
from gatewright.backends.llvm.powers import power

#: tanh(x) = x P(x^2) / Q(x^2) on [-7.9, 7.9]: the rational approximation of Eigen.
TANH_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
TANH_END = 7.90531110763549805
#: Above this, 1 is closer to tanh in float32 than the quotient at `TANH_END`.
TANH_FULL = 8.4

#: In kernels in bfloat16, of as many digits as their products have: x P(x^2) / Q(x^2) on [-8, 8]
#: and exp(r), both minimax with relative errors below 2^-17.
LOW_TANH_P = (3.478944945e-06, 2.179538087e-03, 1.219350816e-01, 9.999972907e-01)
LOW_TANH_Q = (1.318306943e-04, 2.061785503e-02, 4.552498419e-01, 1.0)
LOW_TANH_END = 8.0
LOW_EXP = (4.127681371e-02, 1.675372790e-01, 5.000514104e-01)
#: From -87 on 2^n is a normal number; from 88.4 on it is infinite.
LOW_EXP_ENDS = (-87.0, 88.8)


def sigmoid(f: Function, x: ir.Value) -> ir.Value:
    """1 / (1 + exp(-x)), which keeps its relative precision far below 0."""
    b, unity = f.b, f.splat(1.0)
    if f.numbers.pairs:
        return b.fdiv(unity, b.fadd(unity, low_exp(f, b.fneg(x))))
    # From 60 on the sum is 1.
    n, r = reduce(f, clamp(f, b.fneg(x), -60.0, EXP_ENDS[f.numbers.bits][1]))
    # Half the exponential: unlike 2^n, 2^(n - 1) is finite for every n here. This takes 5
    # instructions fewer than `exp`, which also has results that are denormal.
    scale = power_of_two(f, b.sub(n, f.integer_splat(1)))
    half = b.fmul(b.fadd(small_expm1(f, r), unity), scale)
    return b.fdiv(unity, f.fma(half, f.splat(2.0), unity))


def low_exp(f: Function, x: ir.Value) -> ir.Value:
    """e to the power of x for kernels in bfloat16: a shorter polynomial, and 2^n in one factor."""
    limited = clamp(f, x, *LOW_EXP_ENDS)
    whole, n = nearest_whole(f, limited, LOG2_E)
    r = f.fma(n, f.splat(-math.log(2)), limited)
    grown = f.fma(f.b.fmul(horner(f, r, LOW_EXP), r), r, r)
    return f.b.fmul(f.b.fadd(grown, f.splat(1.0)), power_of_two(f, whole))


def tanh(f: Function, x: ir.Value) -> ir.Value:
    """A rational function of x in float32; in float64 from exp(2x) - 1."""
    b = f.b
    if f.numbers.pairs:
        inside = clamp(f, x, -LOW_TANH_END, LOW_TANH_END)
        square = b.fmul(inside, inside)
        value = b.fmul(inside, horner(f, square, LOW_TANH_P))
        return clamp(f, b.fdiv(value, horner(f, square, LOW_TANH_Q)), -1.0, 1.0)
    if f.numbers.bits == 32:
        inside = clamp(f, x, -TANH_END, TANH_END)
        square = b.fmul(inside, inside)
        value = b.fdiv(b.fmul(inside, horner(f, square, TANH_P)), horner(f, square, TANH_Q))
        # At its end the quotient is 1 - 2.4e-7, so that the gradient 1 - y^2 of a saturated unit
        # would not be 0.
        full = f.call("llvm.copysign", f.splat(1.0), x)
        return b.select(b.fcmp_ordered(">", absolute(f, x), f.splat(TANH_FULL)), full, value)
    # expm1(2x) / (expm1(2x) + 2), with expm1(y) = 2^n expm1(r) + (2^n - 1).
    n, r = reduce(f, clamp(f, b.fadd(x, x), -60.0, 60.0))
    scale = power_of_two(f, n)
    grown = f.fma(scale, small_expm1(f, r), b.fsub(scale, f.splat(1.0)))
    # The sum that has grown is 0 for -0 too, whose sign a division by it would need.
    return f.call("llvm.copysign", b.fdiv(grown, b.fadd(grown, f.splat(2.0))), x)


def softplus(f: Function, a: ir.Value) -> ir.Value:
    """max(a, 0) + log(1 + exp(-|a|))."""
    zero = f.splat(0.0)
    above = f.b.select(f.b.fcmp_ordered("<", a, zero), zero, a)
    small = exp(f, f.b.fneg(absolute(f, a)))
    return f.b.fadd(above, log1p(f, small))


def sign(f: Function, a: ir.Value) -> ir.Value:
    """-1, 0 or 1."""
    b, zero = f.b, f.splat(0.0)
    positive = b.select(b.fcmp_ordered(">", a, zero), f.splat(1.0), zero)
    return b.select(b.fcmp_ordered("<", a, zero), f.splat(-1.0), positive)


def relu(f: Function, a: ir.Value) -> ir.Value:
    """max(a, 0)."""
    # Not a maximum: NaN is not below 0, and stays.
    return f.b.select(f.b.fcmp_ordered("<", a, f.splat(0.0)), f.splat(0.0), a)


def extreme(order: str) -> Callable[[Function, ir.Value, ir.Value], ir.Value]:
    """The maximum (">") or minimum ("<"): NaN if either operand is."""

    def emit(f: Function, a: ir.Value, b: ir.Value) -> ir.Value:
        chosen = f.b.select(f.b.fcmp_ordered(order, a, b), a, b)
        return f.b.select(f.b.fcmp_unordered("uno", a, a), a, chosen)

    return emit


def compare(order: str) -> Callable[[Function, ir.Value, ir.Value], ir.Value]:
    """A comparison; with NaN as an operand only `!=` is true."""

    def compared(f: Function, a: ir.Value, b: ir.Value) -> ir.Value:
        if order == "!=":
            return f.b.fcmp_unordered(order, a, b)
        return f.b.fcmp_ordered(order, a, b)

    return compared


POINTWISE: dict[str, Callable[..., ir.Value]] = {
    "add": lambda f, a, b: f.b.fadd(a, b, flags=("contract",)),
    "subtract": lambda f, a, b: f.b.fsub(a, b, flags=("contract",)),
    "multiply": lambda f, a, b: f.b.fmul(a, b, flags=("contract",)),
    "divide": lambda f, a, b: f.b.fdiv(a, b),
    "negative": lambda f, a: f.b.fneg(a),
    "power": power,
    "maximum": extreme(">"),
    "minimum": extreme("<"),
    "less": compare("<"),
    "less_equal": compare("<="),
    "greater": compare(">"),
    "greater_equal": compare(">="),
    "equal": compare("=="),
    "not_equal": compare("!="),
    "logical_and": lambda f, a, b: f.b.and_(a, b),
    "logical_or": lambda f, a, b: f.b.or_(a, b),
    "logical_not": lambda f, a: f.b.not_(a),
    "where": lambda f, c, a, b: f.b.select(c, a, b),
    "sigmoid": sigmoid,
    "tanh": tanh,
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "sqrt": lambda f, a: f.call("llvm.sqrt", a),
    "abs": absolute,
    "sign": sign,
    "sin": sin,
    "cos": cos,
    "erf": erf,
    "relu": relu,
    "softplus": softplus,
    "stop_gradient": lambda f, a: a,
    "expand": lambda f, a: a,
    # Reductions of a single unit; `row_reductions.py` has those of a row.
    "sum": lambda f, a: a,
    "largest": lambda f, a: a,
}
