"""Every pointwise operation on vectors; `README.md` has the mathematics and the errors."""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from gatewright.backends.llvm.ir import Function

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
#: From here on 1 is closer to tanh in float32 than the value at that end.
TANH_FULL = 8.4

#: exp(r) = 1 + r + r^2 P(r) on [-ln 2 / 2, ln 2 / 2], in float32: the polynomial of Cephes.
EXP32 = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
#: In float64 the Taylor series to r^13, whose rest is below 1e-17 there.
FACTORIALS = [1.0]
for _n in range(2, 14):
    FACTORIALS.append(FACTORIALS[-1] * _n)
EXP64 = tuple(1.0 / one for one in FACTORIALS[:0:-1])
LOG2_E = 1.4426950408889634
#: ln 2 in two parts, the first with so few bits that n times it is exact.
LN2 = {32: (0.693359375, -2.12194440e-4), 64: (0.6931471803691238, 1.9082149292705877e-10)}
#: Added to a small number, its integer part stands in the lowest bits.
ROUND = {32: 12582912.0, 64: 6755399441055744.0}
BIAS = {32: 127, 64: 1023}
MANTISSA = {32: 23, 64: 52}
#: log in fdlibm's way: R(s^2) / s^2, the highest power first.
LOG = {
    32: (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693),
    64: (
        1.479819860511658591e-01,
        1.531383769920937332e-01,
        1.818357216161805012e-01,
        2.222219843214978396e-01,
        2.857142874366239149e-01,
        3.999999999940941908e-01,
        6.666666666666735130e-01,
    ),
}
#: The bits of 1 and of sqrt(1/2); the smallest normal number, and by how much it is lifted.
ONE = {32: 0x3F800000, 64: 0x3FF0000000000000}
ROOT = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}
SMALLEST = {32: 2.0**-126, 64: 2.0**-1022}
LIFT = 54
EXP_ENDS = {32: (-104.0, 89.0), 64: (-746.0, 710.0)}


def horner(f: Function, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    """A polynomial, the highest power first."""
    total = f.splat(coefficients[0])
    for one in coefficients[1:]:
        total = f.fma(total, x, f.splat(one))
    return total


def clamp(f: Function, x: ir.Value, low: float, high: float) -> ir.Value:
    """x within [low, high]; NaN stays NaN, since it compares as neither."""
    b = f.b
    x = b.select(b.fcmp_ordered(">", x, f.splat(high)), f.splat(high), x)
    return b.select(b.fcmp_ordered("<", x, f.splat(low)), f.splat(low), x)


def reduce(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """n as integers and r, with x = n ln 2 + r."""
    bits = f.numbers.bits
    shifted = f.fma(x, f.splat(LOG2_E), f.splat(ROUND[bits]))
    n = f.b.fsub(shifted, f.splat(ROUND[bits]))
    high, low = LN2[bits]
    r = f.fma(n, f.splat(-high), x)
    r = f.fma(n, f.splat(-low), r)
    whole = f.b.sub(f.b.bitcast(shifted, f.numbers.integers), _rounding_bits(f))
    return whole, r


def _rounding_bits(f: Function) -> ir.Value:
    bits = {32: 0x4B400000, 64: 0x4338000000000000}[f.numbers.bits]
    return f.integer_splat(bits)


def power_of_two(f: Function, n: ir.Value) -> ir.Value:
    """2 to the power of integers within the range of normal numbers."""
    bits = f.numbers.bits
    raised = f.b.shl(f.b.add(n, f.integer_splat(BIAS[bits])), f.integer_splat(MANTISSA[bits]))
    return f.b.bitcast(raised, f.numbers.vector)


def small_expm1(f: Function, r: ir.Value) -> ir.Value:
    """exp(r) - 1 on [-ln 2 / 2, ln 2 / 2]."""
    b = f.b
    if f.numbers.bits == 32:
        return f.fma(b.fmul(horner(f, r, EXP32), r), r, r)
    return f.fma(b.fmul(horner(f, r, EXP64), r), r, r)


def exp(f: Function, x: ir.Value) -> ir.Value:
    """e to the power of x: 2^n times a polynomial of the rest."""
    n, r = reduce(f, clamp(f, x, *EXP_ENDS[f.numbers.bits]))
    value = f.b.fadd(small_expm1(f, r), f.splat(1.0))
    # In two factors, so that what is too large becomes infinite and what is too small zero.
    half = f.b.ashr(n, f.integer_splat(1))
    value = f.b.fmul(value, power_of_two(f, half))
    return f.b.fmul(value, power_of_two(f, f.b.sub(n, half)))


def expm1(f: Function, x: ir.Value) -> ir.Value:
    """exp(x) - 1, precise also near 0: 2^n expm1(r) + (2^n - 1)."""
    n, r = reduce(f, clamp(f, x, -60.0, EXP_ENDS[f.numbers.bits][1]))
    # In two factors as in exp; the second one leaves the 1 as it is.
    half = f.b.ashr(n, f.integer_splat(1))
    rest = power_of_two(f, f.b.sub(n, half))
    one = power_of_two(f, f.b.sub(f.integer_splat(0), half))
    value = f.fma(rest, small_expm1(f, r), f.b.fsub(rest, one))
    return f.b.fmul(value, power_of_two(f, half))


def log(f: Function, x: ir.Value) -> ir.Value:
    """k ln 2 + log(m), with x = 2^k m and m between sqrt(1/2) and sqrt(2)."""
    b, bits, zero = f.b, f.numbers.bits, f.splat(0.0)
    # What is below the normal numbers is lifted into them first.
    small = b.fcmp_ordered("<", x, f.splat(SMALLEST[bits]))
    lifted = b.select(small, b.fmul(x, f.splat(2.0**LIFT)), x)
    shifted = b.add(b.bitcast(lifted, f.numbers.integers), f.integer_splat(ONE[bits] - ROOT[bits]))
    k = b.sub(b.lshr(shifted, f.integer_splat(MANTISSA[bits])), f.integer_splat(BIAS[bits]))
    k = b.fsub(b.bitcast(b.add(k, _rounding_bits(f)), f.numbers.vector), f.splat(ROUND[bits]))
    k = b.fsub(k, b.select(small, f.splat(float(LIFT)), zero))
    rest = b.and_(shifted, f.integer_splat((1 << MANTISSA[bits]) - 1))
    m = b.bitcast(b.add(rest, f.integer_splat(ROOT[bits])), f.numbers.vector)
    # log(1 + a) = a - a^2/2 + s (a^2/2 + R(s^2)), s = a / (2 + a).
    a = b.fsub(m, f.splat(1.0))
    s = b.fdiv(a, b.fadd(a, f.splat(2.0)))
    square = b.fmul(s, s)
    half = b.fmul(f.splat(0.5), b.fmul(a, a))
    series = b.fmul(square, horner(f, square, LOG[bits]))
    high, low = LN2[bits]
    value = f.fma(s, b.fadd(half, series), b.fmul(k, f.splat(low)))
    value = b.fsub(a, b.fsub(half, value))
    value = f.fma(k, f.splat(high), value)
    value = b.select(b.fcmp_ordered("==", x, f.splat(math.inf)), x, value)
    value = b.select(b.fcmp_ordered("==", x, zero), f.splat(-math.inf), value)
    return b.select(b.fcmp_unordered("<", x, zero), f.splat(math.nan), value)


def log1p(f: Function, x: ir.Value) -> ir.Value:
    """log(1 + x), and what rounding 1 + x lost."""
    one = f.splat(1.0)
    whole = f.b.fadd(one, x)
    value = log(f, whole)
    lost = f.b.fdiv(f.b.fsub(x, f.b.fsub(whole, one)), whole)
    # Where 1 + x is 0 or infinite that is no number, and nothing was lost.
    return f.b.select(f.b.fcmp_unordered("uno", lost, lost), value, f.b.fadd(value, lost))


def sigmoid(f: Function, x: ir.Value) -> ir.Value:
    """1 / (1 + exp(-x)), which keeps its relative precision far below zero."""
    one = f.splat(1.0)
    return f.b.fdiv(one, f.b.fadd(one, exp(f, f.b.fneg(x))))


def tanh(f: Function, x: ir.Value) -> ir.Value:
    """A rational function in float32; in float64 by way of exp(2x) - 1."""
    b = f.b
    if f.numbers.bits == 32:
        inside = clamp(f, x, -TANH_END, TANH_END)
        square = b.fmul(inside, inside)
        value = b.fdiv(b.fmul(inside, horner(f, square, TANH_P)), horner(f, square, TANH_Q))
        # At its end the quotient is 1 - 2.4e-7, from which a gradient 1 - y^2 would be made.
        full = f.call("llvm.copysign", f.splat(1.0), x)
        return b.select(b.fcmp_ordered(">", absolute(f, x), f.splat(TANH_FULL)), full, value)
    # expm1(2x) / (expm1(2x) + 2), with expm1(y) = 2^n expm1(r) + (2^n - 1).
    n, r = reduce(f, clamp(f, b.fadd(x, x), -60.0, 60.0))
    scale = power_of_two(f, n)
    grown = f.fma(scale, small_expm1(f, r), b.fsub(scale, f.splat(1.0)))
    return b.fdiv(grown, b.fadd(grown, f.splat(2.0)))


def softplus(f: Function, a: ir.Value) -> ir.Value:
    """max(a, 0) + log(1 + exp(-|a|))."""
    zero = f.splat(0.0)
    above = f.b.select(f.b.fcmp_ordered("<", a, zero), zero, a)
    small = exp(f, f.b.fneg(absolute(f, a)))
    return f.b.fadd(above, log1p(f, small))


def absolute(f: Function, a: ir.Value) -> ir.Value:
    """a without its sign."""
    return f.call("llvm.fabs", a)


def sign(f: Function, a: ir.Value) -> ir.Value:
    """-1, 0 or 1."""
    b, zero = f.b, f.splat(0.0)
    one = b.select(b.fcmp_ordered(">", a, zero), f.splat(1.0), zero)
    return b.select(b.fcmp_ordered("<", a, zero), f.splat(-1.0), one)


def relu(f: Function, a: ir.Value) -> ir.Value:
    """max(a, 0)."""
    # NaN is not below zero, and stays.
    return f.b.select(f.b.fcmp_ordered("<", a, f.splat(0.0)), f.splat(0.0), a)


def extreme(order: str) -> Callable[[Function, ir.Value, ir.Value], ir.Value]:
    """maximum or minimum: NaN if either is."""

    def chosen(f: Function, a: ir.Value, b: ir.Value) -> ir.Value:
        taken = f.b.select(f.b.fcmp_ordered(order, a, b), a, b)
        return f.b.select(f.b.fcmp_unordered("uno", a, a), a, taken)

    return chosen


def compare(order: str) -> Callable[[Function, ir.Value, ir.Value], ir.Value]:
    """A comparison; with NaN only `!=` is true."""

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
    "power": lambda f, a, b: f.each_lane("pow", a, b),
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
    "sin": lambda f, a: f.each_lane("sin", a),
    "cos": lambda f, a: f.each_lane("cos", a),
    "erf": lambda f, a: f.each_lane("erf", a),
    "relu": relu,
    "softplus": softplus,
    "stop_gradient": lambda f, a: a,
    "expand": lambda f, a: a,
    # Of one unit; see whole.py for those of a row.
    "sum": lambda f, a: a,
    "largest": lambda f, a: a,
}
