"""The kernels against the reference: values, gradients, extremes, buffers, threads, autograd."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
import torch.utils.checkpoint
from hypothesis import HealthCheck, Phase, assume, settings
from torch import Tensor

import gatewright as gw
from example_count import example_count
from gatewright.backends import choose, llvm
from gatewright.backends.llvm import call_list, library
from gatewright.backends.llvm.call_list import Program as KernelProgram
from gatewright.backends.llvm.library import unsupported_graph
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.memory import Pool
from gatewright.backends.llvm.threads import openmp
from gatewright.backends.run import Result, Run
from gatewright.backends.step import starts as fresh_states
from gatewright.bench.growing import Gated
from gatewright.errors import SizeError
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.graph.terms import REDUCTIONS
from kernel_build import unoptimised
from odd_cells import CELLS as ODD
from odd_cells import make, random_states, run, sequences
from random_cells import Program, build, programs
from tolerances import close, gradients, random_loss, tensors

F32, F64 = torch.float32, torch.float64

#: The number of random cells that are drawn and compiled, at a second or two each.
EXAMPLES = example_count(10)

VARIANTS: dict[str, gw.Cell] = {
    **{name: cell for name, (cell, _, _) in ODD.items()},
    "peephole_new": gw.CELLS["peephole_lstm"](peephole="full"),
    "peephole_old": gw.CELLS["peephole_lstm"](output_reads="old"),
    "peephole_some": gw.CELLS["peephole_lstm"](peephole="full", gates=("f", "o")),
    "peephole_one": gw.CELLS["peephole_lstm"](gates=("i",)),
    "peephole_none": gw.CELLS["peephole_lstm"](gates=()),
    "many_gates": Gated(gates=9),  # more sums than one pass over K forms
}

#: Input and hidden size: below, at and above one vector, and several vectors and a rest.
SIZES = [(3, 5), (1, 1), (17, 33), (5, 16), (33, 17), (4, 3), (3, 65)]
#: The batch, and the rows that run at each step: full, ragged, with rows of length 0, a single
#: row, and several tiles of rows with a rest.
LAYOUTS = [
    (4, (4, 4, 4)),
    (5, (3, 3, 2, 1)),
    (3, (2, 2, 2)),
    (1, (1, 1, 1, 1)),
    (23, (23, 23, 7)),
    (8, (8, 6, 2)),
]


def task_of(
    graph: Graph,
    sizes: dict[str, int],
    dtype: torch.dtype = F64,
    layout: tuple[int, tuple[int, ...]] = LAYOUTS[0],
    *,
    reverse: bool = False,
    restart: bool = False,
    states: bool = True,
    names: bool = True,
    seed: int = 0,
) -> Run:
    """A run on random numbers that are exact in float32 and require gradients."""
    generator = torch.Generator().manual_seed(seed)
    batch, rows = layout
    total = sum(rows)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(shape, generator=generator) * scale
        return values.to(dtype).requires_grad_()

    weights = {
        path: normal(*weight.numbers(sizes), scale=0.5) for path, weight in graph.weights.items()
    }
    inputs = {name: normal(total, number(term.size, sizes)) for name, term in graph.inputs.items()}
    fresh = fresh_states(graph, sizes, weights, batch, next(iter(inputs.values())))
    own = {name: normal(batch, number(term.size, sizes)) for name, term in graph.states.items()}
    noises = [
        (torch.rand(total, number(term.size, sizes), generator=generator) < 0.5).to(dtype)
        for term in graph.noises
    ]
    marks = torch.rand(total, generator=generator) < 0.3 if restart else None
    return Run(
        graph=graph,
        sizes=sizes,
        weights=weights,
        inputs=inputs,
        rows=list(rows),
        states=own if states else fresh,
        fresh=fresh,
        noises=noises,
        restart=marks,
        reverse=reverse,
        names=list(graph.values) if names else [],
    )


def leaves_of(task: Run) -> dict[str, Tensor]:
    """The tensors of a run that require gradients."""
    groups = {
        "input": task.inputs,
        "state": task.states,
        "weight": task.weights,
        "held": task.hold,
    }
    leaves = {f"{kind} {key}": v for kind, group in groups.items() for key, v in group.items()}
    return {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}


def results_of(result: Result) -> dict[str, Tensor]:
    tensors_by_name = {"output": result.output}
    tensors_by_name |= {f"final {name}": value for name, value in result.states.items()}
    return tensors_by_name | {f"value {name}": value for name, value in result.values.items()}


def everything(backend: str, task: Run, seed: int = 9) -> dict[str, Tensor]:
    """All values, and all gradients, with a random upstream gradient on every value."""
    values = results_of(choose.run_on(backend, task))
    generator = torch.Generator().manual_seed(seed)
    seeds = {k: torch.randn(v.shape, generator=generator).to(v) for k, v in values.items()}
    outputs = [name for name, value in values.items() if value.requires_grad]
    leaves = leaves_of(task)
    grads = torch.autograd.grad(
        [values[name] for name in outputs],
        list(leaves.values()),
        [seeds[name] for name in outputs],
        allow_unused=True,
    )
    for (name, leaf), gradient in zip(leaves.items(), grads, strict=True):
        values[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return {name: value.detach() for name, value in values.items()}


def as_double(task: Run) -> Run:
    """The same run in float64."""

    def doubled(group: Any) -> Any:
        return {k: v.detach().double().requires_grad_(v.requires_grad) for k, v in group.items()}

    weights, inputs = doubled(task.weights), doubled(task.inputs)
    like = next(iter(inputs.values()))
    batch = len(next(iter(task.fresh.values())))
    fresh = fresh_states(task.graph, task.sizes, weights, batch, like)
    return replace(
        task,
        weights=weights,
        inputs=inputs,
        fresh=fresh,
        states=fresh if task.states is task.fresh else doubled(task.states),
        noises=[noise.double() for noise in task.noises],
    )


def held_to_reference(task: Run) -> None:
    """Compare with the reference: to 1e-10 in float64, and to its own error in float32."""
    ours, reference = everything("llvm", task), everything("reference", task)
    assert list(ours) == list(reference)
    for name, value in ours.items():
        assert value.shape == reference[name].shape, name
        assert value.dtype == reference[name].dtype, name
    double = next(iter(task.inputs.values())).dtype == F64
    truth = reference if double else everything("reference", as_double(task))
    norms: dict[str, float] = {}
    for name, value in truth.items():
        if value.is_floating_point() and value.isfinite().all():
            kind = name.split()[0]
            norms[kind] = max(norms.get(kind, 0.0), value.norm().item())
    for name, value in ours.items():
        if value.dtype == torch.bool:
            assert torch.equal(value, reference[name]), name
            continue
        expected, got, theirs = truth[name], value.double(), reference[name].double()
        odd = ~expected.isfinite()
        assert torch.equal(got.nan_to_num()[odd], expected.nan_to_num()[odd]), name
        assert torch.equal(got.isnan(), expected.isnan()), name
        norm = expected[~odd].norm().item()
        error = (got - expected)[~odd].norm().item()
        limit = 1e-10 * max(norm, 1e-3)
        if not double:
            # The floor follows from all values of a kind: a single one may be exact by chance.
            floor = 1e-6 * max(norms.get(name.split()[0], 0.0), norm)
            limit = 4 * (theirs - expected)[~odd].norm().item() + floor
        assert error <= limit, f"{name}: off by {error}, allowed {limit}, norm {norm}"


def fitting(graph: Graph, sizes: tuple[int, int]) -> dict[str, int]:
    """The next sizes that the heads divide; equal ones if the cell adds its input to its state."""
    fitted = dict(zip(("input", "hidden"), sizes, strict=True))
    for name in fitted:
        heads = math.lcm(
            *(division.heads for division in graph.sizes.divisions if division.size == name)
        )
        fitted[name] = -(-fitted[name] // heads) * heads
    try:
        graph.sizes.check(fitted)
    except SizeError:
        fitted["input"] = fitted["hidden"]
        graph.sizes.check(fitted)
    return fitted


@pytest.fixture
def without_optimisation() -> Iterator[None]:
    with unoptimised():
        yield


# Every cell.
@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_cell_is_what_the_reference_computes(name: str, dtype: torch.dtype):
    """In float64 all named values have upstream gradients, in float32 none: other kernels.

    Those in float64, whose errors show more, are built without optimisation, here and where memory
    starts as NaN: both share their kernels, which would take 20 s more. The sizes and the random
    cells in float32 below have optimised ones.
    """
    graph = VARIANTS[name].graph
    shift = zlib.crc32(name.encode())
    ways = list(itertools.product([False, True], repeat=3))
    with unoptimised() if dtype == F64 else nullcontext():
        for turn, (reverse, restart, states) in enumerate(ways):
            task = task_of(
                graph,
                fitting(graph, SIZES[(shift + turn) % len(SIZES)]),
                dtype,
                LAYOUTS[(shift // 7 + turn) % len(LAYOUTS)],
                reverse=reverse,
                restart=restart,
                states=states,
                names=dtype == F64,
                seed=turn,
            )
            held_to_reference(task)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_size_with_every_layout(
    sizes: tuple[int, int], layout: tuple[int, tuple[int, ...]], reverse: bool
):
    for name in ("gru_before", "peephole_lstm"):
        graph = VARIANTS[name].graph
        held_to_reference(task_of(graph, fitting(graph, sizes), F64, layout, reverse=reverse))


def test_a_cell_that_kernels_cannot_run_runs_on_the_reference(
    monkeypatch: pytest.MonkeyPatch,
):
    class Odd(gw.Cell):
        def step(self, x, h):
            h = gw.erf(gw.linear(x, h))
            return gw.state(h=h)

    monkeypatch.delitem(POINTWISE, "erf")
    monkeypatch.setitem(ODD, "odd", (Odd(), 3, 5))
    layer = make("odd")
    assert unsupported_graph(layer.graph) == "they have no erf yet"
    inputs = sequences(layer, 4, 3)
    expected = run(make("odd", backend="reference"), inputs)
    # The kernels do not run at all: here they would raise.
    kernels = choose.Backend(lambda task: pytest.fail("the kernels ran"), llvm.why_not)
    monkeypatch.setitem(choose.BACKENDS, "llvm", kernels)
    close(run(layer, inputs), expected, table={F64: 0.0})
    with pytest.raises(gw.BackendError, match="they have no erf yet"):
        run(make("odd", backend="llvm"), inputs)


def test_auto_runs_the_kernels(monkeypatch: pytest.MonkeyPatch):
    ran = []

    def count(task: Run) -> Result:
        ran.append(task)
        return llvm.run(task)

    monkeypatch.setitem(choose.BACKENDS, "llvm", choose.Backend(count, llvm.why_not))
    layer = make("lstm", num_layers=2, bidirectional=True)
    run(layer, sequences(layer, 3, 2), lengths=[3, 2])
    assert len(ran) == 4


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("name", ["lstm", "gru", "wide", "readout"])
def test_a_layer_is_what_it_is_on_the_reference(
    name: str, bidirectional: bool, without_optimisation: None
):
    """The whole layer: unsorted lengths, starts, two layers, traces, held values.

    It is about what is around the kernels, so these are built without optimisation, in a third of
    the time.
    """
    by_backend = []
    for backend in ("llvm", "reference"):
        layer = make(name, num_layers=2, bidirectional=bidirectional, backend=backend)
        inputs = {k: v.requires_grad_() for k, v in sequences(layer, 6, 5).items()}
        hx = random_states(layer, 5)
        leaves = [*inputs.values(), *tensors(hx), *layer.parameters()]
        for leaf in leaves:
            leaf.requires_grad_()
        starts = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) < 0.2
        how = {"lengths": [4, 6, 0, 1, 6], "starts": starts}
        result = run(layer, inputs, hx, **how)
        trace = layer.trace(inputs["x"], hx, grad=True, **how)
        value = list(trace)[1]
        held = layer.trace(inputs["x"], hx, grad=True, hold={value: 0.25}, **how)
        results = [result, trace, held]
        values = [
            tensor for part in (result, *map(tuple_of, (trace, held))) for tensor in tensors(part)
        ]
        smooth = [tensor for tensor in values if tensor.is_floating_point()]
        by_backend.append((results, gradients(smooth, leaves)))
    close(by_backend[0], by_backend[1])


def tuple_of(trace: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(trace.values())


# Random cells.
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # kernels would be built for each step of shrinking
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_random_cells(program: Program):
    graph = build(program).graph
    task = task_of(graph, {"input": 5, "hidden": 6}, F64, (4, (3, 3, 1)), restart=True)
    names = [name for name, term in graph.values.items() if not term.boolean]
    with unoptimised():
        held_to_reference(replace(task, names=names))


@settings(
    max_examples=max(EXAMPLES // 2, 1),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_random_cells_of_one_unit_in_float32(program: Program):
    """A norm over one unit divides by almost 0: float32 is imprecise, the kernels not more so."""
    assume(all(make.heads in (None, 1) for make in program.body))
    graph = build(program).graph
    for reverse in (False, True):
        sizes = {"input": 5, "hidden": 1}
        held_to_reference(
            task_of(graph, sizes, F32, (5, (3, 3, 2, 1)), reverse=reverse, names=False)
        )


# Extremes.
INF = float("inf")
EXTREMES = [
    *(0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, 20.0, -20.0, 100.0, -100.0, 1e4, -1e4),
    *(1e-40, -1e-40, 1e-310, 1e-5, -1e-5, 88.0, 89.5, -88.0, -103.0, 709.0, -745.0),
    *(INF, -INF, float("nan")),
]
UNARY: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(gw, name)
        for name in (
            *("sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "sign", "sin", "cos"),
            *("erf", "relu", "softplus", "stop_gradient"),
        )
    },
    "abs": abs,
    "negative": lambda a: -a,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "maximum": gw.maximum,
    "minimum": gw.minimum,
    "less": lambda a, b: gw.where(a < b, a, -b),
    "less_equal": lambda a, b: gw.where(a <= b, a, -b),
    "greater": lambda a, b: gw.where(a > b, a, -b),
    "greater_equal": lambda a, b: gw.where(a >= b, a, -b),
    "equal": lambda a, b: gw.where(a == b, 1.0, b - b),
    "not_equal": lambda a, b: gw.where(a != b, 1.0, b - b),
    "logical_and": lambda a, b: gw.where((a > 0.1) & (b > 0.1), a, b),
    "logical_or": lambda a, b: gw.where((a > 0.1) | (b > 0.1), a, b),
    "logical_not": lambda a, b: gw.where(~(a > b), a, b),
    "where": lambda a, b: gw.where(a > 0.0, b, a),
}


def test_every_operation_of_the_kernels_is_tested_at_extremes():
    assert {*UNARY, *BINARY} == set(POINTWISE) - {"expand", *REDUCTIONS}


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_extremes_are_the_same_as_on_the_reference(name: str, dtype: torch.dtype):
    """The operation reads the state and the event, at every pair of extremes."""

    class One(gw.Cell):
        def step(self, x, h):
            y = UNARY[name](h) if name in UNARY else BINARY[name](h, x)
            return gw.state(h=x + 0.0, output=y)

    count = len(EXTREMES)
    values = torch.tensor(EXTREMES, dtype=dtype)
    pairs = values.expand(count, count)
    by_backend = {}
    for backend in ("llvm", "reference"):
        x, h = pairs.clone().requires_grad_(), pairs.T.clone().requires_grad_()
        task = Run(
            graph=One().graph,
            sizes={"input": count, "hidden": count},
            weights={},
            inputs={"x": x},
            rows=[count],
            states={"h": h},
            fresh={"h": h},
        )
        y = choose.run_on(backend, task).output
        grads: tuple[Tensor | None, ...] = (None, None)
        if y.requires_grad:
            grads = torch.autograd.grad(y, (h, x), torch.ones_like(y), allow_unused=True)
        by_backend[backend] = [
            y,
            *(torch.zeros_like(x) if grad is None else grad for grad in grads),
        ]
    limit = 1e-12 if dtype == F64 else 2e-6
    for what, ours, theirs in zip(("value", "of h", "of x"), *by_backend.values(), strict=True):
        torch.testing.assert_close(
            ours,
            theirs,
            rtol=limit,
            atol=limit if what != "value" else limit / 10,
            equal_nan=True,
            msg=lambda m, what=what, ours=ours, theirs=theirs: f"{what}: {m}\n{odd(ours, theirs)}",
        )
    value, reference = (results[0] for results in by_backend.values())
    assert not wrong_zeros(value, reference).any(), odd(value, reference)


def wrong_zeros(ours: Tensor, theirs: Tensor) -> Tensor:
    """Zeros of another sign: a division by them is infinite with their sign."""
    return (ours == 0.0) & (theirs == 0.0) & (ours.signbit() != theirs.signbit())


def odd(ours: Tensor, theirs: Tensor) -> str:
    """The extremes at which two results differ."""
    wrong = ~torch.isclose(ours, theirs, rtol=1e-5, atol=1e-6, equal_nan=True)
    wrong |= wrong_zeros(ours, theirs)
    return "\n".join(
        f"h={EXTREMES[r]} x={EXTREMES[c]}: {ours[r, c]} for {theirs[r, c]}"
        for r, c in wrong.nonzero()[:12].tolist()
    )


# Buffers.
GUARD = 64


@pytest.fixture
def dirty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that starts as NaN, with guards around every buffer that must stay NaN."""
    library.kernels.cache_clear()
    taken: list[Tensor] = []
    gaps: dict[int, list[list[int]]] = {}  # the begins of the gaps in blocks of each length
    place, ready = KernelProgram.place, KernelProgram.complete
    begins: dict[tuple[KernelProgram, str], list[int]] = {}

    def take(self: Pool, dtype: torch.dtype, *shape: int) -> Tensor:
        count = int(torch.Size(shape).numel())
        block = torch.full((count + 2 * GUARD,), float("nan"), dtype=dtype)
        taken.append(block)
        return block[GUARD : GUARD + count].view(shape)

    def placed(self: KernelProgram, block: str, rows: int, *buffers: tuple[str, int]) -> None:
        place(self, block, rows, *buffers)
        begins.setdefault((self, block), []).append(self.lengths[block])
        self.lengths[block] += GUARD

    def done(self: KernelProgram) -> KernelProgram:
        for block, count in self.lengths.items():
            gaps.setdefault(count, []).append(begins.get((self, block), []))
        return ready(self)

    monkeypatch.setattr(Pool, "take", take)
    monkeypatch.setattr(KernelProgram, "place", placed)
    monkeypatch.setattr(KernelProgram, "complete", done)
    yield
    library.kernels.cache_clear()
    assert len(taken) > 10 and begins
    for block in taken:
        inside = block[GUARD:-GUARD]
        assert block[:GUARD].isnan().all() and block[-GUARD:].isnan().all()
        # Blocks of one length may belong to several programs: the gaps of one of them must fit.
        assert any(
            all(inside[begin : begin + GUARD].isnan().all() for begin in gap_begins)
            for gap_begins in gaps.get(len(inside), [[]])
        )


@pytest.mark.parametrize("name", VARIANTS)
def test_the_earlier_contents_of_memory_do_not_matter(name: str, dirty: None):
    graph = VARIANTS[name].graph
    for sizes, layout, restart in (
        ((3, 5), LAYOUTS[1], True),
        ((17, 33), LAYOUTS[4], False),
        ((5, 16), LAYOUTS[2], False),
    ):
        task = task_of(graph, fitting(graph, sizes), F64, layout, restart=restart)
        ours, expected = everything("llvm", task), everything("reference", task)
        close(ours, expected)
        with torch.no_grad():
            bare = replace(task, names=[])
            results = results_of(choose.run_on("llvm", bare))
            close(results, results_of(choose.run_on("reference", bare)))


# Threads.
@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["lstm", "gru_before", "wide", "projected"])
@pytest.mark.parametrize("layout", [LAYOUTS[3], (3, (3, 3, 2, 1))], ids=str)
def test_a_team_shares_the_units_of_few_rows(
    name: str,
    layout: tuple[int, tuple[int, ...]],
    threads: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
):
    """With more threads than blocks of units, fewer, and as many, every bit is the same."""
    graph = VARIANTS[name].graph
    monkeypatch.setattr(call_list, "TOGETHER", 0)
    library.kernels.cache_clear()
    for hidden in (7, 33, 70):
        task = task_of(graph, fitting(graph, (17, hidden)), F64, layout, restart=True)
        threads(1)
        single = everything("llvm", task)
        close(single, everything("reference", task))
        for count in (2, 3, 8):
            threads(count)
            for key, value in everything("llvm", task).items():
                assert torch.equal(value, single[key]), (count, key)
    library.kernels.cache_clear()


@pytest.mark.parametrize("name", ["lstm", "gru_before", "wide"])
@pytest.mark.parametrize("layout", [LAYOUTS[1], LAYOUTS[3], LAYOUTS[4], (7, (7, 7, 6))], ids=str)
def test_every_bit_is_the_same_for_any_number_of_threads(
    name: str, layout: tuple[int, tuple[int, ...]], threads: Callable[[int], None]
):
    graph = VARIANTS[name].graph
    task = task_of(graph, {"input": 17, "hidden": 33}, F64, layout)
    by_count = []
    for count in (1, 2, 3, 40):
        threads(count)
        by_count.append(everything("llvm", task))
    for results in by_count[1:]:
        for key, value in results.items():
            assert torch.equal(value, by_count[0][key]), key


@pytest.mark.parametrize("count", [1, 2])
def test_several_python_threads_at_once(count: int, threads: Callable[[int], None]):
    task = task_of(VARIANTS["lstm"].graph, {"input": 5, "hidden": 17}, F64, LAYOUTS[4])
    expected = everything("reference", task)

    def work(_: int) -> dict[str, Tensor]:
        threads(count)
        return everything("llvm", task)

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(work, range(24)):
            close(results, expected)


def test_several_python_threads_build_one_cell():
    class Fresh(gw.Cell):
        def step(self, x, h):
            h = gw.tanh(gw.linear(x, h)) * 0.75
            return gw.state(h=h)

    task = task_of(Fresh().graph, {"input": 3, "hidden": 5})
    expected = everything("reference", task)
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda _: everything("llvm", task), range(4)):
            close(results, expected)


def test_within_a_parallel_region(threads: Callable[[int], None]):
    """Each thread of a team of torch's own pool runs the layer."""
    threads(2)
    task = task_of(VARIANTS["lstm"].graph, {"input": 5, "hidden": 17}, F64, LAYOUTS[4])
    expected = everything("reference", task)
    assert openmp() or sys.platform != "linux"
    from_threads: list[dict[str, Tensor]] = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    body = kind(lambda _: from_threads.append(everything("llvm", task)))
    for path in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        ctypes.CDLL(str(path)).GOMP_parallel(body, None, 2, 0)
        assert len(from_threads) == 2
    for results in from_threads:
        close(results, expected)


def test_in_a_backward_pass_within_a_backward_pass():
    layer = make("lstm", backend="llvm")
    x = sequences(layer, 4, 3)["x"].requires_grad_()
    plain = gradients(layer(x)[0], [x])
    again = torch.utils.checkpoint.checkpoint(lambda a: layer(a)[0], x, use_reentrant=True)
    random_loss(again).backward()
    close(x.grad, plain[0])


FORKED = """
import os, sys, torch
sys.path.insert(0, sys.argv[1])
import test_kernels as t
torch.set_num_threads(2)
task = t.task_of(t.VARIANTS["lstm"].graph, {"input": 5, "hidden": 17}, t.F64, t.LAYOUTS[4])
expected = t.everything("llvm", task)
child = os.fork()
if child == 0:
    found = t.everything("llvm", task)
    same = all(torch.equal(found[k], v) or k.endswith("bias") for k, v in expected.items())
    os._exit(0 if same else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow(instead="test_hard_calls.py::test_forked_processes")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork():
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", FORKED, here], check=True, timeout=120)
