"""The functions of the kernels to the last digits: sin, cos, erf, powers, and those they use."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import mpmath
import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.backends import choose
from gatewright.backends.llvm import target
from gatewright.backends.run import Run
from kernel_build import forget_kernels
from test_kernels import EXTREMES

HERE = target.native()
#: This processor, and the smaller ones that it includes: sse2 has no fused multiply-add.
SMALLER = [
    name
    for name, goal in target.levels(HERE.triple).items()
    if HERE.triple.startswith("x86_64") and goal.bits < HERE.bits
]
#: The largest errors in units in the last place: those of the functions, 0.94 and 1.25 at most in
#: longer measurements, and those of `exp` and `log`.
LIMITS = {np.float32: 1.0, np.float64: 1.5}
NAMES = ("sine", "cosine", "error", "growth", "logarithm", "power")
TRUTH: dict[str, Callable[..., mpmath.mpf]] = {
    "sine": mpmath.sin,
    "cosine": mpmath.cos,
    "error": mpmath.erf,
    "growth": mpmath.exp,
    "logarithm": mpmath.log,
    "power": mpmath.power,
}


class Functions(gw.Cell):
    """Each function of the state; the exponent of the power is the event."""

    def step(self, x, h):
        sine, cosine, error = gw.sin(h), gw.cos(h), gw.erf(h)
        growth, logarithm = gw.exp(h), gw.log(h)
        power = h**x
        return gw.state(h=x, output=sine + cosine + error + growth + logarithm + power)


class Constants(gw.Cell):
    """Powers with the constant exponents that have a form of their own."""

    def step(self, x, h):
        inverse_root, root, square = h**-0.5, h**0.5, h**2.0
        inverse, inverse_square, cube = h**-1.0, h**-2.0, h**3.0
        unity, same = h**0.0, h**1.0
        total = inverse_root + root + square + inverse + inverse_square + cube + unity + same
        return gw.state(h=x, output=total)


def computed(cell: gw.Cell, base: np.ndarray, exponent: np.ndarray) -> dict[str, np.ndarray]:
    """The named values of a step on the kernels."""
    h, x = (torch.from_numpy(values.reshape(1, -1)) for values in (base, exponent))
    run = Run(
        graph=cell.graph,
        sizes={"input": h.shape[1], "hidden": h.shape[1]},
        weights={},
        inputs={"x": x},
        rows=[1],
        states={"h": h},
        fresh={"h": h},
        names=[name for name in cell.graph.values if name not in ("x", "h")],
    )
    with torch.no_grad(), np.errstate(all="ignore"):
        values = choose.run_on("llvm", run).values
    return {name: value.numpy().reshape(-1) for name, value in values.items()}


def errors(actual: np.ndarray, exact: list[mpmath.mpf]) -> np.ndarray:
    """The errors in units in the last place of the exact values; infinite for a wrong kind."""
    info = np.finfo(actual.dtype)
    result = []
    for number, value in zip(actual, exact, strict=True):
        nearest = rounded(value, info)
        if np.isnan(nearest) or np.isinf(nearest):
            same = np.isnan(number) if np.isnan(nearest) else number == nearest
            result.append(0.0 if same else np.inf)
            continue
        exponent = max(mpmath.mag(value) - 1, info.minexp) if value else info.minexp
        off = abs(mpmath.mpf(float(number)) - value) if np.isfinite(number) else mpmath.inf
        result.append(float(off / mpmath.mpf(2) ** (exponent - info.nmant)))
    return np.array(result)


def rounded(value: mpmath.mpf, info: np.finfo) -> float:
    """An exact value as a float, infinite where the type has no such number."""
    if not isinstance(value, mpmath.mpf) or mpmath.isnan(value):
        return np.nan  # also where the exact result is complex
    largest = mpmath.mpf(2) ** info.maxexp * (1 - mpmath.mpf(2) ** (-info.nmant - 2))
    return float(mpmath.sign(value)) * np.inf if abs(value) >= largest else float(value)


def bases(dtype: type, count: int) -> np.ndarray:
    """Numbers of every size, then common angles, angles near multiples of pi/2 and small ones.

    The large ones are together, since one of them is enough for a vector to leave the polynomials.
    """
    draw = np.random.default_rng(0)
    bits = np.uint32 if dtype is np.float32 else np.uint64
    every = draw.integers(0, np.iinfo(bits).max, count, dtype=bits, endpoint=True).view(dtype)
    common = draw.uniform(-8.0, 8.0, 2 * count)
    most = 3_800 if dtype is np.float32 else 1_000_000  # as far as the reduction goes
    turns = draw.integers(1, most, count) * (np.pi / 2)
    small = np.exp(draw.uniform(-80.0, 0.0, count))
    values = np.concatenate([every, common, turns, small]).astype(dtype)
    return values[np.isfinite(values)]


def exponents(base: np.ndarray) -> np.ndarray:
    """Exponents for results of every size that is finite, whole ones for negative bases."""
    draw = np.random.default_rng(1)
    most = 0.9 * np.log(np.finfo(base.dtype).max)
    with np.errstate(all="ignore"):
        limit = np.minimum(np.abs(most / np.log(np.abs(base.astype(np.float64)))), 1e15)
    exponent = draw.uniform(-1.0, 1.0, base.shape) * limit
    return np.where(base < 0.0, np.round(exponent), exponent).astype(base.dtype)


@pytest.fixture(params=["native", *SMALLER])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Build kernels for this processor or a smaller one."""
    monkeypatch.setenv("GATEWRIGHT_CPU", request.param)
    forget_kernels()
    yield request.param
    monkeypatch.undo()
    forget_kernels()


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_functions_are_exact_to_about_one_unit_in_the_last_place(dtype: type, processor: str):
    base = bases(dtype, 250)
    exponent = exponents(base)
    values = computed(Functions(), base, exponent)
    with mpmath.workprec(1200):  # angles of 2^1000 need as many bits of pi
        inputs = [mpmath.mpf(float(number)) for number in base]
    for name in NAMES:
        with mpmath.workprec(1200 if name in ("sine", "cosine") else 160):
            exact = [exact_value(name, a, b) for a, b in zip(inputs, exponent, strict=True)]
            worst = errors(values[name], exact)
        index = int(worst.argmax())
        assert worst[index] <= LIMITS[dtype], (
            name,
            base[index],
            exponent[index],
            values[name][index],
        )


def exact_value(name: str, a: mpmath.mpf, exponent: np.floating) -> mpmath.mpf:
    """A function's value. mpmath would take long for exp and erf of large numbers: their limits."""
    if name == "growth" and abs(a) > 1e4:
        return mpmath.inf if a > 0 else mpmath.mpf(0)
    if name == "error" and abs(a) > 30:
        return mpmath.sign(a)
    operands = (a, mpmath.mpf(float(exponent))) if name == "power" else (a,)
    return TRUTH[name](*operands)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_every_size_of_float_has_a_sine_in_a_vector_with_others(dtype: type):
    """One angle that is too large for the reduction leaves the others of its vector exact."""
    base = np.full(97, 0.5, dtype)
    base[::7] = np.geomspace(1e3, float(np.finfo(dtype).max) / 2, len(base[::7])).astype(dtype)
    base[3], base[60] = np.inf, np.nan
    values = computed(Functions(), base, base)
    for name, function in (("sine", np.sin), ("cosine", np.cos)):
        with np.errstate(invalid="ignore"):
            exact = function(base.astype(np.float64))
        np.testing.assert_allclose(values[name], exact, rtol=2e-7 if dtype == np.float32 else 1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_powers_of_special_numbers_are_those_of_c(dtype: type, processor: str):
    """All pairs of zeros, infinities, NaN, and whole and other numbers; also the sign of zero."""
    info = np.finfo(dtype)
    whole = [1.0, 2.0, 3.0, 2.0**info.nmant + 1.0, 2.0 ** (info.nmant + 1), 2.0**90]
    sizes = [*EXTREMES, *whole, 1.5, 1.0 - info.epsneg, 1.0 + info.eps, info.max, info.tiny]
    special = [*sizes, *(-size for size in sizes)]
    base, exponent = np.array(list(itertools.product(special, special)), dtype).T.copy()
    with np.errstate(all="ignore"):
        expected = np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(dtype)
    actual = computed(Functions(), base, exponent)["power"]
    np.testing.assert_allclose(
        actual, expected, rtol=4 * float(info.eps), atol=info.smallest_subnormal
    )
    signed = ~np.isnan(expected)
    wrong = signed & (np.signbit(actual) != np.signbit(expected))
    assert not wrong.any(), (base[wrong][:5], exponent[wrong][:5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_constant_exponents_are_like_others(dtype: type):
    base = np.concatenate([bases(dtype, 250), np.array(EXTREMES, dtype)])
    values = computed(Constants(), base, base)
    exponents = {
        "inverse_root": -0.5,
        "root": 0.5,
        "square": 2.0,
        "inverse": -1.0,
        "inverse_square": -2.0,
        "cube": 3.0,
        "unity": 0.0,
        "same": 1.0,
    }
    info = np.finfo(dtype)
    for name, exponent in exponents.items():
        with np.errstate(all="ignore"):
            exact = np.power(base.astype(np.longdouble), exponent).astype(dtype)
        np.testing.assert_allclose(
            values[name], exact, rtol=2 * info.eps, atol=2 * info.smallest_subnormal, err_msg=name
        )
        numbers = ~np.isnan(exact)
        assert np.array_equal(np.signbit(values[name])[numbers], np.signbit(exact)[numbers]), name


@pytest.mark.slow(instead="test_functions_are_exact_to_about_one_unit_in_the_last_place")
@pytest.mark.parametrize("name", ["sine", "cosine", "error"])
def test_functions_of_every_kind_of_float32(name: str):
    """Every 40,009th of all bit patterns, against float64."""
    base = np.arange(0, 2**32, 40_009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    base = base[np.isfinite(base)]
    functions = {"sine": np.sin, "cosine": np.cos, "error": erf}
    exact = functions[name](base.astype(np.float64))
    actual = computed(Functions(), base, np.ones_like(base))[name].astype(np.float64)
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    # `spacing` is of the rounded value, which may be a power of two that the exact one is below.
    assert (np.abs(actual - exact) / unit).max() <= LIMITS[np.float32]


def erf(values: np.ndarray) -> np.ndarray:
    """The error function in float64."""
    return torch.erf(torch.from_numpy(values)).numpy()
