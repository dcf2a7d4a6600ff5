"""The graph: sizes, stages, and the adjoint of everything compared with autograd."""

from __future__ import annotations

import operator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, settings

import gatewright as gw
from adjoint import SIZES, compare
from example_count import example_count
from gatewright.cells import GRU, LSTM, ElmanRNN, LessonLSTM, PeepholeLSTM
from gatewright.errors import ArgumentError, CellError, SizeError
from gatewright.graph import build_graph
from gatewright.graph.recompute import LEAVES, MOST_RECOMPUTED
from gatewright.graph.stages import stages
from gatewright.graph.terms import Expression
from gatewright.language.operations import OPERATIONS
from gatewright.schedule.loop import ScheduleOptions, schedule
from gatewright.schedule.single_step import schedule_step
from odd_cells import CLASSIC
from random_cells import Program, build, programs

VARIANTS = [
    *(cell() for cell in CLASSIC.values()),
    ElmanRNN(nonlinearity="relu"),
    LSTM(projection=4),
    GRU(reset="before"),
    *(
        PeepholeLSTM(peephole=form, gates=gates, output_reads=reads)
        for form in ("diagonal", "full")
        for gates in ((), ("i",), ("f", "o"), ("i", "f", "o"))
        for reads in ("new", "old")
    ),
]


def cell_of(step: Any, **attributes: Any) -> gw.Cell:
    """Make a cell with this step."""
    return type("Made", (gw.Cell,), {"step": step, **attributes})()  # type: ignore[no-any-return]


# The adjoint of each operation. A form takes two values of the hidden size and one of size 1.
FORMS: dict[str, Any] = {
    "event": lambda a, b, s: a * gw.linear(k=b),
    "state": lambda a, b, s: a * b,
    "input": lambda a, b, s: a * s,
    "constant": lambda a, b, s: 2.5 * a - 0.5,
    "parameter": lambda a, b, s: gw.parameter(name="p", start=0.5) * a + b,
    "noise": lambda a, b, s: gw.noise(0.25) * a + (1 - gw.noise(0.5, per="sequence")) * b,
    "linear": lambda a, b, s: (
        gw.linear(k=a, l=b, m=s, heads=1) * gw.linear(k=a, bias=False, name="q")
    ),
    "diagonal": lambda a, b, s: gw.diagonal(k=a, l=b),
    "add": lambda a, b, s: a + b + s,
    "subtract": lambda a, b, s: (a - b) * (s - a) * (a - s),
    "multiply": lambda a, b, s: a * b * s,
    "divide": lambda a, b, s: a / (3 + b) + s / (3 + a) + b / (4 + s) + 1 / (3 + a),
    "power": lambda a, b, s: (1 + a * a) ** b + (1 + b * b) ** s + 2**a + (1 + s * s) ** a,
    "negative": lambda a, b, s: -a * b,
    "maximum": lambda a, b, s: gw.maximum(a, b) + gw.maximum(s, b) * gw.maximum(a, 0.1),
    "minimum": lambda a, b, s: gw.minimum(a, b) + gw.minimum(s, b) * gw.minimum(a, 0.1),
    "less": lambda a, b, s: gw.where(a < b, a * b, s),
    "less_equal": lambda a, b, s: gw.where(a <= s, a * a, b),
    "greater": lambda a, b, s: gw.where(a > 0.1, a * b, b),
    "greater_equal": lambda a, b, s: gw.where(a >= b, s, b * b),
    "equal": lambda a, b, s: gw.where(a == b, a, a * b),
    "not_equal": lambda a, b, s: gw.where(a != b, a * b, b),
    "logical_and": lambda a, b, s: gw.where((a > 0) & (b > 0), a * b, b),
    "logical_or": lambda a, b, s: gw.where((a > 0) | (b > 0), a * b, b),
    "logical_not": lambda a, b, s: gw.where(~(a > 0), a * b, b),
    "where": lambda a, b, s: (
        gw.where(a > b, s, a) * gw.where(s > 0, a, b) + gw.where(a > 0, 1.0, b)
    ),
    "log": lambda a, b, s: gw.log(1.5 + a * b * s),
    "log1p": lambda a, b, s: gw.log1p(a * a) * b,
    "sqrt": lambda a, b, s: gw.sqrt(1.1 + a) * b,
    "abs": lambda a, b, s: abs(a) * b,
    "stop_gradient": lambda a, b, s: gw.stop_gradient(a) * b + a * gw.stop_gradient(a * b),
    "sum": lambda a, b, s: gw.sum(a * b) * a + gw.sum(a, heads=3) * b + gw.sum(s) * a,
    "mean": lambda a, b, s: gw.mean(a * b) * a + gw.mean(a, heads=3) * b + gw.mean(s) * b,
    "softmax": lambda a, b, s: gw.softmax(a) * b + gw.softmax(a * b, heads=2),
    "layer_norm": lambda a, b, s: gw.layer_norm(a) * b + gw.layer_norm(b, heads=2, eps=0.1),
    "rms_norm": lambda a, b, s: gw.rms_norm(a) * b + gw.rms_norm(b, heads=3, eps=0.1),
}


def unary(name: str) -> Any:
    f = getattr(gw, name)
    return lambda a, b, s: f(a) * b + f(s) * a + f(a + b)


FORMS |= {
    name: unary(name)
    for name, operation in OPERATIONS.items()
    if operation.kind == "pointwise" and operation.arity == 1 and name not in FORMS
}


def test_every_operation_has_a_form():
    assert set(FORMS) == set(OPERATIONS)


def form_cell(form: Any) -> gw.Cell:
    def step(self: Any, x: Any, h: Any, c: Any, *, d: Any) -> Any:
        a = gw.tanh(gw.linear(x, h))
        b = gw.tanh(gw.linear(x, c))
        s = gw.tanh(gw.linear(h, size=1) + d)
        y = form(a, b, s)
        new = y + 0.5 * gw.tanh(c)  # a second use of what the operation made
        return gw.state(h=y, c=new)

    return cell_of(step, sizes={"d": 1})


@pytest.mark.parametrize("name", FORMS)
def test_the_adjoint_of_each_operation_is_autograd(name: str):
    cell = form_cell(FORMS[name])
    assert name in {node.op for node in cell.equations.nodes}
    compare(cell.graph)


@pytest.mark.parametrize("cell", VARIANTS, ids=repr)
def test_the_adjoint_of_each_cell_is_autograd(cell: gw.Cell):
    compare(cell.graph)
    compare(build_graph(cell.equations, bias=False), {"input": 1, "hidden": 7}, seed=5)


@settings(
    max_examples=example_count(100),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_the_adjoint_of_random_cells_is_autograd(program: Program):
    compare(build(program).graph)


# Places where a derivative jumps: torch's own choice is the truth.
KINKS = {
    "relu": lambda a, b: gw.relu(a),
    "abs": lambda a, b: abs(a) * b,
    "sign": lambda a, b: gw.sign(a) * b,
    "maximum of two": gw.maximum,
    "minimum of two": gw.minimum,
    "maximum with a number": lambda a, b: gw.maximum(a, 0.0),
    "minimum with a number": lambda a, b: gw.minimum(0.0, a),
    "maximum of one and the same": lambda a, b: gw.maximum(a, a),
    "square by power": lambda a, b: a**2,
    "cube": lambda a, b: a**3,
    "power of 1": lambda a, b: a**1,
    "power of 0": lambda a, b: a**0 * b,
    "a number to a power": lambda a, b: 2.0**a,
    "zero to a power": lambda a, b: 0.0 ** (a * a + 1),
    "power of a variable": lambda a, b: a ** (b * b + 1),
    "power of nothing": lambda a, b: (a * a) ** (b * b),
    "power of a variable that is 0": lambda a, b: (a * a + 1) ** b,
    "hard_tanh": lambda a, b: gw.hard_tanh(a),
    "elu": lambda a, b: gw.elu(a),
    "where at a tie": lambda a, b: gw.where(a >= b, a * 2, b * 3),
}


@pytest.mark.parametrize("name", KINKS)
def test_at_kinks_and_ties(name: str):
    form = KINKS[name]

    def step(self: Any, x: Any, h: Any, c: Any) -> Any:
        y = form(h, c)
        return gw.state(h=y, c=y * c)

    h = torch.tensor([[0.0, 0.0, 1.0, -1.0, 2.0, -3.0]], dtype=torch.float64).repeat(3, 1)
    c = torch.tensor([[0.0, 1.0, 1.0, -1.0, -2.0, 0.0]], dtype=torch.float64).repeat(3, 1)
    compare(cell_of(step).graph, h=h, c=c)


def test_a_negative_base_to_a_whole_number_has_its_gradient():
    def step(self: Any, x: Any, h: Any) -> Any:
        return gw.state(h=h**3 + h**-2)

    compare(cell_of(step).graph, h=torch.linspace(-3, -0.5, 18, dtype=torch.float64).view(3, 6))


# Saved and recomputed.
@pytest.mark.parametrize("cell", VARIANTS, ids=repr)
def test_saved_and_recomputed_terms_belong_to_the_step(cell: gw.Cell):
    graph = cell.graph
    adjoint = graph.adjoint
    step = set(graph.forward)
    assert set(adjoint.saved) <= step and set(adjoint.recomputed) <= step
    assert not set(adjoint.saved) & set(adjoint.recomputed)
    assert not {term.op for term in (*adjoint.saved, *adjoint.recomputed)} & LEAVES
    assert {one.op for one in adjoint.recomputed} <= {"add", "subtract", "multiply"}


def test_the_lstm_saves_its_four_gates_and_the_squashed_memory():
    graph = LSTM().graph
    saved = set(graph.adjoint.saved)
    gates = {graph.values[name] for name in "gifo"}
    assert gates <= saved
    assert [term.op for term in sorted(saved - gates, key=lambda term: term.index)] == ["tanh"]


def test_a_chain_of_cheap_operations_is_saved_rather_than_recomputed():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = h
        for _ in range(MOST_RECOMPUTED + 1):
            a = a + 0.5
        return gw.state(h=a * a)

    graph = cell_of(step).graph
    assert [one.op for one in graph.adjoint.saved] == ["add"]
    compare(graph)


def test_many_cheap_operations_side_by_side_are_saved_rather_than_recomputed():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = ((h + 1) + (h + 2)) + ((h + 3) + (h + 4))  # seven, nowhere more than three deep
        return gw.state(h=a * a)

    adjoint = cell_of(step).graph.adjoint
    assert [one.op for one in adjoint.saved] == ["add"] and not adjoint.recomputed
    compare(cell_of(step).graph)


def test_terms_off_the_loop_are_known():
    adjoint = LSTM().graph.adjoint
    assert adjoint.inputs["x"] not in adjoint.loop
    assert {one for one in adjoint.states.values()} <= adjoint.loop


def test_seeds_of_an_unknown_name_are_refused():
    with pytest.raises(ArgumentError, match=r"\['nothing'\] are not among the values"):
        LSTM().graph.adjoint_of("nothing")


def test_a_comparison_has_no_seed():
    def step(self: Any, x: Any, h: Any) -> Any:
        open_ = h > 0
        return gw.state(h=gw.where(open_, h, gw.linear(x)))

    with pytest.raises(ArgumentError, match=r"\['open_'\] are comparisons"):
        cell_of(step).graph.adjoint_of("open_")


def test_a_long_chain_of_cheap_operations_is_no_deep_recursion():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = h
        for _ in range(2000):
            a = a * 0.999
        return gw.state(h=a * a)

    compare(cell_of(step).graph)


def test_asking_twice_gives_the_same_adjoint():
    graph = GRU().graph
    first, again = graph.adjoint_of("r"), graph.adjoint_of("r")
    assert list(map(repr, first.order)) == list(map(repr, again.order))
    compare(graph)


def test_derived_terms_are_merged_and_simplified():
    terms = LSTM().graph.terms.extended()
    a, b = terms.all[0], terms.all[1]
    assert terms.make("add", a, b) is terms.make("add", b, a)
    assert terms.make("subtract", a, b) is not terms.make("subtract", b, a)
    x = Expression(terms, a)
    for same in (x + 0.0, 1.0 * x, x - 0.0, x / 1.0, operator.neg(-x)):
        assert same.term is a
    assert (0.0 * x).op == "multiply"  # it is NaN where a is infinite


def test_adjoints_and_schedules_leave_the_graph_unchanged():
    """Threads derive from one graph at once, and get what a single thread gets."""
    graph = GRU(reset="before").graph
    before = list(graph.terms.all)

    def derived(_: int) -> list[str]:
        work = schedule.__wrapped__(graph, ScheduleOptions(("r", "n")))
        step = schedule_step.__wrapped__(graph)
        terms = [*graph.adjoint_of("z").order, *work.loop.adjoint.order, *step.updates.values()]
        return [repr(term) for term in terms]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(derived, range(32))
    assert all(other == first for other in others)
    assert list(graph.terms.all) == before
    with pytest.raises(AssertionError, match="frozen"):
        graph.terms.constant(0.125)


# Stages.
def stages_of(cell: gw.Cell) -> dict[str, int]:
    return {name: cell.graph.stage(name) for name in cell.graph.values}


def test_stages_of_the_lstm():
    assert set(stages_of(LSTM()).values()) == {1, 2}
    assert stages_of(LSTM())["x"] == 1 and stages_of(LSTM())["f"] == 2


def test_stages_of_the_gru():
    after, before = stages_of(GRU(reset="after")), stages_of(GRU(reset="before"))
    assert (after["r"], after["n"], after["h"]) == (2, 2, 2)
    assert (before["r"], before["n"], before["h"]) == (2, 3, 3)


def test_stages_of_the_lesson_lstm_and_the_peepholes():
    lesson = stages_of(LessonLSTM())
    assert (lesson["forget"], lesson["u"], lesson["h"], lesson["c"]) == (2, 3, 3, 2)
    new, old = PeepholeLSTM(), PeepholeLSTM(output_reads="old", peephole="full")
    assert stages_of(new)["o"] == 2  # a diagonal needs no whole row
    assert stages_of(PeepholeLSTM(peephole="full"))["o"] == 3
    assert stages_of(old)["o"] == 2


def test_stages_of_inputs_weights_and_rows():
    def step(self: Any, x: Any, h: Any) -> Any:
        gain = gw.sigmoid(gw.parameter())
        seen = gw.layer_norm(gw.linear(x))
        first = gw.softmax(h)
        second = gw.softmax(first * 2)
        third = gw.linear(second)
        return gw.state(h=gain * third + seen)

    cell = cell_of(step)
    assert stages_of(cell) == {
        "x": 1, "gain": 0, "seen": 1, "first": 3, "second": 5, "third": 6, "h": 6,
    }  # fmt: skip


def test_further_inputs_and_noises_are_known_before_the_loop():
    def step(self: Any, x: Any, h: Any, *, dt: Any) -> Any:
        decay = gw.exp(-dt)
        mask = gw.noise(0.5)
        seen = gw.linear(x) * mask
        return gw.state(h=decay * h + seen)

    cell = cell_of(step)
    assert stages_of(cell) == {"x": 1, "dt": 1, "decay": 1, "mask": 1, "seen": 1, "h": 2}
    run_held = stages(cell.graph.forward, held={cell.graph.values["h"]})
    assert run_held[cell.graph.values["h"]] == 1


def test_values_that_no_next_state_needs_can_leave_the_loop():
    graph = PeepholeLSTM().graph
    assert not graph.after  # h is a state: all is needed

    def step(self: Any, x: Any, c: Any) -> Any:
        c = 0.5 * c + gw.tanh(gw.linear(x))
        y = gw.linear(c)
        return gw.state(c=c, output=y)

    graph = cell_of(step).graph
    assert graph.values["y"] in graph.after and graph.values["c"] not in graph.after


# Sizes.
def test_sizes_are_symbols_until_a_layer_gives_numbers():
    graph = LSTM(projection=4).graph
    assert [graph.size(name) for name in ("x", "f", "c", "h")] == ["input", "hidden", "hidden", 4]
    assert graph.output_size == 4
    assert graph.weights["f.h.weight"].shape == ("hidden", 4)
    assert graph.weights["f.h.weight"].numbers({"hidden": 7}) == (7, 4)


def test_sizes_that_must_agree_become_equations():
    def step(self: Any, x: Any, h: Any) -> Any:
        new = x + gw.tanh(gw.linear(h))
        return gw.state(h=new)

    sizes = cell_of(step).graph.sizes
    sizes.check({"input": 5, "hidden": 5})
    with pytest.raises(SizeError, match=r"Made, line \d+: .*size 5 meets .*size 6") as caught:
        sizes.check({"input": 5, "hidden": 6})
    assert f"line {step.__code__.co_firstlineno + 1}:" in str(caught.value)
    compare(cell_of(step).graph, {"input": 5, "hidden": 5})


def test_a_number_that_must_be_hidden_is_checked_at_build():
    def step(self: Any, x: Any, h: Any) -> Any:
        part = gw.linear(x, size=3)
        new = gw.linear(x) + part
        return gw.state(h=new)

    sizes = cell_of(step).graph.sizes
    sizes.check({"input": 5, "hidden": 3})
    with pytest.raises(SizeError, match="they must be equal"):
        sizes.check({"input": 5, "hidden": 4})


def test_heads_must_divide_when_the_numbers_come():
    def step(self: Any, x: Any, h: Any) -> Any:
        return gw.state(h=gw.softmax(gw.linear(x, h), heads=4))

    sizes = cell_of(step).graph.sizes
    sizes.check({"input": 5, "hidden": 8})
    with pytest.raises(SizeError, match="hidden size 6 cannot be divided into 4 heads; give a mul"):
        sizes.check({"input": 5, "hidden": 6})


def test_shared_weights_read_sources_of_one_size():
    def step(self: Any, x: Any, h: Any, c: Any) -> Any:
        a = gw.linear(k=x, name="w")
        b = gw.linear(k=h, name="w")
        return gw.state(h=a + b, c=c)

    sizes = cell_of(step).graph.sizes
    sizes.check({"input": 6, "hidden": 6})
    with pytest.raises(SizeError, match="they must be equal"):
        sizes.check(SIZES)


def test_sizes_of_states_and_inputs_follow_from_use_or_are_stated():
    def step(self: Any, x: Any, h: Any, level: Any, *, mask: Any, pace: Any) -> Any:
        new = gw.where(mask > 0, gw.tanh(gw.linear(x, h, level)), h) * pace
        return gw.state(h=new, level=gw.mean(new))

    graph = cell_of(step, sizes={"pace": 1}).graph
    sizes = {name: graph.size(name) for name in ("h", "level", "mask", "pace")}
    assert sizes == {"h": "hidden", "level": 1, "mask": "hidden", "pace": 1}
    compare(graph)


def test_one_value_a_row_is_spread_over_a_state_of_many_units():
    def step(self: Any, x: Any, h: Any, c: Any) -> Any:
        new = gw.tanh(gw.linear(x, h)) * c  # c is as wide as h
        return gw.state(h=new, c=gw.mean(new))

    graph = cell_of(step).graph
    assert graph.size("c") == "hidden"
    compare(graph)


def test_the_order_of_states_does_not_decide_their_sizes():
    def step(self: Any, x: Any, level: Any, h: Any) -> Any:
        both = h * level
        return gw.state(level=gw.mean(both), h=gw.tanh(gw.linear(x, both)))

    graph = cell_of(step).graph
    assert (graph.size("level"), graph.size("h")) == ("hidden", "hidden")
    compare(graph)


def test_sizes_that_can_never_agree_are_refused_with_the_cell():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = gw.linear(x, size=3)
        b = gw.linear(h, size=4)
        return gw.state(h=a * b)

    with pytest.raises(CellError, match=r"Made, line \d+: size 3 meets size 4") as caught:
        cell_of(step)
    assert caught.value.line == step.__code__.co_firstlineno + 3


def test_equal_values_of_the_user_are_terms_of_their_own():
    """Each named value can be held by itself, also where two have the same formula."""

    def step(self: Any, x: Any, h: Any) -> Any:
        a = gw.tanh(gw.linear(x, h))
        first = gw.square(a)
        second = gw.square(a)
        third = gw.tanh(a)
        fourth = gw.tanh(a)
        return gw.state(h=first * second + third * fourth)

    values = cell_of(step).graph.values
    assert len({values[name] for name in ("first", "second", "third", "fourth")}) == 4
    compare(cell_of(step).graph)


def test_one_shared_weight_is_one_tensor_and_its_gradients_add_up():
    def step(self: Any, x: Any, h: Any) -> Any:
        for _ in range(3):
            h = gw.tanh(gw.linear(x, h, name="inner"))
        return gw.state(h=h)

    graph = cell_of(step).graph
    assert list(graph.weights) == ["inner.x.weight", "inner.x.bias", "inner.h.weight"]
    paths = [one.path for one in graph.adjoint.weights]
    assert paths.count("inner.h.weight") == 3
    compare(graph)


def test_without_bias_products_have_none():
    assert not [
        path for path in build_graph(LSTM().equations, bias=False).weights if "bias" in path
    ]
