"""The language: the operations of a step, their results, and the names of weights."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import functools
import pickle
import subprocess
import sys
import textwrap
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import gatewright as gw
from adjoint import compare
from by_hand import SIZES, cell_of, normal, paths, random_weights
from gatewright import diagonal, linear, sigmoid, tanh
from gatewright.cells import CELLS, GRU, LSTM, LessonLSTM
from gatewright.language.operations import OPERATIONS

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


class Gated(gw.Cell):
    """One gate on one memory."""

    def step(self, x: Any, h: Any) -> Any:
        f = sigmoid(linear(x, h))
        new = tanh(linear(x, h))
        h = f * h + (1 - f) * new
        return gw.state(h=h)


# Reading.
def test_arguments_are_event_states_and_further_inputs():
    class Timed(gw.Cell):
        def step(self, event: Any, short: Any, long: Any, *, dt: Any, mask: Any) -> Any:
            long = long * gw.exp(-dt) + tanh(linear(event, short))
            short = gw.where(mask > 0, tanh(long), short)
            return gw.state(short=short, long=long)

    equations = Timed().equations
    assert (equations.event, equations.states) == ("event", ("short", "long"))
    assert equations.inputs == ("dt", "mask")
    assert equations.step_inputs == ("event", "dt", "mask")
    assert equations.output is equations.updates["short"]


def test_a_local_name_is_the_last_value_bound_to_it():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = linear(x)
        first = a  # noqa: F841  # named but not used
        a = tanh(a)
        a = a * h
        return gw.state(h=a)

    names = cell_of(step).equations.names
    assert names["a"].op == "multiply" and names["first"].op == "linear"


def test_a_states_name_is_the_state_after_the_step_also_where_it_is_rebound():
    class Rebound(gw.Cell):
        def step(self, x: Any, h: Any, c: Any) -> Any:
            f = sigmoid(linear(x, h))
            c = f * c + (1 - f) * tanh(linear(x, h, name="g"))
            h = tanh(c)
            return gw.state(h=h, c=c)

    equations = Rebound().equations
    for name in ("h", "c"):
        assert equations.names[name] is equations.updates[name]
    x, h, c = normal(4, 5), normal(4, 6, seed=2), normal(4, 6, seed=3)
    (after, memory), values = Rebound()(x, h, c, weights=random_weights(Rebound()), values=True)
    assert torch.equal(values["h"], after) and torch.equal(values["c"], memory)
    assert not torch.equal(memory, c)


def test_a_second_name_for_an_argument_is_the_value_before_the_step():
    def step(self: Any, x: Any, h: Any) -> Any:
        old = h
        h = tanh(linear(x, h))
        change = h - old
        return gw.state(h=h, output=change)

    cell = cell_of(step)
    h = normal(4, 6, seed=2)
    after, values = cell(normal(4, 5), h, weights=random_weights(cell), values=True)
    assert torch.equal(values["old"], h) and torch.equal(values["h"], after)
    assert paths(cell) == ["h.x.weight", "h.x.bias", "h.h.weight"]  # keyed by its own name


def test_a_value_may_feed_any_number_of_others():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = tanh(linear(x, h))
        b, c, d = a * a, a + 1, linear(a)
        return gw.state(h=b * c + d)

    cell = cell_of(step)
    shared = cell.equations.names["a"]
    assert sum(shared in node.operands for node in cell.equations.nodes) == 3


def test_the_first_state_is_the_output_by_default():
    def step(self: Any, x: Any, h: Any) -> Any:
        h = tanh(linear(x, h))
        y = linear(h, size=2)
        return gw.state(h=h, output=y)

    cell = cell_of(step)
    assert cell.equations.output is cell.equations.names["y"]
    assert cell.graph.output_size == 2
    h, values = cell(normal(4, 5), normal(4, 6), weights=random_weights(cell), values=True)
    assert values["output"].shape == (4, 2) and h.shape == (4, 6)


def test_names_that_begin_with_an_underscore_stay_private():
    def step(self: Any, x: Any, h: Any) -> Any:
        _a = linear(x, h)
        gate = sigmoid(_a)
        return gw.state(h=gate)

    cell = cell_of(step)
    assert set(cell.equations.names) == {"x", "gate", "h"}
    assert paths(cell)[0] == "gate.x.weight"


SOURCE = '''
import gatewright as gw
from gatewright import linear, sigmoid, tanh

class Typed(gw.Cell):
    """Typed in."""
    def step(self, x, h):
        f = sigmoid(linear(x, h))
        h = f * h + (1 - f) * tanh(linear(x, h, name="g"))
        return gw.state(h=h)
'''


def test_a_cell_without_a_source_file_reads_the_same():
    space: dict[str, Any] = {}
    exec(SOURCE, space)
    assert paths(space["Typed"]()) == [
        *("f.x.weight", "f.x.bias", "f.h.weight", "g.x.weight", "g.x.bias", "g.h.weight")
    ]


def test_a_cell_typed_at_the_command_line_reads_and_is_refused_with_its_line():
    code = SOURCE + textwrap.dedent("""
        print(*Typed().graph.weights)
        class Wrong(gw.Cell):
            def step(self, x, h):
                if h > 0:
                    pass
        try:
            Wrong()
        except gw.CellError as error:
            print(error.line)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = code.splitlines().index("        if h > 0:") + 1
    assert done.stdout.split() == [*paths_of_typed(), str(line)]


def paths_of_typed() -> list[str]:
    return [f"{gate}.{end}" for gate in "fg" for end in ("x.weight", "x.bias", "h.weight")]


def test_a_cell_in_a_doctest_reads():
    lines = [line for line in SOURCE.strip().splitlines() if line]
    marks = ["..." if line.startswith(" ") else ">>>" for line in lines]
    text = "".join(f"{mark} {line}\n" for mark, line in zip(marks, lines, strict=True))
    text += ">>> print(len(Typed().graph.weights))\n6\n"
    example = doctest.DocTestParser().get_doctest(text, {}, "typed", None, 0)
    results = doctest.DocTestRunner(verbose=False).run(example)
    assert (results.attempted, results.failed) == (4, 0)


def test_a_decorated_step_reads_through_its_wrapper():
    def noted(step: Any) -> Any:
        @functools.wraps(step)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return step(*args, **kwargs)

        return wrapper

    class Decorated(gw.Cell):
        @noted
        def step(self, x: Any, h: Any) -> Any:
            f = sigmoid(linear(x, h))
            return gw.state(h=f * h)

    assert Decorated().equations.states == ("h",)
    assert paths(Decorated()) == ["f.x.weight", "f.x.bias", "f.h.weight"]


def test_helper_methods_comprehensions_and_lambdas_run_in_the_step():
    class Helped(gw.Cell):
        def gate(self, x: Any, h: Any, name: str) -> Any:
            return sigmoid(linear(x, h, name=name))

        def step(self, x: Any, h: Any) -> Any:
            gates = [self.gate(x, h, name) for name in ("a", "b", "c")]
            double = lambda value: 2 * value  # noqa: E731
            total = gates[0]
            for gate in gates[1:]:
                total = total * double(gate)
            return gw.state(h=total)

    assert {path.split(".")[0] for path in paths(Helped())} == {"a", "b", "c"}
    assert {path.split(".")[1] for path in paths(Helped())} == {"x", "h"}


def test_a_comprehension_reads_its_sources_by_the_names_of_the_step():
    def step(self: Any, x: Any, h: Any) -> Any:
        parts = [linear(value, name="w") for value in (x, h)]
        new = tanh(parts[0] + parts[1])
        return gw.state(h=new)

    assert paths(cell_of(step)) == ["w.x.weight", "w.x.bias", "w.h.weight", "w.h.bias"]


def test_a_comprehensions_own_name_is_a_name_in_every_python():
    def step(self: Any, x: Any, h: Any) -> Any:
        parts = [linear(double, name="w") for double in (2 * h,)]
        new = tanh(parts[0]) * x
        return gw.state(h=new)

    assert paths(cell_of(step)) == ["w.double.weight", "w.double.bias"]


def test_pythons_own_sum_adds_values():
    import builtins

    def step(self: Any, x: Any, h: Any) -> Any:
        new = builtins.sum([linear(x), linear(h, name="rest")])
        return gw.state(h=new)

    assert {path.split(".")[0] for path in paths(cell_of(step))} == {"new", "rest"}


# Products and the names of their weights.
def test_a_product_is_named_by_the_first_named_value_it_flows_into():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = tanh(linear(x, h))
        b = a * sigmoid(linear(x, h))
        return gw.state(h=b)

    assert [p for p in paths(cell_of(step)) if "weight" in p] == [
        *("a.x.weight", "a.h.weight", "b.x.weight", "b.h.weight")
    ]


def test_a_product_is_named_by_name_or_by_its_state_or_output():
    def step(self: Any, x: Any, h: Any, c: Any) -> Any:
        return gw.state(
            h=tanh(linear(x)), c=sigmoid(linear(h, name="gate")), output=linear(c, size=2)
        )

    assert [p for p in paths(cell_of(step)) if "weight" in p] == [
        *("h.x.weight", "gate.h.weight", "output.c.weight")
    ]


def test_sources_are_keyed_by_name_or_by_keyword():
    def step(self: Any, x: Any, h: Any, c: Any) -> Any:
        r = sigmoid(linear(x, h) + diagonal(c))
        gated = r * h
        n = tanh(linear(x, gated, h=2 * h))
        return gw.state(h=n, c=c * r)

    assert paths(cell_of(step)) == [
        *("r.x.weight", "r.x.bias", "r.h.weight", "r.c*.weight"),
        *("n.x.weight", "n.x.bias", "n.gated.weight", "n.h.weight"),
    ]
    shapes = {path: weight.shape for path, weight in cell_of(step).graph.weights.items()}
    assert shapes["r.c*.weight"] == ("hidden",) and shapes["n.x.weight"] == ("hidden", "input")


def test_the_same_explicit_name_twice_is_one_weight():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = tanh(linear(h, name="w", bias=False))
        b = sigmoid(linear(h, name="w", bias=False))
        return gw.state(h=a + b * linear(x, name="in"))

    cell = cell_of(step)
    assert paths(cell)[0] == "w.h.weight" and len(paths(cell)) == 3
    weights, h, x = random_weights(cell), normal(4, 6), normal(4, 5)
    inside = h @ weights["w"]["h"][0].T
    own, bias = weights["in"]["x"]
    expected = inside.tanh() + inside.sigmoid() * (x @ own.T + bias)
    torch.testing.assert_close(cell(x, h, weights=weights), expected, **TOLERANCE)


def moved(first: str) -> gw.Cell:
    """A cell whose lines begin with the gate `first`."""

    class Gates(gw.Cell):
        def step(self, x: Any, h: Any) -> Any:
            if first == "i":
                i = sigmoid(linear(x, h))
                f = sigmoid(linear(x, h))
                g = tanh(linear(x, h))
            else:
                g = tanh(linear(x, h))
                f = sigmoid(linear(x, h))
                i = sigmoid(linear(x, h))
            h = f * h + i * g
            return gw.state(h=h)

    return Gates()


def test_moving_a_line_leaves_every_weight_where_it_was():
    first, second = moved("i"), moved("g")
    assert paths(first) != paths(second) and sorted(paths(first)) == sorted(paths(second))
    weights, x, h = random_weights(first), normal(4, 5), normal(4, 6, seed=2)
    after = [cell(x, h, weights=weights) for cell in (first, second)]
    torch.testing.assert_close(*after, **TOLERANCE)


def test_a_product_of_this_steps_values_makes_a_second_stage():
    cell = LessonLSTM()
    assert cell.graph.stage("u") == 3
    assert "u.forget.weight" in cell.graph.weights


def test_sizes_of_products_are_hidden_input_a_number_or_a_field():
    class Sized(gw.Cell):
        width: int = 3

        def step(self, x: Any, h: Any) -> Any:
            a = linear(x, h)
            b = linear(x, h, size="input")
            c = linear(x, h, size=np.int64(2))
            d = linear(x, h, size="width")
            e = linear(x, h, size=self.width)
            new = linear(a, b, c, d, e)
            return gw.state(h=new)

    graph = Sized().graph
    assert [graph.size(name) for name in "abcde"] == ["hidden", "input", 2, 3, 3]
    assert dataclasses.replace(Sized(), width=7).graph.size("d") == 7
    assert Sized().graph.equations.to_json()  # numpy's number was turned into Python's


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_a_product_of_heads_is_a_product_of_blocks(heads: int):
    def step(self: Any, x: Any, h: Any) -> Any:
        y = linear(h, size=12, heads=heads)
        return gw.state(h=h, output=y)

    cell = cell_of(step)
    weights, h = random_weights(cell), normal(4, 6)
    matrix, bias = weights["y"]["h"]
    assert matrix.shape == ((12, 6) if heads == 1 else (heads, 12 // heads, 6 // heads))
    blocks = torch.block_diag(*matrix) if heads > 1 else matrix
    expected = h @ blocks.T + bias
    _, values = cell(normal(4, 5), h, weights=weights, values=True)
    torch.testing.assert_close(values["y"], expected, **TOLERANCE)
    compare(cell.graph)


def test_parameters_are_named_like_products():
    def step(self: Any, x: Any, h: Any) -> Any:
        gain = parameter_from_1()
        new = gain * tanh(linear(x, h)) + gw.parameter(name="shift", size="hidden")
        return gw.state(h=new)

    def parameter_from_1() -> Any:
        return gw.parameter(start=1.0)

    weights = cell_of(step).graph.weights
    assert weights["gain"].start == 1.0 and weights["shift"].start == 0.0
    assert weights["gain"].shape == weights["shift"].shape == ("hidden",)


# Starts.
def test_initial_is_a_number_minus_infinity_or_learned():
    class Started(gw.Cell):
        initial = {"h": gw.parameter(start=0.25), "m": -float("inf"), "n": 1}  # noqa: RUF012

        def step(self, x: Any, h: Any, c: Any, m: Any, n: Any) -> Any:
            new = tanh(linear(x, h)) + 0 * c
            top = gw.maximum(m, new)
            n = n + 1
            return gw.state(h=new, c=c, m=top, n=n)

    cell = Started()
    assert cell.graph.initial["m"] == -float("inf")
    assert (cell.graph.initial["c"], cell.graph.initial["n"]) == (0.0, 1.0)
    assert cell.graph.weights["initial.h"].start == 0.25
    weights = random_weights(cell)
    (h, c, m, n), x = cell(normal(4, 5), weights=weights), normal(4, 5)
    start = weights["initial.h"]["initial.h"][0].expand(4, 6)
    again = cell(x, start, torch.zeros_like(h), torch.full_like(h, -1e9), weights=weights)
    assert torch.equal(h, again[0]) and torch.equal(m, h)
    assert torch.equal(n, torch.full_like(n, 2)) and torch.equal(c, torch.zeros_like(c))


# Fields.
class Leaky(gw.Cell):
    floor: float = 0.1
    kind: str = "tanh"
    powers: tuple[int, ...] = (1, 2)

    def step(self, x: Any, h: Any) -> Any:
        rate = self.floor + (1 - self.floor) * sigmoid(linear(x))
        new = tanh(linear(x, h)) if self.kind == "tanh" else gw.relu(linear(x, h))
        for power in self.powers:
            new = new**power
        h = (1 - rate) * h + rate * new
        return gw.state(h=h)


def test_fields_are_constants_that_replace_changes():
    cell = Leaky(floor=0.2)
    assert repr(cell) == "Leaky(floor=0.2, kind='tanh', powers=(1, 2))"
    other = dataclasses.replace(cell, kind="relu", powers=(3,))
    assert other.fields() == {"floor": 0.2, "kind": "relu", "powers": (3,)}
    assert "relu" in str(other) and "relu" not in str(cell)
    constants = [n.attributes["value"] for n in cell.equations.nodes if n.op == "constant"]
    assert 0.2 in constants and 0.1 not in constants


def test_only_fields_are_listed_as_fields():
    class Typed(gw.Cell):
        initial: ClassVar[dict[str, float]] = {"h": 1.0}
        rate: float = 0.5

        def step(self, x: Any, h: Any) -> Any:
            return gw.state(h=self.rate * h)

    assert Typed().fields() == {"rate": 0.5}


def test_functions_take_numbers_too():
    def step(self: Any, x: Any, h: Any) -> Any:
        decay = gw.exp(-0.5)
        return gw.state(h=decay * h)

    h = normal(4, 6)
    expected = h * np.exp(-0.5)
    torch.testing.assert_close(cell_of(step)(normal(4, 5), h, weights={}), expected, **TOLERANCE)


def test_a_numpy_number_is_a_number():
    def step(self: Any, x: Any, h: Any) -> Any:
        new = np.float64(0.5) * h + h * np.float32(2) + np.int64(1) - h / np.float64(4)
        return gw.state(h=new)

    h = normal(4, 6)
    expected = 0.5 * h + 2 * h + 1 - h / 4
    torch.testing.assert_close(cell_of(step)(normal(4, 5), h, weights={}), expected, **TOLERANCE)


class Pair(gw.Cell):
    """Two cells, one on top of the other."""

    below: gw.Cell = dataclasses.field(default_factory=Gated)
    above: gw.Cell = dataclasses.field(default_factory=lambda: GRU(reset="before"))

    def step(self, x: Any, low: Any, high: Any) -> Any:
        low = self.below(x, low)
        high = self.above(low, high)
        return gw.state(low=low, high=high, output=high)


def test_a_cell_is_a_field_of_a_cell():
    cell = Pair()
    assert paths(cell)[:3] == ["below.f.x.weight", "below.f.x.bias", "below.f.h.weight"]
    assert "above.n.h.weight" in paths(cell)
    assert {"below.f", "above.r", "low", "high"} <= set(cell.equations.names)
    weights = random_weights(cell)
    x, low, high = normal(4, 5), normal(4, 6, seed=2), normal(4, 6, seed=3)

    def part(name: str) -> Any:
        start = f"{name}."
        return {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}

    first = Gated()(x, low, weights=part("below"))
    second = GRU(reset="before")(first, high, weights=part("above"))
    got = cell(x, low, high, weights=weights)
    torch.testing.assert_close(got, (first, second), **TOLERANCE)


def test_a_cell_applied_twice_shares_its_weights():
    class Twice(gw.Cell):
        inner: gw.Cell = dataclasses.field(default_factory=Gated)

        def step(self, x: Any, h: Any) -> Any:
            once = self.inner(x, h)
            h = self.inner(x, once)
            return gw.state(h=h)

    cell, x, h = Twice(), normal(4, 5), normal(4, 6, seed=2)
    assert len(paths(cell)) == len(paths(Gated()))
    weights = random_weights(cell)
    inner = {k.removeprefix("inner."): v for k, v in weights.items()}
    expected = Gated()(x, Gated()(x, h, weights=inner), weights=inner)
    torch.testing.assert_close(cell(x, h, weights=weights), expected, **TOLERANCE)


def test_a_tuple_of_cells_and_the_named_values_of_an_inner_cell():
    class Many(gw.Cell):
        cells: tuple[gw.Cell, ...] = (Gated(), Gated())

        def step(self, x: Any, h: Any) -> Any:
            (a, named), b = self.cells[0](x, h, values=True), self.cells[1](x, h)
            return gw.state(h=a * b, output=named["f"])

    cell = Many()
    assert {path.split(".")[1] for path in paths(cell)} == {"0", "1"}
    assert cell.equations.output is cell.equations.names["cells.0.f"]


def test_an_inner_cell_of_several_states_gives_a_tuple():
    class Around(gw.Cell):
        inner: gw.Cell = dataclasses.field(default_factory=LSTM)

        def step(self, x: Any, h: Any, c: Any) -> Any:
            h, c = self.inner(x, h, c)
            return gw.state(h=h + x, c=c)

    cell = Around()
    sizes = {"input": 6, "hidden": 6}
    assert cell.graph.sizes.agreements  # x and h must be of one size
    x, h, c = normal(4, 6), normal(4, 6, seed=2), normal(4, 6, seed=3)
    weights = random_weights(cell, sizes)
    inner = {k.removeprefix("inner."): v for k, v in weights.items()}
    expected = LSTM()(x, h, c, weights=inner)
    got = cell(x, h, c, weights=weights)
    torch.testing.assert_close(got, (expected[0] + x, expected[1]), **TOLERANCE)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
@pytest.mark.parametrize("cell", [Gated(), Leaky(floor=0.3), Pair(), LSTM(projection=3)], ids=repr)
def test_a_cell_survives_copying(cell: gw.Cell, again: Any):
    copied = again(cell)
    assert type(copied) is type(cell) and repr(copied) == repr(cell)
    assert copied.equations.same_as(cell.equations)


class Constructed(gw.Cell):
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def step(self, x: Any, h: Any) -> Any:
        return gw.state(h=self.rate * h)


def test_a_custom_constructor_works_and_survives_copying():
    cell = pickle.loads(pickle.dumps(Constructed(0.75)))
    assert str(cell) == str(Constructed(0.75)) and "0.75" in str(cell)


# The results of operations.
TORCH: dict[str, Any] = {
    **{name: getattr(torch, name) for name in ("sigmoid", "tanh", "exp", "expm1", "sin", "cos")},
    **{name: getattr(torch, name) for name in ("erf", "square", "sign", "relu")},
    "log": lambda a: a.abs().log(),
    "log1p": lambda a: a.abs().log1p(),
    "sqrt": lambda a: a.abs().sqrt(),
    # torch's own softplus is linear above 20.
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
    "silu": functional.silu,
    "gelu": functional.gelu,
    "elu": functional.elu,
    "softsign": functional.softsign,
    "log_sigmoid": functional.logsigmoid,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_tanh": functional.hardtanh,
    "stop_gradient": lambda a: a,
    "abs": abs,
    "negative": lambda a: -a,
}
POSITIVE = {"log", "log1p", "sqrt"}


def unary_functions() -> list[str]:
    return [
        name
        for name, operation in OPERATIONS.items()
        if operation.kind == "pointwise" and operation.arity == 1 and not operation.boolean
    ]


@pytest.mark.parametrize("name", unary_functions())
def test_pointwise_functions_against_torch(name: str):
    ours = {"abs": abs, "negative": lambda a: -a}.get(name) or getattr(gw, name)

    def step(self: Any, x: Any, h: Any) -> Any:
        return gw.state(h=ours(abs(h)) if name in POSITIVE else ours(h))

    h = torch.cat([normal(4, 6) * 3, torch.tensor([[0.0, -40, 40, 1, -1, 1e-9]]).double()])
    got = cell_of(step)(normal(5, 5), h, weights={})
    torch.testing.assert_close(got, TORCH[name](h), **TOLERANCE)


PAIRS: dict[str, tuple[Any, Any]] = {
    "add": (lambda a, b: a + b + 1, lambda a, b: a + b + 1),
    "subtract": (lambda a, b: 2 - (a - b), lambda a, b: 2 - (a - b)),
    "multiply": (lambda a, b: 3 * a * b, lambda a, b: 3 * a * b),
    "divide": (lambda a, b: 1 / a / b, lambda a, b: 1 / a / b),
    "power": (lambda a, b: abs(a) ** b - 2**a, lambda a, b: a.abs() ** b - 2**a),
    "maximum": (gw.maximum, torch.maximum),
    "minimum": (gw.minimum, torch.minimum),
    "positive": (lambda a, b: +a, lambda a, b: a),
    "where": (
        lambda a, b: gw.where((a > b) & (a <= 1), a, gw.where(~(b < 0) | (a >= 2), b, -1.0)),
        lambda a, b: torch.where(
            (a > b) & (a <= 1), a, torch.where(~(b < 0) | (a >= 2), b, torch.full_like(a, -1))
        ),
    ),
    "equal": (
        lambda a, b: gw.where(a == 1, b, gw.where(a != b, a, 7.0)),
        lambda a, b: torch.where(a == 1, b, torch.where(a != b, a, torch.full_like(a, 7))),
    ),
    "reflected": (lambda a, b: gw.where(a > 0, a, b), lambda a, b: torch.where(a > 0, a, b)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_binary_operators_against_torch(name: str):
    ours, truth = PAIRS[name]

    def step(self: Any, x: Any, h: Any, c: Any) -> Any:
        return gw.state(h=ours(h, c), c=c)

    h, c = normal(5, 6), normal(5, 6, seed=2)
    h[0], c[0] = torch.tensor([1.0, 2.0, -1.0, 1.0, 0.5, 3.0]), torch.tensor(1.0)
    got, _ = cell_of(step)(normal(5, 5), h, c, weights={})
    torch.testing.assert_close(got, truth(h, c), **TOLERANCE)


def heads_of(a: Tensor, heads: int | None) -> Tensor:
    """(B, size) as (B, heads, size / heads)."""
    return a.unflatten(-1, (heads or 1, -1))


def spread(a: Tensor, heads: int | None) -> Tensor:
    """The value of each head at all its units; without heads, one value for each row."""
    return a.expand(-1, heads, 6 // heads).flatten(1) if heads else a.flatten(1)


ROWS: dict[str, Any] = {
    "sum": lambda a, n: spread(heads_of(a, n).sum(-1, keepdim=True), n),
    "mean": lambda a, n: spread(heads_of(a, n).mean(-1, keepdim=True), n),
    "softmax": lambda a, n: heads_of(a, n).softmax(-1).flatten(1),
    "layer_norm": lambda a, n: functional.layer_norm(heads_of(a, n), (6 // (n or 1),)).flatten(1),
    "rms_norm": lambda a, n: functional.rms_norm(
        heads_of(a, n), (6 // (n or 1),), eps=1e-5
    ).flatten(1),
}


@pytest.mark.parametrize("heads", [None, 1, 2, 3, 6])
@pytest.mark.parametrize("name", ROWS)
def test_row_operations_against_torch(name: str, heads: int | None):
    def step(self: Any, x: Any, h: Any) -> Any:
        row = getattr(gw, name)(h, heads=heads)
        return gw.state(h=h, output=row)

    h = normal(4, 6) * 3
    _, values = cell_of(step)(normal(4, 5), h, weights={}, values=True)
    torch.testing.assert_close(values["row"], ROWS[name](h, heads), **TOLERANCE)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_eps_is_used(name: str):
    def step(self: Any, x: Any, h: Any) -> Any:
        return gw.state(h=getattr(gw, name)(h, eps=1))

    h = normal(4, 6)
    truth = getattr(functional, name)(h, (6,), eps=1.0)
    torch.testing.assert_close(cell_of(step)(normal(4, 5), h, weights={}), truth, **TOLERANCE)


def test_noise_is_its_expectation_in_a_step_by_hand():
    def step(self: Any, x: Any, h: Any) -> Any:
        m = gw.noise(0.25)
        once = gw.noise(0.5, per="sequence", size="hidden")
        return gw.state(h=m * h + once)

    cell = cell_of(step)
    assert [noise.attributes["per"] for noise in cell.graph.noises] == ["step", "sequence"]
    h = normal(4, 6)
    assert torch.equal(cell(normal(4, 5), h, weights={}), 0.25 * h + 0.5)


def test_stop_gradient_keeps_the_value_and_lets_no_gradient_through():
    def step(self: Any, x: Any, h: Any) -> Any:
        return gw.state(h=gw.stop_gradient(h) * h)

    h = normal(4, 6).requires_grad_()
    after = cell_of(step)(normal(4, 5), h, weights={})
    (gradient,) = torch.autograd.grad(after.sum(), h)
    assert torch.equal(after, h * h) and torch.equal(gradient, h)


def test_where_lets_no_gradient_and_no_nan_through_the_side_not_taken():
    def step(self: Any, x: Any, h: Any) -> Any:
        return gw.state(h=gw.where(h > 0, h, 2 * h))

    h = torch.tensor([[1.0, -2.0]], dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(cell_of(step)(normal(1, 5), h, weights={}).sum(), h)
    assert gradient.tolist() == [[1.0, 2.0]]


def test_micro_steps_are_a_short_python_loop():
    class Micro(gw.Cell):
        times: int = 3

        def step(self, x: Any, h: Any) -> Any:
            for _ in range(self.times):
                h = h + 0.1 * tanh(linear(x, h, name="change"))
            return gw.state(h=h)

    cell, x, h = Micro(), normal(4, 5), normal(4, 6, seed=2)
    weights = random_weights(cell)
    (wx, b), (wh, _) = weights["change"]["x"], weights["change"]["h"]
    expected = h
    for _ in range(3):
        expected = expected + 0.1 * torch.tanh(x @ wx.T + b + expected @ wh.T)
    torch.testing.assert_close(cell(x, h, weights=weights), expected, **TOLERANCE)


def test_reading_is_the_same_every_time():
    first, again = Gated(), Gated()
    assert first.equations.same_as(again.equations)
    assert not first.equations.same_as(LSTM().equations)
    assert first.graph is first.graph


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_of_the_library_has_a_summary_and_a_source(name: str):
    cell = CELLS[name]()
    assert cell.equations.about.endswith(".")
    assert "Source:" in (type(cell).__doc__ or "")


def test_the_lstm_names_its_four_gates_as_the_lesson_does():
    names = list(LSTM().equations.names)
    assert names == ["x", *"gifo", "learn", "forget", "remember", "use", "h", "c"]
    assert sorted({path.split(".")[0] for path in paths(LSTM())}) == ["f", "g", "i", "o"]
    assert SIZES["input"] != SIZES["hidden"]
