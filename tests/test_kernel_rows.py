"""Kernels for heads, for reductions over rows, and for states as they were before the step."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from torch import Tensor

import gatewright as gw
from example_count import example_count
from gatewright import linear, softmax, tanh
from gatewright.backends import choose
from gatewright.backends.llvm.library import unsupported_graph
from gatewright.backends.run import Run
from gatewright.schedule.loop import ScheduleOptions, schedule
from kernel_build import unoptimised
from random_cells import Program, build, programs
from test_kernels import F32, F64, LAYOUTS, everything, held_to_reference, task_of
from tolerances import close


class Blocks(gw.Cell):
    """Products with heads: of several sizes, of one source with several numbers of heads, and
    together with products without heads, whose gates are in the same tile."""

    def step(self, x, h, c):
        a = tanh(linear(x) + linear(h, heads=3, bias=False, name="own"))
        b = gw.sigmoid(linear(h, heads=2) + linear(x, h, name="whole"))
        wide = linear(h=a * h, size=12, heads=3)
        c = b * c + (1 - b) * linear(wide, heads=6)
        h = a * gw.sigmoid(linear(c, heads=2))
        return gw.state(h=h, c=c, output=wide)


class Rows(gw.Cell):
    """Every row operation, over the row and over heads, and one that reads another."""

    def step(self, x, h):
        a = softmax(x + h)
        b = softmax(2 * h - x, heads=3)
        c = gw.layer_norm(h * x, heads=2) + gw.sum(a * b, heads=6) * gw.mean(h)
        d = gw.rms_norm(c, heads=3) * gw.mean(b, heads=1) - gw.sum(h, heads=2)
        h = tanh(0.1 * d + 0.1 * gw.sum(b * x))
        return gw.state(h=h)


#: Hidden sizes at which 2, 3 and 6 heads lie differently in vectors of 2 to 16 lanes: many heads
#: in one vector, heads that begin within one, whole vectors, and several with a rest.
HIDDEN = (6, 24, 30, 66, 96)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("cell", [Blocks, Rows])
def test_heads_and_rows_are_what_the_reference_computes(cell: type, dtype: torch.dtype):
    graph = cell().graph
    with unoptimised() if dtype == F64 else nullcontext():
        for turn, hidden in enumerate(HIDDEN):
            sizes = {"input": hidden if cell is Rows else 5, "hidden": hidden}
            layout = LAYOUTS[turn % len(LAYOUTS)]
            how = {"reverse": turn % 2 == 1, "restart": turn % 3 == 0, "states": turn != 2}
            held_to_reference(task_of(graph, sizes, dtype, layout, **how, seed=turn))


def plain(h: Tensor, heads: int) -> list[Tensor]:
    """The row operations written with torch."""
    parts = h.unflatten(-1, (heads, -1))
    total = parts.sum(-1, keepdim=True).expand_as(parts)
    return [rows.flatten(-2) for rows in (torch.softmax(parts, -1), total)]


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_row_operations_at_extremes_are_as_in_torch(dtype: torch.dtype):
    """NaN and infinity stay in their head, even if a vector has units of several heads."""

    class Reduced(gw.Cell):
        def step(self, x, h):
            y = softmax(h, heads=3)
            z = gw.sum(h, heads=3)
            return gw.state(h=h + 0.0 * x, output=y + 0.0 * z)

    units = 7
    odd = torch.tensor(
        [
            [-1000.0, -1001.0, -1000.5, -1003.0, -1e4, -1000.0, -1002.0],
            [1e4, -1e4, 5.0, 1e4, 88.0, -INF, -104.0],
            [-INF] * units,
            [INF, 0.0, 1.0, 2.0, -INF, 3.0, 4.0],
            [INF] * units,
            [NAN, 0.0, 1.0, -1.0, 2.0, -2.0, 3.0],
            [-INF, -INF, -INF, -INF, -INF, -INF, 1.0],
            [1e-40, -1e-40, 1e-310, 700.0, 709.0, -745.0, 0.5],
        ],
        dtype=dtype,
    )
    usual = torch.linspace(-1, 1, units, dtype=dtype).expand(len(odd), units)
    rows = torch.cat([torch.cat([usual, odd, usual.flip(-1)], -1), odd.repeat(1, 3)])
    count, hidden = rows.shape
    by_backend = {}
    for backend in ("llvm", "reference", "torch"):
        h = rows.clone().requires_grad_()
        if backend == "torch":
            values = plain(h, 3)
        else:
            task = Run(
                graph=Reduced().graph,
                sizes={"input": hidden, "hidden": hidden},
                weights={},
                inputs={"x": torch.zeros_like(rows)},
                rows=[count],
                states={"h": h},
                fresh={"h": h},
                names=["y", "z"],
            )
            named = choose.run_on(backend, task).values
            values = [named["y"], named["z"]]
        upstream = torch.arange(1.0, hidden + 1, dtype=dtype).expand_as(rows)
        (back,) = torch.autograd.grad(values, h, [upstream] * 2)
        by_backend[backend] = [*values, back]
    limit = 1e-12 if dtype == F64 else 1e-6
    for what, ours, reference, truth in zip(
        ("softmax", "sum", "back"), *by_backend.values(), strict=True
    ):
        for own in (ours, reference):
            torch.testing.assert_close(
                own,
                truth,
                rtol=limit * 10,
                atol=limit,
                equal_nan=True,
                msg=lambda m, w=what: f"{w}: {m}",
            )


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_products_do_not_carry_nan_into_other_heads(dtype: torch.dtype):
    class Three(gw.Cell):
        def step(self, x, h):
            y = linear(h, heads=3, bias=False)
            h = tanh(linear(x) + y)
            return gw.state(h=h)

    for hidden in (6, 30, 66):
        for odd in (INF, NAN):
            task = task_of(Three().graph, {"input": 2, "hidden": hidden}, dtype, (7, (7,)))
            with torch.no_grad():
                task.states["h"][::2, hidden // 3] = odd  # the first unit of the second head
                ours, expected = (
                    choose.run_on(backend, task).values["y"] for backend in ("llvm", "reference")
                )
            assert expected.isfinite().any() and not expected.isfinite().all()
            torch.testing.assert_close(ours, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


class Functions(gw.Cell):
    """The functions that the kernels compute by polynomials of their own."""

    def step(self, x, h):
        tanh_ = tanh(x)
        sigmoid = gw.sigmoid(x)
        exp = gw.exp(x)
        expm1 = gw.expm1(x)
        log = gw.log(x)
        log1p = gw.log1p(x)
        softplus = gw.softplus(x)
        return gw.state(h=tanh_ + sigmoid + exp + expm1 + log + log1p + softplus)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_functions_are_precise_to_a_few_units_in_the_last_place(dtype: torch.dtype):
    """Also near the zeros of each function, and where it is nearly constant; against float64."""
    draw = torch.Generator().manual_seed(0)
    normal = torch.randn(4000, generator=draw, dtype=F64)
    scales = [1.0, 1e-3, 1e-7, 5.0, 25.0]
    parts = [normal * scale for scale in scales] + [1 + 1e-3 * normal, torch.exp(20 * normal.abs())]
    x = torch.cat(parts).to(dtype)[None]
    count = x.shape[1]

    def values(backend: str, x: Tensor) -> dict[str, Tensor]:
        task = Run(
            graph=Functions().graph,
            sizes={"input": count, "hidden": count},
            weights={},
            inputs={"x": x},
            rows=[1],
            states={"h": x},
            fresh={"h": x},
            names=["tanh_", "sigmoid", "exp", "expm1", "log", "log1p", "softplus"],
        )
        return choose.run_on(backend, task).values

    tiny, unit = torch.finfo(dtype).tiny, torch.finfo(dtype).eps / 2
    for name, truth in values("reference", x.double()).items():
        ours = values("llvm", x)[name].double()
        assert torch.equal(ours.isnan(), truth.isnan()), name
        fits = truth.to(dtype).isfinite() & (truth.abs() > tiny)
        error = ((ours - truth) / truth)[fits].abs() / unit
        assert error.max() <= 5.0, (name, error.max(), x[fits][error.argmax()])
    # Where it is exactly 1, a saturated unit has no gradient.
    far = torch.full((1, count), 20.0, dtype=dtype)
    assert (values("llvm", far)["tanh_"] == 1.0).all()


# States as they were before the step.
class Earlier(gw.Cell):
    """The states before the step are read by products and by other terms, and are the output."""

    def step(self, x, h, c):
        old = h
        was = c
        new = tanh(linear(x, old=old) + gw.mean(was) * old)
        keep = gw.sigmoid(linear(x, was, heads=2))
        return gw.state(h=new, c=keep * was, output=old)


EARLIER = Earlier()


@pytest.mark.parametrize("hold", [(), ("old",), ("keep", "was")], ids=str)
def test_states_before_the_step_can_be_returned_and_held(hold: tuple[str, ...]):
    for how in ({}, {"restart": True, "reverse": True}):
        task = task_of(EARLIER.graph, {"input": 4, "hidden": 6}, F64, LAYOUTS[1], **how)
        draw = torch.Generator().manual_seed(5)
        held = {
            name: torch.randn(sum(task.rows), 6, generator=draw, dtype=F64).requires_grad_()
            for name in hold
        }
        task = replace(task, hold=held, names=["old", "was", "new"])
        close(everything("llvm", task), everything("reference", task))


def test_terms_that_read_a_held_state_read_the_held_value():
    task = task_of(EARLIER.graph, {"input": 4, "hidden": 6}, F64, (3, (3, 3, 2)))
    total = sum(task.rows)
    old, was = torch.full((total, 6), 0.25, dtype=F64), torch.full((total, 6), -2.0, dtype=F64)
    w = task.weights
    x = task.inputs["x"] @ w["new.x.weight"].T + w["new.x.bias"]
    new = torch.tanh(x + old @ w["new.old.weight"].T + was.mean(-1, keepdim=True) * old)
    for backend in ("llvm", "reference"):
        result = choose.run_on(
            backend, replace(task, hold={"old": old, "was": was}, names=["old", "was", "new"])
        )
        for name, expected in {"old": old, "was": was, "new": new}.items():
            close(result.values[name], expected, f"{backend} {name}")
        close(result.output, old, backend)


# Any cell of the language.
@settings(
    max_examples=example_count(300),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_kernels_run_every_cell_of_the_language(program: Program):
    """The backward pass also has the source of every product: a leaf, a saved value or a state."""
    graph = build(program).graph
    names = tuple(name for name, term in graph.values.items() if not term.boolean)
    assert unsupported_graph(graph, names) is None
    work = schedule(graph, ScheduleOptions(names))
    for part in (work.before, work.loop):
        for gradient in part.adjoint.weights if part is not None else ():
            available = {*part.saved, *part.loop.step_leaves}
            assert (
                gradient.right is None
                or gradient.right.op == "state"
                or gradient.right in available
            )
