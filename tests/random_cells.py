"""Random cells: arbitrary graphs of the language, drawn as data by hypothesis.

A `Program` is a list of instructions, each of which makes one value from earlier ones;
`build` turns it into a cell by closures, so a failing example shrinks and prints as data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

import gatewright as gw

Size = int | str

#: Sizes of states and products, and heads that divide them where hidden is 6 and input 5.
HEADS: dict[Size, tuple[int, ...]] = {"hidden": (2, 3), "input": (5,), 3: (3,), 4: (2, 4)}

# Each stays where its derivative is bounded, since errors are compared at 1e-10.
UNARY: dict[str, Callable[[Any], Any]] = {
    "sigmoid": gw.sigmoid,
    "tanh": gw.tanh,
    "exp": lambda a: gw.exp(gw.tanh(a)),
    "expm1": lambda a: gw.expm1(gw.sin(a)),
    "log": lambda a: gw.log(a * a + 0.5),
    "log1p": lambda a: gw.log1p(abs(a)),
    "sqrt": lambda a: gw.sqrt(a * a + 0.1),
    "square": lambda a: gw.square(gw.tanh(a)),
    "cube": lambda a: gw.tanh(a) ** 3,
    "abs": abs,
    "sign": gw.sign,
    "cos": gw.cos,
    "erf": gw.erf,
    "relu": gw.relu,
    "softplus": gw.softplus,
    "silu": gw.silu,
    "gelu": gw.gelu,
    "elu": gw.elu,
    "softsign": gw.softsign,
    "log_sigmoid": gw.log_sigmoid,
    "hard_sigmoid": gw.hard_sigmoid,
    "hard_tanh": gw.hard_tanh,
    "negative": lambda a: -a,
    "one_minus": lambda a: 1 - a,
    "half": lambda a: 0.5 * a,
    "stop_gradient": gw.stop_gradient,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (b * b + 0.5),
    "power": lambda a, b: (a * a + 0.3) ** gw.tanh(b),
    "maximum": gw.maximum,
    "minimum": gw.minimum,
    "where": lambda a, b: gw.where((a > b) & ~(a >= 1.0) | (b < -0.5), a, gw.tanh(b)),
}
ROWS: dict[str, Callable[..., Any]] = {
    "sum": gw.sum,
    "mean": gw.mean,
    "softmax": gw.softmax,
    "layer_norm": gw.layer_norm,
    "rms_norm": gw.rms_norm,
}


@dataclass(frozen=True)
class Make:
    """One instruction: an operation on earlier values, counted from the event at 0."""

    op: str
    of: tuple[int, ...] = ()
    size: Size = "hidden"
    heads: int | None = None
    bias: bool = True
    times: int = 1


@dataclass(frozen=True)
class Program:
    """A cell as data: the sizes of its states, and the instructions of its step."""

    states: tuple[Size, ...]
    further: bool
    body: tuple[Make, ...]
    updates: tuple[int, ...]
    output: int | None
    named: tuple[int, int]


def play(program: Program, arguments: list[Any]) -> list[Any]:
    """Compute all values of a step."""
    values = list(arguments)
    for place, make in enumerate(program.body):
        values.append(_make(make, f"p{place}", [values[index] for index in make.of]))
    return values


def _make(make: Make, name: str, operands: list[Any]) -> Any:
    if make.op == "linear":
        keyed = {f"s{index}": value for index, value in enumerate(operands)}
        return gw.linear(**keyed, size=make.size, bias=make.bias, heads=make.heads or 1, name=name)
    if make.op == "micro":  # shares its weights between micro-steps
        value = operands[0]
        for _ in range(make.times):
            value = gw.tanh(gw.linear(s=value, size=make.size, name=name))
        return value
    if make.op == "diagonal":
        keyed = {f"s{index}": value for index, value in enumerate(operands)}
        return gw.diagonal(**keyed, name=name)
    if make.op == "parameter":
        return gw.parameter(size=make.size, name=name)
    if make.op == "noise":
        return gw.noise(0.25, size=make.size)
    if make.op in ROWS:
        return ROWS[make.op](operands[0], heads=make.heads)
    if make.op in BINARY:
        return BINARY[make.op](*operands)
    return UNARY[make.op](*operands)


def build(program: Program) -> gw.Cell:
    """Build the cell of a program."""

    def finish(values: list[Any]) -> dict[str, Any]:
        names = ("h", "c", "s")[: len(program.states)]
        after = {name: values[index] for name, index in zip(names, program.updates, strict=True)}
        return after if program.output is None else {**after, "output": values[program.output]}

    class Random(gw.Cell):
        sizes = dict(zip(("h", "c", "s"), program.states, strict=False))  # noqa: RUF012
        if program.further:
            sizes["d"] = 1

    def with_one_state(self: Any, x: Any, h: Any) -> Any:
        values = play(program, [x, h])
        first, second = values[program.named[0]], values[program.named[1]]  # noqa: F841
        return gw.state(**finish(values))

    def with_two_states(self: Any, x: Any, h: Any, c: Any) -> Any:
        values = play(program, [x, h, c])
        first, second = values[program.named[0]], values[program.named[1]]  # noqa: F841
        return gw.state(**finish(values))

    def with_three_states(self: Any, x: Any, h: Any, c: Any, s: Any, *, d: Any) -> Any:
        values = play(program, [x, h, c, s, d])
        first, second = values[program.named[0]], values[program.named[1]]  # noqa: F841
        return gw.state(**finish(values))

    # A step for each number of states: the names of its arguments are those of the states.
    steps = with_one_state, with_two_states
    Random.step = with_three_states if program.further else steps[len(program.states) - 1]
    return Random()


@st.composite
def programs(draw: st.DrawFn, longest: int = 10) -> Program:
    """Draw programs whose sizes fit."""
    further = draw(st.booleans())
    count = 3 if further else draw(st.integers(1, 2))
    choice: list[st.SearchStrategy[Size]] = [
        st.just("hidden"),
        st.sampled_from(["hidden", 3, 4]),
        st.sampled_from([1, "input", "hidden"]),
    ]
    states = tuple(draw(sizes) for sizes in choice[:count])
    sizes: list[Size] = ["input", *states] + ([1] if further else [])
    body: list[Make] = []

    def add(make: Make, size: Size) -> int:
        body.append(make)
        sizes.append(size)
        return len(sizes) - 1

    def of_size(size: Size) -> int:
        """Draw a value of this size, which a product makes if there is none."""
        fitting = [index for index, own in enumerate(sizes) if own == size and index > count]
        if fitting and draw(st.booleans()):
            return draw(st.sampled_from(fitting))
        sources = draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1, max_size=3))
        return add(Make("linear", tuple(sorted(sources)), size, bias=draw(st.booleans())), size)

    for _ in range(draw(st.integers(1, longest))):
        a = draw(st.integers(0, len(sizes) - 1))
        size = sizes[a]
        kind = draw(st.sampled_from(["unary", "binary", "row", "linear", "own", "micro", "blocks"]))
        if kind == "unary":
            add(Make(draw(st.sampled_from(sorted(UNARY))), (a,)), size)
        elif kind == "binary":
            fitting = [i for i, own in enumerate(sizes) if size == 1 or own in (size, 1)]
            b = draw(st.sampled_from(fitting))
            pair = (a, b) if draw(st.booleans()) else (b, a)
            wide = next((sizes[i] for i in pair if sizes[i] != 1), 1)
            add(Make(draw(st.sampled_from(sorted(BINARY))), pair), wide)
        elif kind == "row":
            heads = draw(st.sampled_from([None, *HEADS.get(size, ())]))
            op = draw(st.sampled_from(sorted(ROWS)))
            reduces = op in ("sum", "mean") and heads is None
            add(Make(op, (a,), heads=heads), 1 if reduces else size)
        elif kind == "linear":
            of_size(draw(st.sampled_from(["hidden", "input", 1, 3, 4])))
        elif kind == "own":
            op = draw(st.sampled_from(["diagonal", "parameter", "noise"]))
            add(Make(op, (a,) if op == "diagonal" else (), size), size)
        elif kind == "micro":
            add(Make("micro", (a,), size, times=draw(st.integers(2, 3))), size)
        elif size in HEADS:
            heads = draw(st.sampled_from(HEADS[size]))
            add(Make("linear", (a,), size, heads=heads, bias=draw(st.booleans())), size)
    updates = tuple(of_size(size) for size in states)
    last = len(sizes) - 1
    output = draw(st.none() | st.integers(0, last))
    named = (draw(st.integers(0, last)), draw(st.integers(0, last)))
    return Program(states, further, tuple(body), updates, output, named)
