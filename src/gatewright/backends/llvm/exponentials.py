"""Polynomials, exp and log on vectors, which most other functions are made of.

Ranges are limited by comparisons that NaN fails, so NaN stays NaN.
"""

from __future__ import annotations

import math

from llvmlite import ir

from gatewright.backends.llvm.ir import Function

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


def absolute(f: Function, a: ir.Value) -> ir.Value:
    """|a|."""
    return f.call("llvm.fabs", a)


def clamp(f: Function, x: ir.Value, low: float, high: float) -> ir.Value:
    """Limit x to [low, high]; NaN is neither above nor below, and stays."""
    b = f.b
    x = b.select(b.fcmp_ordered(">", x, f.splat(high)), f.splat(high), x)
    return b.select(b.fcmp_ordered("<", x, f.splat(low)), f.splat(low), x)


def nearest_whole(f: Function, x: ir.Value, factor: float) -> tuple[ir.Value, ir.Value]:
    """Return the whole number nearest to x times a factor: as integers, and as floats."""
    bits = f.numbers.bits
    shifted = f.fma(x, f.splat(factor), f.splat(ROUND[bits]))
    integers = f.b.sub(f.b.bitcast(shifted, f.numbers.integers), f.integer_splat(ROUND_BITS[bits]))
    return integers, f.b.fsub(shifted, f.splat(ROUND[bits]))


def reduce(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Split x = n ln 2 + r with |r| <= ln 2 / 2: n as integers, and r."""
    integers, n = nearest_whole(f, x, LOG2_E)
    high, low = LN2[f.numbers.bits]
    r = f.fma(n, f.splat(-high), x)
    return integers, f.fma(n, f.splat(-low), r)


def power_of_two(f: Function, n: ir.Value) -> ir.Value:
    """2 to the power of integers, as long as that is a normal number: the exponent is n + bias."""
    bits = f.numbers.bits
    raised = f.b.shl(f.b.add(n, f.integer_splat(BIAS[bits])), f.integer_splat(MANTISSA[bits]))
    return f.b.bitcast(raised, f.numbers.vector)


def small_expm1(f: Function, r: ir.Value) -> ir.Value:
    """exp(r) - 1 on [-ln 2 / 2, ln 2 / 2]."""
    coefficients = EXP32 if f.numbers.bits == 32 else EXP64
    return f.fma(f.b.fmul(horner(f, r, coefficients), r), r, r)


def exp(f: Function, x: ir.Value, rest: ir.Value | None = None) -> ir.Value:
    """e to the power of x, or of x + rest with a far smaller rest: 2^n times a polynomial in r."""
    n, r = reduce(f, clamp(f, x, *EXP_ENDS[f.numbers.bits]))
    if rest is not None:
        r = f.b.fadd(r, rest)
    value = f.b.fadd(small_expm1(f, r), f.splat(1.0))
    # 2^n in two factors, which are normal numbers for every n here. Results that are too large
    # become infinite by the second one, and those that are too small denormal or 0.
    half = f.b.ashr(n, f.integer_splat(1))
    value = f.b.fmul(value, power_of_two(f, half))
    return f.b.fmul(value, power_of_two(f, f.b.sub(n, half)))


def expm1(f: Function, x: ir.Value) -> ir.Value:
    """exp(x) - 1, also precise near 0: 2^n expm1(r) + (2^n - 1); -0 stays -0."""
    n, r = reduce(f, clamp(f, x, -60.0, EXP_ENDS[f.numbers.bits][1]))
    # 2^n in two factors as in exp. The last step multiplies by 2^half, so the 1 that is
    # subtracted is divided by it first.
    half = f.b.ashr(n, f.integer_splat(1))
    rest = power_of_two(f, f.b.sub(n, half))
    divided = power_of_two(f, f.b.sub(f.integer_splat(0), half))  # 1 / 2^half
    value = f.fma(rest, small_expm1(f, r), f.b.fsub(rest, divided))
    return f.call("llvm.copysign", f.b.fmul(value, power_of_two(f, half)), x)


def split_normal(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Split x = 2^k m with m between sqrt(1/2) and sqrt(2): k as a whole number, and m.

    Args:
        x: Normal positive numbers; others give numbers of no meaning.
    """
    b, bits = f.b, f.numbers.bits
    shifted = b.add(b.bitcast(x, f.numbers.integers), f.integer_splat(ONE[bits] - ROOT[bits]))
    k = b.sub(b.lshr(shifted, f.integer_splat(MANTISSA[bits])), f.integer_splat(BIAS[bits]))
    # An integer to a float by the bits of ROUND, backwards: AVX2 has no such conversion of 64 bits.
    k = b.add(k, f.integer_splat(ROUND_BITS[bits]))
    k = b.fsub(b.bitcast(k, f.numbers.vector), f.splat(ROUND[bits]))
    rest = b.and_(shifted, f.integer_splat((1 << MANTISSA[bits]) - 1))
    return k, b.bitcast(b.add(rest, f.integer_splat(ROOT[bits])), f.numbers.vector)


def split_exponent(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Split x = 2^k m as `split_normal` does, also denormal numbers."""
    b, bits = f.b, f.numbers.bits
    # Denormal numbers have no leading 1: scale them up to normal ones first.
    small = b.fcmp_ordered("<", x, f.splat(SMALLEST[bits]))
    k, m = split_normal(f, b.select(small, b.fmul(x, f.splat(2.0**LIFT)), x))
    return b.fsub(k, b.select(small, f.splat(float(LIFT)), f.splat(0.0))), m


def log(f: Function, x: ir.Value) -> ir.Value:
    """The natural logarithm, k ln 2 + log(m)."""
    b, bits = f.b, f.numbers.bits
    k, m = split_exponent(f, x)
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
    value = log_at_ends(f, x, value)
    return b.select(b.fcmp_ordered("<", x, f.splat(0.0)), f.splat(math.nan), value)


def log_at_ends(f: Function, x: ir.Value, value: ir.Value) -> ir.Value:
    """The logarithm of 0, infinity and NaN, and the value at all other x."""
    b = f.b
    value = b.select(b.fcmp_unordered("==", x, f.splat(math.inf)), x, value)  # also if x is NaN
    return b.select(b.fcmp_ordered("==", x, f.splat(0.0)), f.splat(-math.inf), value)


def log1p(f: Function, x: ir.Value) -> ir.Value:
    """log(1 + x), plus a correction for the digits of x that are lost when 1 + x is rounded.

    -0 stays -0: a division by it is infinite with the other sign.
    """
    unity = f.splat(1.0)
    rounded = f.b.fadd(unity, x)
    value = log(f, rounded)
    lost = f.b.fdiv(f.b.fsub(x, f.b.fsub(rounded, unity)), rounded)
    # Where 1 + x is 0 or infinite the correction is NaN, and none is needed.
    value = f.b.select(f.b.fcmp_unordered("uno", lost, lost), value, f.b.fadd(value, lost))
    return f.call("llvm.copysign", value, x)
