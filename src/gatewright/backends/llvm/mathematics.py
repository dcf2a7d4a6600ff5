"""Every pointwise operation on vectors.

Exact to a few units in the last place (ulp); `README.md` has the choice of the methods. NaN
stays NaN: ranges are limited by comparisons that NaN fails.
"""

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
EXP64 = tuple(1.0 / factorial for factorial in FACTORIALS[:0:-1])
LOG2_E = 1.4426950408889634
#: ln 2 in two parts. The first has so few bits that n times it is exact for every n in range.
LN2 = {32: (0.693359375, -2.12194440e-4), 64: (0.6931471803691238, 1.9082149292705877e-10)}
#: 1.5 * 2^23 and 1.5 * 2^52: added to a small number, they leave its nearest integer in the
#: lowest bits of the mantissa, since the last bit is worth 1 there.
ROUND = {32: 12582912.0, 64: 6755399441055744.0}
ROUND_BITS = {32: 0x4B400000, 64: 0x4338000000000000}
#: Of the exponent: its bias, and the bits of the mantissa behind it.
BIAS = {32: 127, 64: 1023}
MANTISSA = {32: 23, 64: 52}
#: log as in fdlibm: R(s^2) / s^2, the highest power first.
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
#: The bits of 1 and of sqrt(1/2); the smallest normal number, and the power of two by which
#: smaller ones are scaled up.
ONE = {32: 0x3F800000, 64: 0x3FF0000000000000}
ROOT = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}
SMALLEST = {32: 2.0**-126, 64: 2.0**-1022}
LIFT = 54
#: Beyond these exp is 0 or infinite, and 2^n would need more than two factors.
EXP_ENDS = {32: (-104.0, 89.0), 64: (-746.0, 710.0)}


def horner(f: Function, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    """A polynomial, the highest power first."""
    total = f.splat(coefficients[0])
    for coefficient in coefficients[1:]:
        total = f.fma(total, x, f.splat(coefficient))
    return total


def clamp(f: Function, x: ir.Value, low: float, high: float) -> ir.Value:
    """Limit x to [low, high]; NaN is neither above nor below, and stays."""
    b = f.b
    x = b.select(b.fcmp_ordered(">", x, f.splat(high)), f.splat(high), x)
    return b.select(b.fcmp_ordered("<", x, f.splat(low)), f.splat(low), x)


def reduce(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Split x = n ln 2 + r with |r| <= ln 2 / 2: n as integers, and r."""
    bits = f.numbers.bits
    shifted = f.fma(x, f.splat(LOG2_E), f.splat(ROUND[bits]))
    n = f.b.fsub(shifted, f.splat(ROUND[bits]))
    high, low = LN2[bits]
    r = f.fma(n, f.splat(-high), x)
    r = f.fma(n, f.splat(-low), r)
    bits_of_n = f.b.bitcast(shifted, f.numbers.integers)
    return f.b.sub(bits_of_n, f.integer_splat(ROUND_BITS[bits])), r


def power_of_two(f: Function, n: ir.Value) -> ir.Value:
    """2 to the power of integers, as long as that is a normal number: the exponent is n + bias."""
    bits = f.numbers.bits
    raised = f.b.shl(f.b.add(n, f.integer_splat(BIAS[bits])), f.integer_splat(MANTISSA[bits]))
    return f.b.bitcast(raised, f.numbers.vector)


def small_expm1(f: Function, r: ir.Value) -> ir.Value:
    """exp(r) - 1 on [-ln 2 / 2, ln 2 / 2]."""
    coefficients = EXP32 if f.numbers.bits == 32 else EXP64
    return f.fma(f.b.fmul(horner(f, r, coefficients), r), r, r)


def exp(f: Function, x: ir.Value) -> ir.Value:
    """e to the power of x: 2^n times a polynomial in r."""
    n, r = reduce(f, clamp(f, x, *EXP_ENDS[f.numbers.bits]))
    value = f.b.fadd(small_expm1(f, r), f.splat(1.0))
    # 2^n in two factors, which are normal numbers for every n here. Results that are too large
    # become infinite by the second one, and those that are too small denormal or 0.
    half = f.b.ashr(n, f.integer_splat(1))
    value = f.b.fmul(value, power_of_two(f, half))
    return f.b.fmul(value, power_of_two(f, f.b.sub(n, half)))


def expm1(f: Function, x: ir.Value) -> ir.Value:
    """exp(x) - 1, also precise near 0: 2^n expm1(r) + (2^n - 1)."""
    n, r = reduce(f, clamp(f, x, -60.0, EXP_ENDS[f.numbers.bits][1]))
    # 2^n in two factors as in exp. The last step multiplies by 2^half, so the 1 that is
    # subtracted is divided by it first.
    half = f.b.ashr(n, f.integer_splat(1))
    rest = power_of_two(f, f.b.sub(n, half))
    divided = power_of_two(f, f.b.sub(f.integer_splat(0), half))  # 1 / 2^half
    value = f.fma(rest, small_expm1(f, r), f.b.fsub(rest, divided))
    return f.b.fmul(value, power_of_two(f, half))


def log(f: Function, x: ir.Value) -> ir.Value:
    """k ln 2 + log(m), with x = 2^k m and m between sqrt(1/2) and sqrt(2)."""
    b, bits, zero = f.b, f.numbers.bits, f.splat(0.0)
    # Denormal numbers have no leading 1: scale them up to normal ones first.
    small = b.fcmp_ordered("<", x, f.splat(SMALLEST[bits]))
    lifted = b.select(small, b.fmul(x, f.splat(2.0**LIFT)), x)
    shifted = b.add(b.bitcast(lifted, f.numbers.integers), f.integer_splat(ONE[bits] - ROOT[bits]))
    k = b.sub(b.lshr(shifted, f.integer_splat(MANTISSA[bits])), f.integer_splat(BIAS[bits]))
    # An integer to a float by the bits of ROUND, backwards: AVX2 has no such conversion of 64 bits.
    k = b.add(k, f.integer_splat(ROUND_BITS[bits]))
    k = b.fsub(b.bitcast(k, f.numbers.vector), f.splat(ROUND[bits]))
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
    """log(1 + x), plus a correction for the digits of x that are lost when 1 + x is rounded."""
    unity = f.splat(1.0)
    rounded = f.b.fadd(unity, x)
    value = log(f, rounded)
    lost = f.b.fdiv(f.b.fsub(x, f.b.fsub(rounded, unity)), rounded)
    # Where 1 + x is 0 or infinite the correction is NaN, and none is needed.
    return f.b.select(f.b.fcmp_unordered("uno", lost, lost), value, f.b.fadd(value, lost))


def sigmoid(f: Function, x: ir.Value) -> ir.Value:
    """1 / (1 + exp(-x)), which keeps its relative precision far below 0."""
    unity = f.splat(1.0)
    grown = (low_exp if f.numbers.pairs else exp)(f, f.b.fneg(x))
    return f.b.fdiv(unity, f.b.fadd(unity, grown))


def low_exp(f: Function, x: ir.Value) -> ir.Value:
    """e to the power of x for kernels in bfloat16: a shorter polynomial, and 2^n in one factor.

    An LSTM's pointwise part takes two thirds of the time with this and the shorter tanh.
    """
    bits = f.numbers.bits
    limited = clamp(f, x, *LOW_EXP_ENDS)
    shifted = f.fma(limited, f.splat(LOG2_E), f.splat(ROUND[bits]))
    n = f.b.fsub(shifted, f.splat(ROUND[bits]))
    r = f.fma(n, f.splat(-math.log(2)), limited)
    whole = f.b.sub(f.b.bitcast(shifted, f.numbers.integers), f.integer_splat(ROUND_BITS[bits]))
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
    return b.fdiv(grown, b.fadd(grown, f.splat(2.0)))


def softplus(f: Function, a: ir.Value) -> ir.Value:
    """max(a, 0) + log(1 + exp(-|a|))."""
    zero = f.splat(0.0)
    above = f.b.select(f.b.fcmp_ordered("<", a, zero), zero, a)
    small = exp(f, f.b.fneg(absolute(f, a)))
    return f.b.fadd(above, log1p(f, small))


def absolute(f: Function, a: ir.Value) -> ir.Value:
    """|a|."""
    return f.call("llvm.fabs", a)


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
    # Reductions of a single unit; `row_reductions.py` has those of a row.
    "sum": lambda f, a: a,
    "largest": lambda f, a: a,
}
