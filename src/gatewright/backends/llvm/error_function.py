"""erf on vectors: a polynomial near 0, and 1 - exp of a polynomial elsewhere.

Both are minimax polynomials by Remez' exchange algorithm (Remez 1934), of functions that Cody
(1969, "Rational Chebyshev approximations for the error function") divides in the same way. A
vector would have to compute all of his quotients; one exponential serves the whole range.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.exponentials import (
    absolute,
    clamp,
    horner,
    power_of_two,
    reduce,
    small_expm1,
)
from gatewright.backends.llvm.ir import Function

#: Where the second polynomial takes over, and where 1 is the nearest number to erf.
EDGE = {32: 0.921875, 64: 1.0}
END = {32: 4.0, 64: 6.0}
#: erf(x) / x - 1 in powers of x^2, the highest first, within 2^-30 and 2^-56 of erf(x).
NEAR = {
    32: (
        7.99755508e-05,
        -0.000804993499,
        0.00519241486,
        -0.0268557332,
        0.112836257,
        -0.376126289,
        0.128379166,
    ),
    64: (
        -7.779462971758002e-10,
        1.3710988704188445e-08,
        -1.6206318752968687e-07,
        1.6447132699786545e-06,
        -1.4924712439534808e-05,
        0.0001205529358693695,
        -0.0008548325929766244,
        0.005223977606130842,
        -0.026866170643113415,
        0.112837916709442,
        -0.3761263890318352,
        0.12837916709551256,
    ),
}
#: log(1 - erf(x)) in powers of x - `EDGE`, the highest first. Its error counts the less, the
#: smaller 1 - erf(x) is: it leaves 2^-26 and 2^-57 of erf(x).
FAR = {
    32: (
        8.87857022e-05,
        -0.00156712974,
        0.0101933442,
        -0.0444854647,
        -0.833063245,
        -2.50800705,
        -1.64856195,
    ),
    64: (
        -4.928642346285184e-12,
        1.207101946107551e-10,
        -1.3326188570671288e-09,
        8.597135854348722e-09,
        -3.3692178784230244e-08,
        5.8819858512564195e-08,
        2.0324848477673827e-07,
        -2.1297304394558826e-06,
        9.66908687125735e-06,
        -2.7197239544157995e-05,
        2.629538165940209e-05,
        0.00023731679803533595,
        -0.0019779013107832856,
        0.010033825195139809,
        -0.041561098026682175,
        -0.8431072563593303,
        -2.6389675142347775,
        -1.8496055099332482,
    ),
}


def erf(f: Function, x: ir.Value) -> ir.Value:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    b, bits = f.b, f.numbers.bits
    magnitude = absolute(f, x)
    near = f.fma(horner(f, b.fmul(x, x), NEAR[bits]), magnitude, magnitude)
    beyond = b.fsub(clamp(f, magnitude, EDGE[bits], END[bits]), f.splat(EDGE[bits]))
    # 1 - 2^n (1 + expm1(r)). 2^n is a normal number in this range, so one factor is enough.
    n, r = reduce(f, horner(f, beyond, FAR[bits]))
    scale = power_of_two(f, n)
    far = f.fma(b.fneg(scale), small_expm1(f, r), b.fsub(f.splat(1.0), scale))
    value = b.select(b.fcmp_ordered("<", magnitude, f.splat(EDGE[bits])), near, far)
    return f.call("llvm.copysign", value, x)
