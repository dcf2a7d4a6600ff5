"""Kernels in bfloat16: products of rounded factors, everything else in float32."""

from __future__ import annotations

import copy
import itertools
import math
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.backends.llvm.precision import numbers_of
from test_kernels import LAYOUTS, SIZES, VARIANTS, as_double, everything, fitting, task_of
from tolerances import close

LOW = torch.bfloat16
#: Errors of two rounded results are no more than this apart by chance, as shares of a norm.
CHANCE = 8e-3


def relative(value: Tensor, exact: Tensor, norm: float) -> float:
    return (value.double() - exact).norm().item() / max(norm, 1e-6)


def held_to_float64(task: gw.backends.run.Run, *, autocast: bool = False) -> None:
    """Require errors of at most twice those of the reference in the same precision."""
    with torch.autocast("cpu", dtype=LOW, enabled=autocast):
        ours, theirs = everything("llvm", task), everything("reference", task)
    truth = everything("reference", as_double(task))
    assert list(ours) == list(theirs)
    norms: dict[str, float] = {}
    for name, value in truth.items():
        if value.is_floating_point():
            kind = name.split()[0]
            norms[kind] = max(norms.get(kind, 0.0), value.norm().item())
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        if value.dtype == torch.bool:
            continue  # a comparison may turn out differently
        exact = truth[name]
        norm = max(exact.norm().item(), 0.3 * norms[name.split()[0]])
        limit = 2 * relative(theirs[name], exact, norm) + CHANCE
        error = relative(value, exact, norm)
        assert error <= limit, f"{name}: off by {error}, allowed {limit}"


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cell_is_at_most_twice_as_far_off_as_torchs_operations(name: str) -> None:
    graph = VARIANTS[name].graph
    turn = zlib.crc32(name.encode())
    for reverse, restart in ((False, False), (True, True)):
        task = task_of(
            graph,
            fitting(graph, SIZES[turn % len(SIZES)]),
            LOW,
            LAYOUTS[turn % len(LAYOUTS)],
            reverse=reverse,
            restart=restart,
            names=reverse,
            seed=turn % 1000,
        )
        held_to_float64(task)
        turn += 1


@pytest.mark.parametrize("name", ["lstm", "gru_before", "heads", "peephole_new"])
def test_autocast_takes_the_same_products(name: str) -> None:
    graph = VARIANTS[name].graph
    for layout, sizes in ((LAYOUTS[1], (17, 33)), (LAYOUTS[3], (3, 65))):
        task = task_of(graph, fitting(graph, sizes), torch.float32, layout)
        held_to_float64(task, autocast=True)


class Functions(gw.Cell):
    """The two functions that kernels in bfloat16 have of their own."""

    def step(self, x: Any, h: Any) -> Any:
        s = gw.sigmoid(x)
        t = gw.tanh(x)
        return gw.state(h=gw.linear(h) + s + t)


def test_sigmoid_and_tanh_have_as_many_digits_as_products_need() -> None:
    layer = gw.Recurrent(Functions(), 1, 1)

    def values(x: Tensor) -> list[tuple[Tensor, Tensor]]:
        assert "backend llvm" in layer.explain(x.view(-1, 1, 1))
        with torch.no_grad(), torch.autocast("cpu", dtype=LOW):
            trace = layer.trace(x.view(-1, 1, 1))
        exact = torch.sigmoid(x.double()), torch.tanh(x.double())
        return [(trace[name].flatten(), y) for name, y in zip("st", exact, strict=True)]

    for value, exact in values(torch.cat([torch.linspace(-86, 86, 4001), torch.randn(999) / 99])):
        nonzero = exact != 0
        assert ((value - exact) / exact)[nonzero].abs().max() < 2.0**-17
        assert (value[~nonzero] == 0).all()
    ends = torch.tensor([math.inf, 100.0, 8.0, -100.0, -math.inf, math.nan])
    (sigmoid, _), (tanh, _) = values(ends)
    assert sigmoid[[0, 1]].tolist() == [1, 1] and sigmoid[[3, 4]].tolist() == [0, 0]
    assert tanh[:5].tolist() == [1, 1, 1, -1, -1]  # exact, so that a saturated unit has no gradient
    assert sigmoid[5].isnan() and tanh[5].isnan()


def exact_in_low(layer: gw.Recurrent) -> gw.Recurrent:
    """A copy whose weights are the same numbers in bfloat16 and in float32."""
    return copy.deepcopy(layer).to(LOW).float()


def test_a_layer_in_bfloat16_is_one_under_autocast_with_rounded_ends() -> None:
    """The same kernels run: only what comes in and goes out is rounded."""
    torch.manual_seed(0)
    high = exact_in_low(gw.LSTM(7, 20, num_layers=2, bidirectional=True))
    low = copy.deepcopy(high).to(LOW)
    x = torch.randn(9, 3, 7).to(LOW)
    for _ in range(2):  # the first call and a repeated one
        with torch.autocast("cpu", dtype=LOW):
            expected, _ = high(x.float())
        output, states = low(x)
        assert "products of bfloat16 numbers in the loop" in low.explain(x)
        assert output.dtype == LOW and {state.dtype for state in states} == {LOW}
        assert (output.float() - expected).abs().max() < 0.02


@pytest.mark.parametrize(("inputs", "units"), [(7, 20), (32, 16)])
def test_tensors_in_bfloat16_are_read_exactly_and_rounded_as_torch_rounds(
    inputs: int, units: int
) -> None:
    """The rows of the second size are whole vectors, which kernels read without a copy."""
    torch.manual_seed(3)
    high = exact_in_low(gw.LSTM(inputs, units))
    low = copy.deepcopy(high).to(LOW)
    x, upstream = torch.randn(9, 5, inputs).to(LOW), torch.randn(9, 5, units).to(LOW)
    states = torch.randn(1, 5, units).to(LOW), torch.randn(1, 5, units).to(LOW)

    def results(layer: gw.Recurrent, dtype: torch.dtype) -> list[Tensor]:
        leaves = [t.to(dtype).clone().requires_grad_() for t in (x, *states)]
        with torch.autocast("cpu", dtype=LOW, enabled=dtype != LOW):
            output, last = layer(leaves[0], (leaves[1], leaves[2]))
        sources = [*leaves, *layer.parameters()]
        return [output, *last, *torch.autograd.grad(output, sources, upstream.to(dtype))]

    for _ in range(2):  # the first call and a repeated one
        for result, exact in zip(results(low, LOW), results(high, torch.float32), strict=True):
            assert result.dtype == LOW
            assert torch.equal(result, exact.to(LOW))


class Sums(gw.Cell):
    """A running sum, which has no product that would round or flush its numbers."""

    def step(self, x: Any, h: Any) -> Any:
        return gw.state(h=h + x)


def test_results_keep_tiny_numbers_and_nan() -> None:
    numbers = torch.tensor([3e-39, math.nan, math.inf, 1.0, 3e38]).to(LOW)
    x = numbers.view(1, 5, 1).repeat(1, 1, 20)  # rows of a vector and more
    layer = gw.Recurrent(Sums(), 20, 20).to(LOW)
    assert "backend llvm" in layer.explain(x)
    with torch.no_grad():
        _, last = layer(x, torch.zeros_like(x))
    assert torch.equal(last.nan_to_num(7), x.nan_to_num(7))


def test_each_subset_of_gradients_is_that_of_all() -> None:
    torch.manual_seed(1)
    layer = gw.GRU(5, 18).to(LOW)
    x, h = torch.randn(6, 4, 5).to(LOW), torch.randn(1, 4, 18).to(LOW)
    upstream = torch.randn(6, 4, 18).to(LOW)
    tensors = {"x": x, "h": h, **dict(layer.named_parameters())}

    def gradients(names: tuple[str, ...]) -> dict[str, Tensor]:
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in names)
        outputs, _ = layer(x, h)
        grads = torch.autograd.grad(outputs, [tensors[name] for name in names], upstream)
        return dict(zip(names, grads, strict=True))

    whole = gradients(tuple(tensors))
    for count in (1, 2):
        for names in itertools.combinations(tensors, count):
            for name, gradient in gradients(names).items():
                assert torch.equal(gradient, whole[name]), (names, name)


def test_autocast_may_go_on_and_off_between_calls() -> None:
    torch.manual_seed(2)
    layer = gw.LSTM(6, 24)
    x = torch.randn(5, 3, 6)
    plain, _ = layer(x)
    with torch.autocast("cpu", dtype=LOW):
        low, _ = layer(x)
        mixed, _ = layer(x.to(LOW))
    again, _ = layer(x)
    assert torch.equal(plain, again)
    assert low.dtype == mixed.dtype == torch.float32
    assert 0 < (low - plain).abs().max() < 0.05
    assert (mixed - low).abs().max() < 0.05
    with torch.autocast("cpu", dtype=torch.float16):  # no kernels in float16
        assert "autocast is on, in another type" in layer.explain(x)
        half, _ = layer(x)
    assert (half - plain).abs().max() < 0.01
    with torch.autocast("cpu", dtype=LOW):
        exact, _ = copy.deepcopy(layer).double()(x.double())
    close(exact, copy.deepcopy(layer).double()(x.double())[0])


def test_weights_may_lie_in_memory_in_any_way() -> None:
    torch.manual_seed(3)
    layer = gw.RNN(5, 12).to(LOW)
    x = torch.randn(4, 2, 5).to(LOW)
    expected, _ = layer(x)
    weight = layer.weight_ih_l0
    with torch.no_grad():
        wide = torch.zeros(12, 11, dtype=LOW)
        wide[:, 3:8] = weight
        weight.data = wide[:, 3:8]
    for _ in range(2):
        assert torch.equal(layer(x)[0], expected)
        assert torch.equal(layer(x.mT.contiguous().mT)[0], expected)


def test_values_that_are_not_finite_stay_so() -> None:
    layer = gw.RNN(3, 17, nonlinearity="relu").to(LOW)
    x = torch.randn(4, 3, 3).to(LOW)
    x[0, 0, 0], x[0, 1, 1] = float("nan"), float("inf")
    output, _ = layer(x)
    assert output[:, 0].isnan().all()
    assert not output[:, 1].isfinite().all()
    assert output[:, 2].isfinite().all()


# Streams.
@pytest.mark.parametrize("name", ["lstm", "gru_before", "heads", "elman"])
def test_a_stepper_in_bfloat16_computes_as_the_layer_under_autocast(name: str) -> None:
    torch.manual_seed(4)
    cell = VARIANTS.get(name, gw.CELLS.get("elman_rnn"))
    sizes = fitting(cell.graph, (17, 33)) if name in VARIANTS else {"input": 17, "hidden": 33}
    layer = gw.Recurrent(cell, sizes["input"], sizes["hidden"], num_layers=2).eval()
    x = torch.randn(5, 3, sizes["input"])
    with torch.autocast("cpu", dtype=LOW), torch.no_grad():
        expected, last = layer(x)
    for backend, tolerance in (("auto", 1e-5), ("reference", 0.02)):
        layer.backend = backend
        stepper = layer.stepper(3, precision="bfloat16")
        assert stepper.backend == ("llvm" if backend == "auto" else "reference")
        outputs = torch.stack([stepper.step(event).clone() for event in x])
        close(outputs, expected, backend, {torch.float32: tolerance})
        close(stepper.state, last, backend, {torch.float32: tolerance})
    layer.backend = "auto"
    half = copy.deepcopy(layer).to(LOW).stepper(3, precision="bfloat16")
    assert (torch.stack([half.step(e).clone() for e in x]) - expected).abs().max() < 0.05


RUNNING = """
import sys
sys.path.insert(0, sys.argv[1])
import test_bfloat16 as t
from gatewright.backends.llvm.target import target
assert target().bits == int(sys.argv[2]) and not target().pair_products, target()
for name in ("lstm", "heads"):
    t.test_a_cell_is_at_most_twice_as_far_off_as_torchs_operations(name)
"""


@pytest.mark.slow(instead="test_a_cell_is_at_most_twice_as_far_off_as_torchs_operations")
@pytest.mark.parametrize(("level", "bits"), [("avx2", 256), ("sse2", 128)])
def test_processors_without_the_instruction_widen_the_factors(level: str, bits: int) -> None:
    native = gw.backends.llvm.target.native()
    if native.bits < bits or not native.triple.startswith("x86_64"):
        pytest.skip(f"this processor has no vectors of {bits} bits for {level}")
    environment = {**os.environ, "GATEWRIGHT_CPU": level, "GATEWRIGHT_CHECKED": "1"}
    command = [sys.executable, "-c", RUNNING, str(Path(__file__).parent), str(bits)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_numbers_follow_dtype_and_autocast() -> None:
    assert [numbers_of(d).pairs for d in (torch.float32, torch.float64, LOW)] == [
        False,
        False,
        True,
    ]
    with torch.autocast("cpu", dtype=LOW):
        assert [numbers_of(d).pairs for d in (torch.float32, torch.float64)] == [True, False]
