"""Powers on vectors, with the special cases of C99's `pow` (annex F.9.4.4).

a^b = exp(b log a). A relative error in b log a becomes one of up to 745 times the size in the
result, so the logarithm needs more digits than the result has. In float32 it is computed in
float64; in float64 it is a sum of two numbers, as in fdlibm's `e_pow.c` (Sun Microsystems, 1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from gatewright.backends.llvm.exponentials import (
    LN2,
    MANTISSA,
    absolute,
    clamp,
    exp,
    horner,
    log_at_ends,
    nearest_whole,
    power_of_two,
    split_exponent,
    split_normal,
)
from gatewright.backends.llvm.ir import Function, Splat

#: (atanh(s) - s - s^3 / 3) / s^5 in powers of s^2, the highest first, for s^2 up to 0.0295: the
#: minimax polynomial by Remez' exchange algorithm. It leaves 2^-66 of the logarithm.
ATANH = (
    0.0659813914033296,
    0.06628412485583375,
    0.07693378463036135,
    0.09090892189236195,
    0.11111111259878725,
    0.14285714285050366,
    0.20000000000001125,
)
#: 1/3 in two parts.
THIRD = (0.3333333333333333, 1.850371707708594e-17)
#: log2((1 + s) / (1 - s)) / s in powers of s^2, and 2^r for r in [-1/2, 1/2], by the same algorithm
#: for a result in float32: they leave 2^-36 and 2^-28.
LOG2 = (
    0.34074045639945705,
    0.4116721099326104,
    0.5770835961634228,
    0.9617966732759365,
    2.8853900817901468,
)
EXP2 = (
    0.0001535249914264752,
    0.0013398864927785118,
    0.009618441091423641,
    0.05550332525689089,
    0.24022647874624284,
    0.6931472027841438,
    1.0,
)
#: Beyond these, powers of two are 0 or infinite in float32.
EXP2_ENDS = (-152.0, 130.0)
#: Any number but 1, to the power of this, is infinite or 0, and its logarithm times this is finite.
LARGEST_EXPONENT = 2.0**70
#: Above this, exp has no use for the second part of its argument.
LARGEST_SUM = 800.0


def power(f: Function, a: ir.Value, b: ir.Value) -> ir.Value:
    """a to the power of b."""
    if isinstance(b, Splat) and (simple := SIMPLE.get(b.constant[0].constant)):
        return simple(f, a)
    builder = f.b
    magnitude = absolute(f, a)
    # Not infinite: its product with the logarithm of 1 would be NaN.
    bounded = clamp(f, b, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    if f.numbers.bits == 32:
        value = f.in_float64(_short_power, magnitude, bounded)
    else:
        value = _long_power(f, magnitude, bounded)
    # A negative base has powers of whole exponents; those of odd ones are negative.
    size = absolute(f, b)
    whole = _is_whole(f, size)
    odd = builder.and_(whole, builder.not_(_is_whole(f, builder.fmul(size, f.splat(0.5)))))
    bits = builder.bitcast(a, f.numbers.integers)
    below = builder.icmp_signed("<", bits, f.integer_splat(0))  # also where a is -0
    value = builder.select(builder.and_(below, odd), builder.fneg(value), value)
    finite = builder.and_(
        builder.fcmp_ordered("<", a, f.splat(0.0)),
        builder.fcmp_ordered("<", magnitude, f.splat(math.inf)),
    )
    undefined = builder.and_(finite, builder.not_(whole))
    value = builder.select(undefined, f.splat(math.nan), value)
    unity = builder.or_(
        builder.fcmp_ordered("==", b, f.splat(0.0)), builder.fcmp_ordered("==", a, f.splat(1.0))
    )
    return builder.select(unity, f.splat(1.0), value)  # also where the other operand is NaN


def _is_whole(f: Function, size: ir.Value) -> ir.Value:
    """The mask of the numbers, none of them negative, without a fraction; NaN is not among them."""
    b = f.b
    # From here on every number is whole, and the sum of a smaller one and this has no fraction.
    start = f.splat(2.0 ** MANTISSA[f.numbers.bits])
    rounded = b.fsub(b.fadd(size, start), start)
    return b.or_(b.fcmp_ordered(">=", size, start), b.fcmp_ordered("==", size, rounded))


def _short_power(f: Function, a: ir.Value, b: ir.Value) -> ir.Value:
    """2^(b log2 a) for a >= 0 and b that were in float32, in float64 within 2^-28."""
    builder = f.b
    k, m = split_normal(f, a)  # no number of float32 is denormal in float64
    s = builder.fdiv(builder.fsub(m, f.splat(1.0)), builder.fadd(m, f.splat(1.0)))
    log = f.fma(s, horner(f, builder.fmul(s, s), LOG2), k)
    exponent = builder.fmul(b, log_at_ends(f, a, log))
    exponent = clamp(f, exponent, *EXP2_ENDS)
    n, whole = nearest_whole(f, exponent, 1.0)
    return builder.fmul(power_of_two(f, n), horner(f, builder.fsub(exponent, whole), EXP2))


def _long_power(f: Function, a: ir.Value, b: ir.Value) -> ir.Value:
    """a^b for a >= 0 in float64."""
    high, low = long_log(f, a)
    value, rest = exact_product(f, b, high)
    rest = f.fma(b, low, rest)
    inside = f.b.fcmp_ordered("<", absolute(f, value), f.splat(LARGEST_SUM))
    return exp(f, value, f.b.select(inside, rest, f.splat(0.0)))


def exact_product(f: Function, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The product of two numbers, and what was rounded off (Dekker 1971)."""
    builder = f.b
    product = builder.fmul(a, b)
    if f.numbers.fused:
        return product, f.fma(a, b, builder.fneg(product))
    (a, a_low), (b, b_low) = _halves(f, a), _halves(f, b)
    rest = builder.fsub(builder.fmul(a, b), product)
    rest = builder.fadd(rest, builder.fmul(a, b_low))
    rest = builder.fadd(rest, builder.fmul(a_low, b))
    return product, builder.fadd(rest, builder.fmul(a_low, b_low))


def _halves(f: Function, a: ir.Value) -> tuple[ir.Value, ir.Value]:
    """A number of 53 bits as a sum of two of 26."""
    b = f.b
    scaled = b.fmul(a, f.splat(2.0**27 + 1.0))
    high = b.fsub(scaled, b.fsub(scaled, a))
    return high, b.fsub(a, high)


def long_log(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The logarithm of x >= 0 in float64 as a sum of two numbers, within 2^-64 of it.

    log x = k ln 2 + 2 atanh(s), with x = 2^k m and s = (m - 1) / (m + 1).
    """
    b, unity, two = f.b, f.splat(1.0), f.splat(2.0)
    k, m = split_exponent(f, x)
    # s, with what is lost in the sum m + 1 and in the division.
    above, sum_ = b.fsub(m, unity), b.fadd(m, unity)
    lost = b.fsub(above, b.fsub(sum_, two))
    inverse = b.fdiv(unity, sum_)
    s = b.fmul(above, inverse)
    product, rest = exact_product(f, s, sum_)
    left = b.fsub(b.fsub(b.fsub(above, product), rest), b.fmul(s, lost))
    s_low = b.fmul(left, inverse)
    # atanh(s) = s + s w, w = s^2 (1/3 + s^2 P(s^2)).
    z, z_low = exact_product(f, s, s)
    z_low = f.fma(b.fmul(two, s), s_low, z_low)
    third, third_low = exact_product(f, z, f.splat(THIRD[0]))
    third_low = f.fma(z, f.splat(THIRD[1]), f.fma(z_low, f.splat(THIRD[0]), third_low))
    w, w_low = _sum(f, third, b.fmul(b.fmul(z, z), horner(f, z, ATANH)))
    w_low = b.fadd(w_low, third_low)
    term, term_low = exact_product(f, s, w)
    term_low = f.fma(s, w_low, f.fma(s_low, w, term_low))
    value, value_low = _sum(f, s, term)
    value_low = b.fadd(value_low, b.fadd(s_low, term_low))
    # k times the first part of ln 2 is exact.
    ln2, ln2_low = LN2[64]
    high, low = _sum(f, b.fmul(k, f.splat(ln2)), b.fmul(two, value))
    low = b.fadd(low, f.fma(k, f.splat(ln2_low), b.fmul(two, value_low)))
    return log_at_ends(f, x, high), low


def _sum(f: Function, larger: ir.Value, smaller: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The sum of two numbers, and what was rounded off; `larger` may also be 0."""
    b = f.b
    total = b.fadd(larger, smaller)
    return total, b.fadd(b.fsub(larger, total), smaller)


def _inverse(f: Function, a: ir.Value) -> ir.Value:
    return f.b.fdiv(f.splat(1.0), a)


def _square(f: Function, a: ir.Value) -> ir.Value:
    return f.b.fmul(a, a)


def _root(f: Function, a: ir.Value) -> ir.Value:
    """The square root, which differs from a^(1/2) at -0 and at minus infinity."""
    b = f.b
    root = f.call("llvm.sqrt", b.fadd(a, f.splat(0.0)))  # -0 + 0 is 0
    return b.select(b.fcmp_ordered("==", a, f.splat(-math.inf)), f.splat(math.inf), root)


#: Constant exponents that take a few operations, each with at most three roundings.
SIMPLE: dict[float, Callable[[Function, ir.Value], ir.Value]] = {
    -2.0: lambda f, a: _square(f, _inverse(f, a)),  # 1 / a^2 would overflow too early
    -1.0: _inverse,
    -0.5: lambda f, a: _inverse(f, _root(f, a)),
    0.0: lambda f, a: f.splat(1.0),
    0.5: _root,
    1.0: lambda f, a: a,
    2.0: _square,
    3.0: lambda f, a: f.b.fmul(_square(f, a), a),
}
