"""Every pointwise operation on vectors; `README.md` has the mathematics and the errors."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from gatewright.backends.llvm.vector import Function

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
EXP_ENDS = {32: (-104.0, 89.0), 64: (-746.0, 710.0)}


def horner(f: Function, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    """A polynomial, the highest power first."""
    total = f.splat(coefficients[0])
    for one in coefficients[1:]:
        total = f.call("llvm.fma", total, x, f.splat(one))
    return total


def clamp(f: Function, x: ir.Value, low: float, high: float) -> ir.Value:
    """x within [low, high]; NaN stays NaN, since it compares as neither."""
    b = f.b
    x = b.select(b.fcmp_ordered(">", x, f.splat(high)), f.splat(high), x)
    return b.select(b.fcmp_ordered("<", x, f.splat(low)), f.splat(low), x)


def reduce(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """n as integers and r, with x = n ln 2 + r."""
    bits = f.numbers.bits
    shifted = f.call("llvm.fma", x, f.splat(LOG2_E), f.splat(ROUND[bits]))
    n = f.b.fsub(shifted, f.splat(ROUND[bits]))
    high, low = LN2[bits]
    r = f.call("llvm.fma", n, f.splat(-high), x)
    r = f.call("llvm.fma", n, f.splat(-low), r)
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
        return f.call("llvm.fma", b.fmul(horner(f, r, EXP32), r), r, r)
    return f.call("llvm.fma", b.fmul(horner(f, r, EXP64), r), r, r)


def exp(f: Function, x: ir.Value) -> ir.Value:
    """e to the power of x: 2^n times a polynomial of the rest."""
    n, r = reduce(f, clamp(f, x, *EXP_ENDS[f.numbers.bits]))
    value = f.b.fadd(small_expm1(f, r), f.splat(1.0))
    # In two factors, so that what is too large becomes infinite and what is too small zero.
    half = f.b.ashr(n, f.integer_splat(1))
    value = f.b.fmul(value, power_of_two(f, half))
    return f.b.fmul(value, power_of_two(f, f.b.sub(n, half)))


def sigmoid(f: Function, x: ir.Value) -> ir.Value:
    """1 / (1 + exp(-x)), which keeps its relative precision far below zero."""
    one = f.splat(1.0)
    return f.b.fdiv(one, f.b.fadd(one, exp(f, f.b.fneg(x))))


def tanh(f: Function, x: ir.Value) -> ir.Value:
    """A rational function in float32; in float64 by way of exp(2x) - 1."""
    b = f.b
    if f.numbers.bits == 32:
        x = clamp(f, x, -TANH_END, TANH_END)
        square = b.fmul(x, x)
        return b.fdiv(b.fmul(x, horner(f, square, TANH_P)), horner(f, square, TANH_Q))
    # expm1(2x) / (expm1(2x) + 2), with expm1(y) = 2^n expm1(r) + (2^n - 1).
    n, r = reduce(f, clamp(f, b.fadd(x, x), -60.0, 60.0))
    scale = power_of_two(f, n)
    grown = f.call("llvm.fma", scale, small_expm1(f, r), b.fsub(scale, f.splat(1.0)))
    return b.fdiv(grown, b.fadd(grown, f.splat(2.0)))


def softplus(f: Function, a: ir.Value) -> ir.Value:
    """max(a, 0) + log(1 + exp(-|a|))."""
    zero = f.splat(0.0)
    above = f.b.select(f.b.fcmp_ordered("<", a, zero), zero, a)
    small = exp(f, f.b.fneg(absolute(f, a)))
    return f.b.fadd(above, f.each_lane("log1p", small))


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
    "expm1": lambda f, a: f.each_lane("expm1", a),
    "log": lambda f, a: f.each_lane("log", a),
    "log1p": lambda f, a: f.each_lane("log1p", a),
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
    "sum": lambda f, a: a,  # of one unit; see kernel.py for that of a row
}
