"""sin and cos on vectors: a reduction to [-pi/4, pi/4], and a polynomial there.

The method is that of fdlibm's `k_sin.c` and `k_cos.c` (Sun Microsystems, 1993): the reduced angle
is a sum of two numbers, since one alone would lose what is left of x near a multiple of pi/2.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.exponentials import absolute, horner, nearest_whole
from gatewright.backends.llvm.ir import Function

TWO_OVER_PI = 0.6366197723675814
#: pi/2 in four parts (Cody and Waite 1980). All but the last have 12 bits in float32 and 33 in
#: float64, so that n times a part is exact for every n below 2^12 or 2^20.
HALF_PI = {
    32: (1.5703125, 0.0004837512969970703, 7.549533620476723e-08, 2.5633440682570896e-12),
    64: (
        1.5707963267341256,
        6.077100506303966e-11,
        2.0222662487111665e-21,
        8.4784276603689e-32,
    ),
}
#: The largest angle with such an n.
LARGEST_ANGLE = {32: 6.0e3, 64: 1.6e6}
#: (sin r - r) / r^3 and (cos r - 1 + r^2 / 2) / r^4 in powers of r^2, the highest first: those of
#: Cephes (Moshier 1992) in float32, of fdlibm in float64.
SIN = {
    32: (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1),
    64: (
        1.58969099521155010221e-10,
        -2.50507602534068634195e-08,
        2.75573137070700676789e-06,
        -1.98412698298579493134e-04,
        8.33333333332248946124e-03,
        -1.66666666666666324348e-01,
    ),
}
COS = {
    32: (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2),
    64: (
        -1.13596475577881948265e-11,
        2.08757232129817482790e-09,
        -2.75573143513906633035e-07,
        2.48015872894767294178e-05,
        -1.38888888888741095749e-03,
        4.16666666666666019037e-02,
    ),
}


def sin(f: Function, x: ir.Value) -> ir.Value:
    """The sine of angles in radians."""
    n, r, low = reduce_quarters(f, absolute(f, x))
    negative = f.b.and_(f.b.bitcast(x, f.numbers.integers), f.integer_splat(f.numbers.sign))
    return _exact_beyond(f, "sin", x, _sine(f, n, r, low, negative))


def cos(f: Function, x: ir.Value) -> ir.Value:
    """The cosine of angles in radians: the sine of the angle a quarter turn further."""
    n, r, low = reduce_quarters(f, absolute(f, x))
    n = f.b.add(n, f.integer_splat(1))
    return _exact_beyond(f, "cos", x, _sine(f, n, r, low, f.integer_splat(0)))


def reduce_quarters(f: Function, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Split x = n pi/2 + r + low, with |r| <= pi/4 and |low| within half an ulp of r.

    Args:
        x: From 0 to `LARGEST_ANGLE`; others give numbers of no meaning.

    Returns:
        n as integers, r and low.
    """
    b = f.b
    integers, n = nearest_whole(f, x, TWO_OVER_PI)
    first, *middle, last = HALF_PI[f.numbers.bits]
    r = f.fma(n, f.splat(-first), x)  # exact: x and n * first are close, and both have few bits
    low = f.splat(0.0)
    for part in middle:
        product = b.fmul(n, f.splat(part))
        difference = b.fsub(r, product)
        low = b.fadd(low, b.fsub(b.fsub(r, difference), product))  # what was rounded off
        r = difference
    low = f.fma(n, f.splat(-last), low)
    total = b.fadd(r, low)
    return integers, total, b.fadd(b.fsub(r, total), low)


def _sine(f: Function, n: ir.Value, r: ir.Value, low: ir.Value, flip: ir.Value) -> ir.Value:
    """sin(n pi/2 + r + low), its sign bit exchanged where that of `flip` is set."""
    b, bits = f.b, f.numbers.bits
    unity, square = f.splat(1.0), b.fmul(r, r)
    half = b.fmul(square, f.splat(0.5))
    near = b.fsub(unity, half)  # cos r to second order
    sine = f.fma(b.fmul(square, r), horner(f, square, SIN[bits]), b.fmul(low, near))
    sine = b.fadd(r, sine)
    cosine = f.fma(b.fmul(square, square), horner(f, square, COS[bits]), b.fneg(b.fmul(r, low)))
    cosine = b.fadd(near, b.fadd(b.fsub(b.fsub(unity, near), half), cosine))
    odd = b.icmp_unsigned("!=", b.and_(n, f.integer_splat(1)), f.integer_splat(0))
    value = b.bitcast(b.select(odd, cosine, sine), f.numbers.integers)
    # The second bit of n is that of a half turn, which changes the sign.
    half_turn = b.shl(b.and_(n, f.integer_splat(2)), f.integer_splat(bits - 2))
    return b.bitcast(b.xor(value, b.xor(half_turn, flip)), f.numbers.vector)


def _exact_beyond(f: Function, name: str, x: ir.Value, value: ir.Value) -> ir.Value:
    """The value, or the C library's of each lane if an angle is too large for the reduction.

    Such angles need up to 1,100 bits of 2/pi (Payne and Hanek 1983). A trained cell hardly meets
    them, so they take a call a lane.
    """
    b = f.b
    beyond = b.fcmp_ordered(">", absolute(f, x), f.splat(LARGEST_ANGLE[f.numbers.bits]))
    before = b.block
    with b.if_then(f.any_lane(beyond), likely=False):
        exact = f.each_lane(name, x)
        within = b.block
    result = b.phi(f.numbers.vector)
    result.add_incoming(value, before)
    result.add_incoming(exact, within)
    return result
