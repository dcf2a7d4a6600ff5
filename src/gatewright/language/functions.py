"""The functions that a step may call on its values.

linear diagonal parameter             learned weights
noise                                 random values
state                                 the result of the step
sigmoid tanh exp where maximum ...    computed element by element
softmax layer_norm rms_norm sum mean  computed over a row of units, or over each head
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gatewright.errors import CellError
from gatewright.language.argument_checks import (
    check_eps,
    check_flag,
    check_heads,
    check_name,
    check_real,
    check_size,
    check_sources,
)
from gatewright.language.frames import locals_in
from gatewright.language.node import Size
from gatewright.language.recorder import RECORDER, Recorder
from gatewright.language.values import Value, apply, record

Number = float | int
Operand = Value | Number


def _pointwise(name: str, summary: str) -> Callable[[Operand], Value]:
    def function(value: Operand) -> Value:
        return apply(name, value)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{summary}, element by element; the result has the value's size."
    return function


sigmoid = _pointwise("sigmoid", "1 / (1 + exp(-a)), which keeps a gate between 0 and 1")
tanh = _pointwise("tanh", "Hyperbolic tangent")
exp = _pointwise("exp", "e to the power of a")
expm1 = _pointwise("expm1", "exp(a) - 1, accurate near 0")
log = _pointwise("log", "Natural logarithm")
log1p = _pointwise("log1p", "log(1 + a), accurate near 0")
sqrt = _pointwise("sqrt", "Square root")
square = _pointwise("square", "a * a")
sign = _pointwise("sign", "-1, 0 or 1")
sin = _pointwise("sin", "Sine")
cos = _pointwise("cos", "Cosine")
erf = _pointwise("erf", "Gauss error function")
relu = _pointwise("relu", "max(a, 0)")
softplus = _pointwise("softplus", "log(1 + exp(a))")
silu = _pointwise("silu", "a * sigmoid(a), also called swish")
gelu = _pointwise("gelu", "a * Phi(a), with Phi the normal distribution function")
elu = _pointwise("elu", "a where a > 0, exp(a) - 1 elsewhere")
softsign = _pointwise("softsign", "a / (1 + |a|)")
log_sigmoid = _pointwise("log_sigmoid", "log(sigmoid(a)), accurate far below 0")
hard_sigmoid = _pointwise("hard_sigmoid", "a / 6 + 1/2, clipped to [0, 1]")
hard_tanh = _pointwise("hard_tanh", "a, clipped to [-1, 1]")
stop_gradient = _pointwise("stop_gradient", "The same value, but no gradient flows through it")


def maximum(a: Operand, b: Operand) -> Value:
    """The larger of two values, element by element; at a tie each gets half the gradient."""
    return apply("maximum", a, b)


def minimum(a: Operand, b: Operand) -> Value:
    """The smaller of two values, element by element; at a tie each gets half the gradient."""
    return apply("minimum", a, b)


def where(condition: Value, a: Operand, b: Operand) -> Value:
    """`a` where the comparison holds and `b` elsewhere; only the chosen side gets a gradient.

    >>> import gatewright as gw
    >>> class Gentle(gw.Cell):
    ...     def step(self, x, h):
    ...         new = gw.tanh(gw.linear(x, h))
    ...         return gw.state(h=gw.where(new > h, new, 0.5 * h))
    """
    return apply("where", condition, a, b)


def sum(value: Value, *, heads: int | None = None) -> Value:
    """The sum over the units: size 1, which broadcasts like a number.

    With `heads`, the units are divided into that many equal blocks, and every unit gets the
    sum of its own block, so the result has the size of the value.

    >>> import gatewright as gw
    >>> class Shared(gw.Cell):
    ...     def step(self, x, h):
    ...         h = gw.tanh(gw.linear(x, h))
    ...         return gw.state(h=h / (1 + gw.sum(h * h)))
    """
    return _row("sum", value, heads)


def mean(value: Value, *, heads: int | None = None) -> Value:
    """The mean over the units, or over the units of each head; its size is as for `sum`.

    >>> import gatewright as gw
    >>> class Centred(gw.Cell):
    ...     def step(self, x, h):
    ...         a = gw.linear(x, h)
    ...         return gw.state(h=gw.tanh(a - gw.mean(a)))
    """
    return _row("mean", value, heads)


def softmax(value: Value, *, heads: int | None = None) -> Value:
    """exp(a) / sum(exp(a)) over the units, or over the units of each head.

    >>> import gatewright as gw
    >>> class Choosing(gw.Cell):
    ...     def step(self, x, h):
    ...         share = gw.softmax(gw.linear(x, h))
    ...         return gw.state(h=(1 - share) * h + share * gw.tanh(gw.linear(x, name="new")))
    """
    return _row("softmax", value, heads)


def layer_norm(value: Value, *, heads: int | None = None, eps: float = 1e-5) -> Value:
    """(a - mean) / sqrt(variance + eps) over the units (Ba et al. 2016, eq. 3).

    It has no weights. For a learned gain and shift, write `gain * layer_norm(a) + shift`
    with `gain = parameter(start=1.0)` and `shift = parameter()`.

    >>> import gatewright as gw
    >>> class Normed(gw.Cell):
    ...     def step(self, x, h):
    ...         return gw.state(h=gw.tanh(gw.layer_norm(gw.linear(x, h))))
    """
    return _row("layer_norm", value, heads, eps=eps)


def rms_norm(value: Value, *, heads: int | None = None, eps: float = 1e-5) -> Value:
    """a / sqrt(mean(a * a) + eps) over the units (Zhang and Sennrich 2019, eq. 4).

    Used like `layer_norm`:

    >>> import gatewright as gw
    >>> class Scaled(gw.Cell):
    ...     def step(self, x, h):
    ...         return gw.state(h=gw.tanh(gw.rms_norm(gw.linear(x, h), heads=2)))
    """
    return _row("rms_norm", value, heads, eps=eps)


def linear(
    *sources: Value,
    size: Size = "hidden",
    bias: bool = True,
    heads: int = 1,
    antisymmetric: bool = False,
    name: str | None = None,
    **keyed: Value,
) -> Value:
    """Multiply each source by a learned matrix, sum the products and add one bias.

    >>> import gatewright as gw
    >>> class Plain(gw.Cell):
    ...     def step(self, x, h):
    ...         return gw.state(h=gw.tanh(gw.linear(x, h)))
    >>> weights = gw.Recurrent(Plain, 3, 8).weights("h")
    >>> {source: tuple(weight.shape) for source, (weight, bias) in weights.items()}
    {'x': (8, 3), 'h': (8, 8)}

    Args:
        *sources: Values that have a name in the step; the matrix is keyed by that name.
        size: Units of the result: "hidden", "input", a number, or a field of the cell.
        bias: Whether a bias is added.
        heads: The number of blocks into which every source and the result are divided;
            block k of the result depends only on block k of the sources.
        antisymmetric: Use W - W^T as each matrix, of a learned square W: its eigenvalues
            stay imaginary during training (Chang et al. 2019, section 3). The difference
            is computed once per call, before the loop.
        name: The name of the weights. Without it, the first named value that the result
            flows into. Two calls with the same explicit name and key share one weight.
        **keyed: Sources with a key of their own: `linear(x, h=r * h)`.

    Weights: `<name>.<source>.weight` of shape (size, source's size), or
    (heads, size / heads, source's size / heads) with heads. The bias `(size,)` is stored
    with the first source, as `<name>.<source>.bias`.

    Raises:
        CellError: if a source has no name, or if name and key are already used.
    """
    recorder = _recorder("linear", (*sources, *keyed.values()))
    checked = check_sources(recorder, "linear", sources, keyed)
    antisymmetric = check_flag(recorder, "antisymmetric", antisymmetric)
    return record(
        recorder,
        "linear",
        *checked.values(),
        keys=tuple(checked),
        name=check_name(recorder, name),
        size=check_size(recorder, "linear", size),
        bias=check_flag(recorder, "bias", bias),
        heads=check_heads(recorder, "linear", heads),
        # Stored only where it is set: older stored cells have no such attribute.
        **({"antisymmetric": True} if antisymmetric else {}),
    )


def diagonal(*sources: Value, name: str | None = None, **keyed: Value) -> Value:
    """Multiply each source by a learned vector, element by element, and sum: a peephole.

    The weight for a source `c` has the key `c*` and the size of `c`; there is no bias.
    (Gers and Schmidhuber 2000, "Recurrent nets that time and count", eqs. 3 to 5.)

    >>> import gatewright as gw
    >>> class Peeping(gw.Cell):
    ...     def step(self, x, c):
    ...         f = gw.sigmoid(gw.linear(x) + gw.diagonal(c))
    ...         return gw.state(c=f * c + (1 - f) * gw.tanh(gw.linear(x)))
    >>> tuple(gw.Recurrent(Peeping, 3, 8).weights("f")["c*"][0].shape)
    (8,)
    """
    recorder = _recorder("diagonal", (*sources, *keyed.values()))
    checked = check_sources(recorder, "diagonal", sources, keyed)
    keys = tuple(f"{key}*" for key in checked)
    name = check_name(recorder, name)
    return record(recorder, "diagonal", *checked.values(), keys=keys, name=name)


@dataclass(frozen=True)
class LearnedStart:
    """A `parameter()` written outside a step, as in `initial = {"h": gw.parameter()}`."""

    start: float = 0.0


def parameter(*, size: Size | None = None, start: Number = 0.0, name: str | None = None) -> Any:
    """A learned vector with one number for each unit.

    Args:
        size: "hidden", "input", a number or a field; inferred from its use by default.
        start: The number that every unit has before training.
        name: Its name. Without it, the first named value that it flows into.

    In a cell's `initial` it makes the start of a state learned:
    `initial = {"h": gw.parameter()}`.

    >>> import gatewright as gw
    >>> class Leaky(gw.Cell):
    ...     def step(self, x, h):
    ...         rate = gw.sigmoid(gw.parameter(start=-2.0))
    ...         return gw.state(h=(1 - rate) * h + rate * gw.tanh(gw.linear(x, h)))
    >>> tuple(gw.Recurrent(Leaky, 3, 8).weights("rate")["rate"][0].shape)
    (8,)
    """
    recorder = RECORDER.get()
    if not isinstance(start, numbers.Real) or not math.isfinite(start):
        fact, hint = f"parameter was given start={start!r}", "give a finite number"
        raise CellError(fact, hint=hint) if recorder is None else recorder.error(fact, hint)
    if recorder is None:
        return LearnedStart(float(start))
    return record(
        recorder,
        "parameter",
        name=check_name(recorder, name),
        size=None if size is None else check_size(recorder, "parameter", size),
        start=float(start),
    )


def noise(
    p: Number,
    *,
    per: Literal["step", "sequence"] = "step",
    size: Size | None = None,
) -> Value:
    """Random values: 1 with probability `p` and 0 otherwise, drawn before the loop starts.

    In eval mode each is its expectation, `p`. With `m = noise(p)`, zoneout (Krueger et al.
    2017, eq. 4) is `m * h + (1 - m) * new`, and recurrent dropout (Semeniuta et al. 2016,
    eq. 15) is `(1 - m) / (1 - p) * g`.

    Args:
        p: A probability in [0, 1].
        per: "step" draws new values at each step, "sequence" once for each sequence.
        size: "hidden", "input", a number or a field; inferred from its use by default.

    >>> import gatewright as gw
    >>> class Zoneout(gw.Cell):
    ...     def step(self, x, h):
    ...         m = gw.noise(0.1)
    ...         return gw.state(h=m * h + (1 - m) * gw.tanh(gw.linear(x, h)))
    """
    recorder = RECORDER.get()
    if recorder is None:
        raise CellError("noise was called outside a step", hint="call it in the step of a cell")
    if not (isinstance(p, numbers.Real) and 0.0 <= float(p) <= 1.0):
        raise recorder.error(f"noise was given p = {p!r}", "give a probability from 0 to 1")
    if per not in ("step", "sequence"):
        raise recorder.error(f"noise was given per={per!r}", 'give "step" or "sequence"')
    checked = None if size is None else check_size(recorder, "noise", size)
    return record(recorder, "noise", size=checked, p=float(p), per=per)


@dataclass(frozen=True)
class Update:
    """The result of a step: its states and output, and the values that it named."""

    states: Mapping[str, Value]
    output: Value
    names: Mapping[str, Value]


def state(*, output: Operand | None = None, **states: Operand) -> Update:
    """Return the states after the step by name; every step ends with it.

    Args:
        output: The output of the layer, if it is not the first state.
        **states: A value for each state argument of the step.

    Raises:
        CellError: outside a step, or if the names are not those of the step's states.

    >>> import gatewright as gw
    >>> class Reads(gw.Cell):
    ...     def step(self, x, c):
    ...         c = c + gw.tanh(gw.linear(x))
    ...         return gw.state(c=c, output=gw.tanh(c))
    """
    recorder = RECORDER.get()
    if recorder is None:
        raise CellError("state(...) was called outside a step", hint="return it from a cell's step")
    scope = recorder.scopes[-1]
    missing = [name for name in scope.states if name not in states]
    unknown = [name for name in states if name not in scope.states]
    if missing or unknown:
        parts = [f"leaves out {', '.join(missing)}"] if missing else []
        parts += [f"names {', '.join(unknown)}, unknown to the step"] if unknown else []
        raise recorder.error(
            f"state(...) {' and '.join(parts)}",
            f"return state({', '.join(f'{name}=...' for name in scope.states)}, output=...)",
        )
    checked = {name: check_real(recorder, states[name], f"state {name}") for name in scope.states}
    first = checked[scope.states[0]]
    result = first if output is None else check_real(recorder, output, "the output")
    # Values of other cells' steps may be in reach as closures or globals; they have no name here.
    names = {
        name: value
        for name, value in locals_in(scope.code).items()
        if isinstance(value, Value) and value.recorder is recorder
    }
    return Update(checked, result, names)


def _recorder(op: str, sources: tuple[Any, ...]) -> Recorder:
    recorder = RECORDER.get()
    if recorder is None:
        raise CellError(
            f"{op} was called outside a step; it makes learned weights of a cell",
            hint=f"call {op} in the step of a cell; for tensors use torch.nn.functional",
        )
    if not sources:
        raise recorder.error(f"{op} was given no source", "name its sources, as in linear(x, h)")
    return recorder


def _row(op: str, value: Value, heads: int | None, **attributes: float) -> Value:
    recorder = RECORDER.get()
    if recorder is not None and heads is not None:
        attributes["heads"] = check_heads(recorder, op, heads)
    if recorder is not None and "eps" in attributes:
        attributes["eps"] = check_eps(recorder, op, attributes["eps"])
    return apply(op, value, **attributes)
