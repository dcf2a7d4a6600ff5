"""The functions of the language: what a step may call on its values.

linear diagonal parameter noise state           what a cell owns, draws and returns
sigmoid tanh exp log ... where maximum minimum  element by element
softmax layer_norm rms_norm sum mean            over a row of units, or over each head
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gatewright.errors import CellError
from gatewright.language.argument_checks import (
    check_eps,
    check_flag,
    check_heads,
    check_name,
    check_size,
    check_sources,
)
from gatewright.language.node import Size
from gatewright.language.values import READING, Value, apply

if TYPE_CHECKING:
    from gatewright.language.reading import Reader

Number = float | int
Operand = Value | Number


def _pointwise(name: str, about: str) -> Callable[[Operand], Value]:
    def function(value: Operand) -> Value:
        return apply(name, value)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{about}, element by element; the result has the value's size."
    return function


sigmoid = _pointwise("sigmoid", "1 / (1 + exp(-a)), the shape of a gate's factor")
tanh = _pointwise("tanh", "Hyperbolic tangent")
exp = _pointwise("exp", "e to the power of a")
expm1 = _pointwise("expm1", "exp(a) - 1, exact near 0")
log = _pointwise("log", "Natural logarithm")
log1p = _pointwise("log1p", "log(1 + a), exact near 0")
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
log_sigmoid = _pointwise("log_sigmoid", "log(sigmoid(a)), exact far below 0")
hard_sigmoid = _pointwise("hard_sigmoid", "a / 6 + 1/2, held within [0, 1]")
hard_tanh = _pointwise("hard_tanh", "a, held within [-1, 1]")
stop_gradient = _pointwise("stop_gradient", "The same value, through which no gradient flows")


def maximum(a: Operand, b: Operand) -> Value:
    """The greater of both, element by element; a tie shares the gradient."""
    return apply("maximum", a, b)


def minimum(a: Operand, b: Operand) -> Value:
    """The lesser of both, element by element; a tie shares the gradient."""
    return apply("minimum", a, b)


def where(condition: Value, a: Operand, b: Operand) -> Value:
    """`a` where the comparison holds, `b` elsewhere; no gradient reaches the side not taken.

    >>> import gatewright as gw
    >>> class Gentle(gw.Cell):
    ...     def step(self, x, h):
    ...         new = gw.tanh(gw.linear(x, h))
    ...         return gw.state(h=gw.where(new > h, new, 0.5 * h))
    """
    return apply("where", condition, a, b)


def sum(value: Value, *, heads: int | None = None) -> Value:
    """The sum over the units: one value a row, size 1, which broadcasts.

    With `heads`, the units fall into that many equal blocks, and the sum of each block
    stands at all its units: the result keeps the value's size.

    >>> import gatewright as gw
    >>> class Shared(gw.Cell):
    ...     def step(self, x, h):
    ...         h = gw.tanh(gw.linear(x, h))
    ...         return gw.state(h=h / (1 + gw.sum(h * h)))
    """
    return _row("sum", value, heads)


def mean(value: Value, *, heads: int | None = None) -> Value:
    """The mean over the units, or over the units of each head; sizes as for `sum`.

    >>> import gatewright as gw
    >>> class Centred(gw.Cell):
    ...     def step(self, x, h):
    ...         a = gw.linear(x, h)
    ...         return gw.state(h=gw.tanh(a - gw.mean(a)))
    """
    return _row("mean", value, heads)


def softmax(value: Value, *, heads: int | None = None) -> Value:
    """exp(a) / sum(exp(a)) over the units, or over the units of each head; size kept.

    >>> import gatewright as gw
    >>> class Choosing(gw.Cell):
    ...     def step(self, x, h):
    ...         share = gw.softmax(gw.linear(x, h))
    ...         return gw.state(h=(1 - share) * h + share * gw.tanh(gw.linear(x, name="new")))
    """
    return _row("softmax", value, heads)


def layer_norm(value: Value, *, heads: int | None = None, eps: float = 1e-5) -> Value:
    """(a - mean) / sqrt(variance + eps) over the units (Ba et al. 2016, eq. 3); size kept.

    It owns no weights: `gain * layer_norm(a) + shift` takes `gain` and `shift` from
    `parameter`.

    >>> import gatewright as gw
    >>> class Normed(gw.Cell):
    ...     def step(self, x, h):
    ...         return gw.state(h=gw.tanh(gw.layer_norm(gw.linear(x, h))))
    """
    return _row("layer_norm", value, heads, eps=eps)


def rms_norm(value: Value, *, heads: int | None = None, eps: float = 1e-5) -> Value:
    """a / sqrt(mean(a * a) + eps) over the units (Zhang and Sennrich 2019, eq. 4); size kept.

    Used as `layer_norm` is:

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
    """A learned product: the sum of one matrix times each source, and one bias.

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
        heads: Into how many blocks every source and the result are divided; block k of
            the result sees block k of the sources alone.
        antisymmetric: Whether each matrix is W - W^T, of a learned W that is square: its
            eigenvalues are imaginary, whatever is learned (Chang et al. 2019, section 3).
            It is formed once a run, before the loop.
        name: The product's name. Without it, the first named value it flows into.
            The same explicit name and key given twice share one weight.
        **keyed: Sources keyed by keyword: `linear(x, h=r * h)`.

    Weights: `<name>.<source>.weight` of shape (size, source's size), or
    (heads, size / heads, source's size / heads); the bias `(size,)` is kept at the
    first source.

    Raises:
        CellError: if a source has no name, or name and key are in use.
    """
    reader: Reader = _reader("linear", (*sources, *keyed.values()))
    named = check_sources(reader, "linear", sources, keyed)
    antisymmetric = check_flag(reader, "antisymmetric", antisymmetric)
    return reader.add(
        "linear",
        tuple(value.node for value in named.values()),
        {
            "keys": tuple(named),
            "name": check_name(reader, name),
            "size": check_size(reader, "linear", size),
            "bias": check_flag(reader, "bias", bias),
            "heads": check_heads(reader, "linear", heads),
            # Only where it is said, so that cells stored before there was this still load.
            **({"antisymmetric": True} if antisymmetric else {}),
        },
    )


def diagonal(*sources: Value, name: str | None = None, **keyed: Value) -> Value:
    """A learned vector times each source, element by element, summed: a peephole.

    Its weight over `c` is keyed `c*` and has the size of `c`; there is no bias.
    (Gers and Schmidhuber 2000, "Recurrent nets that time and count", eqs. 3 to 5.)

    >>> import gatewright as gw
    >>> class Peeping(gw.Cell):
    ...     def step(self, x, c):
    ...         f = gw.sigmoid(gw.linear(x) + gw.diagonal(c))
    ...         return gw.state(c=f * c + (1 - f) * gw.tanh(gw.linear(x)))
    >>> tuple(gw.Recurrent(Peeping, 3, 8).weights("f")["c*"][0].shape)
    (8,)
    """
    reader: Reader = _reader("diagonal", (*sources, *keyed.values()))
    named = check_sources(reader, "diagonal", sources, keyed)
    keys = tuple(f"{key}*" for key in named)
    nodes = tuple(value.node for value in named.values())
    return reader.add("diagonal", nodes, {"keys": keys, "name": check_name(reader, name)})


@dataclass(frozen=True)
class LearnedStart:
    """A `parameter()` written outside a step, as in `initial = {"h": gw.parameter()}`."""

    start: float = 0.0


def parameter(*, size: Size | None = None, start: Number = 0.0, name: str | None = None) -> Any:
    """A learned vector of the cell's own, one value a unit.

    Args:
        size: "hidden", "input", a number or a field; without it, it follows from use.
        start: The value that it starts from.
        name: Its name. Without it, the first named value it flows into.

    In a cell's `initial` it makes a state's start learned:
    `initial = {"h": gw.parameter()}`.

    >>> import gatewright as gw
    >>> class Leaky(gw.Cell):
    ...     def step(self, x, h):
    ...         rate = gw.sigmoid(gw.parameter(start=-2.0))
    ...         return gw.state(h=(1 - rate) * h + rate * gw.tanh(gw.linear(x, h)))
    >>> tuple(gw.Recurrent(Leaky, 3, 8).weights("rate")["rate"][0].shape)
    (8,)
    """
    reader = READING.get()
    if not isinstance(start, numbers.Real) or not math.isfinite(start):
        fact, hint = f"parameter was given start={start!r}", "give a finite number"
        raise CellError(fact, hint=hint) if reader is None else reader.error(fact, hint)
    if reader is None:
        return LearnedStart(float(start))
    given = {
        "name": check_name(reader, name),
        "size": None if size is None else check_size(reader, "parameter", size),
        "start": float(start),
    }
    return reader.add("parameter", (), given)


def noise(
    p: Number,
    *,
    per: Literal["step", "sequence"] = "step",
    size: Size | None = None,
) -> Value:
    """1 with probability `p` and 0 otherwise, drawn for each unit before the loop starts.

    In eval mode it is its expectation, `p`. With `m = noise(p)`, zoneout (Krueger et al.
    2017, eq. 4) is `m * h + (1 - m) * new`, and recurrent dropout (Semeniuta et al. 2016,
    eq. 15) `(1 - m) / (1 - p) * g`.

    Args:
        p: A probability in [0, 1].
        per: "step" draws anew at each step, "sequence" once a sequence.

    >>> import gatewright as gw
    >>> class Zoneout(gw.Cell):
    ...     def step(self, x, h):
    ...         m = gw.noise(0.1)
    ...         return gw.state(h=m * h + (1 - m) * gw.tanh(gw.linear(x, h)))
    """
    reader = READING.get()
    if reader is None:
        raise CellError("noise was called outside a step", hint="call it in the step of a cell")
    if not (isinstance(p, numbers.Real) and 0.0 <= float(p) <= 1.0):
        raise reader.error(f"noise was given p = {p!r}", "give a probability from 0 to 1")
    if per not in ("step", "sequence"):
        raise reader.error(f"noise was given per={per!r}", 'give "step" or "sequence"')
    given = {
        "size": None if size is None else check_size(reader, "noise", size),
        "p": float(p),
        "per": per,
    }
    return reader.add("noise", (), given)


@dataclass(frozen=True)
class Update:
    """What `state(...)` makes: the states after the step, the output, and the step's names."""

    states: Mapping[str, Value]
    output: Value
    names: Mapping[str, Value]


def state(*, output: Operand | None = None, **states: Operand) -> Update:
    """The states after the step, by name; what every step returns.

    Args:
        output: What the layer gives out, if it is not the first state.
        **states: One value for each state argument of the step.

    Raises:
        CellError: outside a step, or where the names are not those of the step's states.

    >>> import gatewright as gw
    >>> class Reads(gw.Cell):
    ...     def step(self, x, c):
    ...         c = c + gw.tanh(gw.linear(x))
    ...         return gw.state(c=c, output=gw.tanh(c))
    """
    reader = READING.get()
    if reader is None:
        raise CellError("state(...) was called outside a step", hint="return it from a cell's step")
    return reader.update(states, output)


def _reader(op: str, sources: tuple[Any, ...]) -> Any:
    reader = READING.get()
    if reader is None:
        raise CellError(
            f"{op} was called outside a step; it makes learned weights of a cell",
            hint=f"call {op} in the step of a cell; for tensors use torch.nn.functional",
        )
    if not sources:
        raise reader.error(f"{op} was given no source", "name what it reads, as in linear(x, h)")
    return reader


def _row(op: str, value: Value, heads: int | None, **attributes: float) -> Value:
    reader = READING.get()
    if reader is not None and heads is not None:
        attributes["heads"] = check_heads(reader, op, heads)
    if reader is not None and "eps" in attributes:
        attributes["eps"] = check_eps(reader, op, attributes["eps"])
    return apply(op, value, **attributes)
