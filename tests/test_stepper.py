"""A stepper returns, step by step, the same as the layer for the whole sequence."""

from __future__ import annotations

import array
import copy
import itertools
import math
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import gatewright as gw
from gatewright.backends.llvm import stepping
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.step_kernel import THREADS
from gatewright.layers.stepper import Stepper
from odd_cells import CELLS, make, run, sequences
from tolerances import SAME, close, tensors

F32, F64 = torch.float32, torch.float64
STEPS = 5


class Before(gw.Cell):
    """The output is a state before the step, and two states change places."""

    def step(self, x, h, c, m):
        new = gw.tanh(gw.linear(x, h, c))
        return gw.state(h=c, c=h, m=new, output=m)


class Separate(gw.Cell):
    """The output does not depend on the states."""

    def step(self, x, h):
        h = 0.5 * h + gw.linear(x)
        y = gw.parameter(start=0.25) * 2.0
        return gw.state(h=h, output=y)


class Through(gw.Cell):
    """The output is the event."""

    def step(self, x, h):
        h = gw.tanh(gw.linear(x, h))
        return gw.state(h=h, output=x)


class Many(gw.Cell):
    """Nine gates: more sums than one row needs to hide the latency of the multiplications."""

    def step(self, x, h):
        total = h
        for gate in range(9):
            total = total + gw.tanh(gw.linear(x, h, name=f"w{gate}"))
        h = gw.tanh(total)
        return gw.state(h=h)


OWN = {"before": Before(), "separate": Separate(), "through": Through(), "many": Many()}
EVERY = [*CELLS, *OWN]


def layer_of(name: str, dtype: torch.dtype = F64, layers: int = 2, **how: Any) -> gw.Recurrent:
    if name in OWN:
        torch.manual_seed(0)
        return gw.Recurrent(OWN[name], 3, 5, num_layers=layers, dtype=dtype, **how).eval()
    return make(name, num_layers=layers, **how).to(dtype)


def given_of(layer: gw.Recurrent, steps: int, batch: int, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: one.to(dtype) for name, one in sequences(layer, steps, batch).items()}


def streamed(stepper: Stepper, inputs: dict[str, Tensor], *, arrays: bool = True) -> Tensor:
    """The outputs of all steps, `(T, B, O)`."""
    event, *further = inputs
    outputs = []
    for t in range(len(inputs[event])):
        now = {name: one[t].numpy() if arrays else one[t] for name, one in inputs.items()}
        y = stepper.step(now[event], **{name: now[name] for name in further})
        assert isinstance(y, np.ndarray if arrays else Tensor)
        outputs.append(torch.as_tensor(y).clone())
    return torch.stack(outputs)


@torch.no_grad()
def reference(layer: gw.Recurrent, inputs: dict[str, Tensor], hx: Any = None, **how: Any) -> Any:
    """The results of the layer for the whole sequence, on the reference backend."""
    plain = copy.copy(layer)
    plain.backend = "reference"
    return run(plain, inputs, hx, **how)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, F64) for name in EVERY), *((name, F32) for name in ("lstm", "timed", "heads"))],
)
def test_steps_are_the_layers(name: str, dtype: torch.dtype):
    """With two layers, from the cell's starts and from other states, for one row and three."""
    layer = layer_of(name, dtype)
    for batch, passed in itertools.product((1, 3), (False, True)):
        inputs = given_of(layer, STEPS, batch, dtype)
        # A layer without weights has no dtype of its own.
        stepper = layer.stepper(batch, dtype=dtype if name == "leak" else None)
        assert stepper.backend == "llvm"
        hx = random_like(stepper.state) if passed else None
        if passed:
            stepper.state = hx
        expected = reference(layer, inputs, hx)
        outputs = streamed(stepper, inputs, arrays=batch == 1)
        close(outputs, expected[0], "the outputs")
        close(stepper.state, expected[1], "the states")


@pytest.mark.parametrize("name", [*OWN, "timed", "zoneout"])
def test_steps_on_the_reference_are_the_layers_too(name: str):
    layer = layer_of(name, backend="reference")
    inputs = given_of(layer, STEPS, 2, F64)
    stepper = layer.stepper(2)
    stepper.state = hx = random_like(stepper.state)
    expected = reference(layer, inputs, hx)
    close(streamed(stepper, inputs), expected[0], "the outputs", SAME)
    close(stepper.state, expected[1], "the states", SAME)


def random_like(states: Any) -> Any:
    if isinstance(states, Tensor):
        return torch.randn_like(states)
    return type(states)(random_like(one) for one in states)


@pytest.mark.parametrize("sizes", [(1, 1), (17, 33), (33, 17), (64, 64), (3, 130)], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru_before"])
def test_every_size_within_its_buffers(
    name: str, sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    """With NaN in all unwritten memory, and before and after every buffer."""
    guarded: list[tuple[Tensor, Tensor]] = []
    nan = float("nan")

    def whole(space: Any, rows: int, units: int) -> Tensor:
        room = space.blocks(units) * space.lanes
        memory = torch.full((rows * room + 128,), nan, dtype=space.dtype)
        inside = memory[64:-64].view(rows, room)
        guarded.append((memory, memory[64:-64]))
        return inside

    def packed(space: Any, units: int) -> Tensor:
        count = space.rows * units
        memory = torch.full((count + 128,), nan, dtype=space.dtype)
        guarded.append((memory, memory[64 : 64 + count]))
        return memory[64 : 64 + count].view(space.rows, units)

    monkeypatch.setattr(stepping.StreamMemory, "whole", whole)
    monkeypatch.setattr(stepping.StreamMemory, "packed", packed)
    torch.manual_seed(0)
    cell = CELLS[name][0]
    for batch in (1, 7):
        layer = gw.Recurrent(cell, *sizes, num_layers=2, dtype=F32).eval()
        inputs = given_of(layer, STEPS, batch, F32)
        stepper = layer.stepper(batch)
        expected = reference(layer, inputs)
        close(streamed(stepper, inputs), expected[0])
        close(stepper.state, expected[1])
        for memory, inside in guarded:
            inside.fill_(nan)
            assert memory.isnan().all()
        guarded.clear()


# The states.
def test_states_are_taken_and_given_and_begin_again():
    layer = layer_of("learned")
    with torch.no_grad():
        layer.layers["1_forward"].get_parameter("initial.h").fill_(0.7)
    inputs = given_of(layer, 4, 3, F64)
    stepper = layer.stepper(3)
    start = stepper.state
    assert start.shape == (2, 3, 5) and (start[1] == 0.7).all() and not (start[0] == 0.7).any()
    first = streamed(stepper, inputs)
    final = stepper.state
    again = streamed(stepper, inputs)
    assert not torch.equal(first, again)
    stepper.reset()
    close(stepper.state, start, table={F64: 0.0})
    close(streamed(stepper, inputs), first, table={F64: 0.0})
    stepper.state = final
    close(streamed(stepper, inputs), again, table={F64: 0.0})


def test_some_rows_begin_again():
    """A reset of some rows does the same as `starts` in the layer."""
    layer = layer_of("peak")
    inputs = given_of(layer, 6, 3, F64)
    starts = torch.zeros(6, 3, dtype=torch.bool)
    starts[3, 0] = starts[3, 2] = True
    expected, states = reference(layer, inputs, starts=starts)
    for rows in (starts[3], starts[3].numpy(), [True, False, True], [2, 0], np.array([0, 2])):
        stepper = layer.stepper(3)
        first = streamed(stepper, {"x": inputs["x"][:3]})
        stepper.reset(rows)
        second = streamed(stepper, {"x": inputs["x"][3:]})
        close(torch.cat([first, second]), expected)
        close(stepper.state, states)
    before = stepper.state
    stepper.reset([])
    close(stepper.state, before, table={F64: 0.0})


@pytest.mark.parametrize("turns", [2, 3])
def test_saved_states_go_on_elsewhere(turns: int):
    """After an even and an odd number of steps, since the states' buffers alternate."""
    layer = layer_of("wide", F32)
    inputs = given_of(layer, 6, 2, F32)
    stepper, other = layer.stepper(2), layer.stepper(2)
    event = {"x": inputs["x"][:turns]}
    streamed(stepper, event)
    saved = stepper.save()
    assert isinstance(saved, bytes)
    other.restore(saved)
    rest = {"x": inputs["x"][turns:]}
    assert torch.equal(streamed(other, rest), streamed(stepper, rest))
    assert other.save() == stepper.save() != saved


def test_states_of_another_stepper_are_refused():
    stepper = layer_of("lstm", F32).stepper()
    saved = stepper.save()
    others = [
        layer_of("lstm", F64).stepper().save(),
        layer_of("lstm", F32).stepper(2).save(),
        layer_of("gru", F32).stepper().save(),
        layer_of("lstm", F32, layers=1).stepper().save(),
    ]
    for bad in (b"", saved[:-1], saved[5:], b"nothing", pickle.dumps(1), None, *others):
        with pytest.raises(gw.ArgumentError, match="states"):
            stepper.restore(bad)
    assert stepper.save() == saved


def test_states_in_every_form():
    layer = layer_of("lstm", F32)
    stepper = layer.stepper()
    h, c = (torch.randn(2, 1, 5) for _ in range(2))
    for states in ((h, c), (h[:, 0], c[:, 0]), (h.numpy(), c.numpy()), [h, c.requires_grad_()]):
        stepper.reset()
        stepper.state = states
        close(stepper.state, (h, c.detach()), table={F32: 0.0})
    mine = stepper.state
    mine[0].zero_()
    close(stepper.state, (h, c.detach()), table={F32: 0.0})
    for bad, message in (
        ((h,), "a tuple"),
        (h, "a tuple"),
        ((h, c[..., :4].detach()), "expected"),
        ((h.double(), c.detach()), "float64"),
        ((h, None), "None"),
    ):
        with pytest.raises((gw.ArgumentError, gw.SizeError), match=message):
            stepper.state = bad
        close(stepper.state, (h, c.detach()), table={F32: 0.0})


# Arguments and results of a step.
def test_events_in_every_form():
    layer = layer_of("lstm", F32, layers=1)
    x = torch.randn(3)
    expected = reference(layer, {"x": x.view(1, 1, 3)})[0].view(5)
    twice = torch.stack([x, x], 1).flatten()[::2]
    forms: list[Any] = [
        x.numpy(),
        x,
        x.clone().requires_grad_(),
        torch.nn.Parameter(x),
        twice,
        twice.numpy(),
        memoryview(x.numpy()),
        array.array("f", x.tolist()),
        torch._neg_view(-x),
        torch.complex(torch.zeros(3), -x).conj().imag,
    ]
    for form in forms:
        for event in (form, form[None]) if isinstance(form, Tensor | np.ndarray) else (form,):
            y = layer.stepper().step(event)
            assert isinstance(y, Tensor if isinstance(event, Tensor) else np.ndarray)
            assert y.shape == (5,) if np.ndim(memoryview_of(event)) == 1 else (1, 5)
            close(torch.as_tensor(y).reshape(5), expected)


def memoryview_of(event: Any) -> Any:
    return event.detach().resolve_neg().numpy() if isinstance(event, Tensor) else event


def test_outputs_are_one_buffer_or_the_users_own():
    layer = layer_of("gru", F32)
    for batch in (1, 2):
        stepper, other = layer.stepper(batch), layer.stepper(batch)
        x = torch.randn(4, batch, 3)
        from_array, from_tensor = stepper.step(x[0].numpy()), stepper.step(x[1])
        assert from_array.__array_interface__["data"][0] == from_tensor.data_ptr()
        shape = (batch, 5)
        outs: list[Any] = [
            np.full(shape, 9, np.float32),
            torch.full(shape, 9.0),
            np.full((5, batch), 9, np.float32).T,
        ]
        other.step(x[0])
        other.step(x[1])
        for t, out in zip((2, 3, 3), outs, strict=True):
            assert other.step(x[t], out=out) is out
            close(torch.as_tensor(out), torch.as_tensor(stepper.step(x[t])).clone())
    h = torch.zeros(3)
    again = gw.GRU(3, 3).stepper()  # its output can be its next input
    for _ in range(3):
        h = again.step(h)
    assert h.abs().sum() > 0


def test_further_inputs_in_every_form():
    layer = layer_of("timed", F64, layers=1)
    x, push, ones = np.ones(3), np.ones(5), torch.ones(5, dtype=torch.bool)

    def after(batch: int = 1, x: Any = x, push: Any = push, *, dt: Any) -> Any:
        stepper = layer.stepper(batch)
        stepper.state = torch.ones(1, batch, 5, dtype=F64)
        return stepper.step(x, dt=dt, push=push).copy()

    expected, other = after(dt=np.ones((1, 1)), push=push[None]), after(dt=2.0)
    for dt in (1.0, 1, True, np.ones(1), torch.ones(1, 1, dtype=F64), torch.ones((), dtype=F64)):
        assert (after(dt=dt) == expected).all()
    assert (after(dt=1.0, push=ones) == expected).all()
    both = after(2, np.ones((2, 3)), np.ones((2, 1)), dt=np.array([1.0, 2.0]))
    close(torch.tensor(both), torch.tensor(np.stack([expected, other])))
    assert not np.allclose(expected, other)


def refused(stepper: Stepper) -> list[tuple[Any, str]]:
    x = np.zeros(3, np.float32)

    def call(*arguments: Any, **how: Any) -> Any:
        return lambda: stepper.step(*arguments, **how)

    read_only = np.zeros(5, np.float32)
    read_only.flags.writeable = False
    return [
        (call(np.zeros(4, np.float32)), r"x has shape \(4,\); expected \(1, 3\) or \(3,\)"),
        (call(torch.zeros(2, 3)), r"x has shape \(2, 3\)"),
        (call(np.float32(1.0)), r"x has shape \(\)"),
        (call(np.zeros(3)), "x is float64 and the stepper is float32"),
        (call(torch.zeros(3).double()), r"x\.to\(torch\.float32\)"),
        (call(np.zeros(3, ">f4")), "x is >f4"),
        (call([0.0, 0.0, 0.0]), "x is a list; give a numpy array"),
        (call(None), "x is a NoneType"),
        (call("text"), "x is a str"),
        (call(torch.zeros(3, device="meta")), "on meta"),
        (call(x, dt=1.0), r"further inputs \['dt'\] were given; LSTM reads \[\]"),
        (call(x, out=np.zeros(4, np.float32)), r"out has shape \(4,\); expected \(5,\)"),
        (call(x, out=np.zeros((1, 5), np.float32)), r"expected \(5,\)"),
        (call(x, out=np.zeros(5)), "out is float64"),
        (call(x, out=[0.0] * 5), "out is a list"),
        (call(x, out=read_only), "cannot be written"),
        (lambda: stepper.reset([3]), "rows"),
        (lambda: stepper.reset([-1]), "rows"),
        (lambda: stepper.reset([True, True]), "rows"),
        (lambda: stepper.reset(0.5), "rows"),
        (lambda: copy.deepcopy(stepper), "neither copied nor pickled"),
        (lambda: pickle.dumps(stepper), "neither copied nor pickled"),
    ]


@pytest.mark.parametrize("case", range(22))
def test_what_does_not_fit_is_refused_and_changes_nothing(case: int):
    stepper = layer_of("lstm", F32, layers=1).stepper()
    stepper.step(np.ones(3, np.float32))
    before = stepper.save()
    cases = refused(stepper)
    assert len(cases) == 22
    call, message = cases[case]
    with pytest.raises((gw.ArgumentError, gw.SizeError), match=message):
        call()
    assert stepper.save() == before


def test_further_inputs_that_do_not_fit_are_refused():
    stepper = layer_of("timed", F64, layers=1).stepper(2)
    x, push = np.zeros((2, 3)), np.zeros((2, 5))
    for inputs, message in (
        ({}, r"\[\] were given; Timed reads \['dt', 'push'\]"),
        ({"dt": np.zeros(2)}, r"\['dt'\] were given"),
        ({"dt": 1.0, "push": push}, r"dt has shape \(\)"),
        ({"dt": np.zeros(2), "push": push.T}, r"push has shape \(5, 2\); expected \(2, 5\)"),
        ({"dt": np.zeros(2, np.int64), "push": push}, "dt is int64"),
        ({"dt": None, "push": push}, "dt is a NoneType"),
    ):
        with pytest.raises((gw.ArgumentError, gw.SizeError), match=message):
            stepper.step(x, **inputs)


# The layer of a stepper.
def test_layers_that_cannot_be_streamed_are_refused():
    both = gw.LSTM(3, 5, bidirectional=True)
    with pytest.raises(gw.ArgumentError, match="bidirectional"):
        both.stepper()
    half = gw.LSTM(3, 5).to(torch.bfloat16)
    with pytest.raises(gw.ArgumentError, match="bfloat16"):
        half.stepper()
    assert half.stepper(dtype=F32).step(np.zeros(3, np.float32)).shape == (5,)
    for bad, kind in ((0, gw.SizeError), (-1, gw.SizeError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(kind, match="batch_size"):
            gw.LSTM(3, 5).stepper(bad)

    class Gated(gw.Cell):
        sizes: ClassVar = {"mask": "input"}

        def step(self, x, h, *, mask):
            seen = x * mask
            h = gw.tanh(gw.linear(seen, h))
            return gw.state(h=h)

    with pytest.raises(gw.SizeError, match="differs by layer"):
        gw.Recurrent(Gated(), 3, 5, num_layers=2).stepper()


def test_a_backend_asked_for_by_name_runs_or_refuses(monkeypatch: pytest.MonkeyPatch):
    class Odd(gw.Cell):
        def step(self, x, h):
            h = gw.erf(gw.linear(x, h))
            return gw.state(h=h)

    monkeypatch.delitem(POINTWISE, "erf")
    with pytest.raises(gw.BackendError, match="cannot stream this: they have no erf"):
        gw.Recurrent(Odd(), 3, 5, backend="llvm").stepper()
    fallen = gw.Recurrent(Odd(), 3, 5).stepper()
    assert fallen.backend == "reference" and fallen.reason is not None
    assert fallen.reason in repr(fallen)
    asked = make("lstm", backend="reference").stepper()
    assert asked.backend == "reference" and asked.reason is None
    assert "backend llvm)" in repr(make("lstm", backend="llvm").stepper())


@pytest.mark.parametrize("backend", ["llvm", "reference"])
def test_weights_are_those_of_the_last_refresh(backend: str):
    layer = layer_of("learned", F64, layers=1, backend=backend)
    stepper = layer.stepper()
    x = np.ones(3)
    stepper.step(x)
    state = stepper.state
    old = stepper.step(x).copy()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.25)
    stepper.state = state
    assert (stepper.step(x) == old).all()
    stepper.state = state
    stepper.refresh()
    close(stepper.state, state, table={F64: 0.0})
    expected = reference(layer, {"x": torch.ones(1, 1, 3, dtype=F64)}, state)[0]
    close(torch.as_tensor(stepper.step(x)), expected[0, 0])
    stepper.reset()
    assert torch.allclose(stepper.state, layer.get_parameter("layers.0_forward.initial.h"))


def test_noise_and_dropout_are_those_of_eval_mode():
    torch.manual_seed(0)
    layer = gw.Recurrent(CELLS["zoneout"][0], 3, 5, num_layers=2, dropout=0.5, dtype=F64)
    stepper = layer.train().stepper()
    inputs = given_of(layer, 4, 1, F64)
    outputs = streamed(stepper, inputs)
    assert layer.training
    close(outputs, reference(layer.eval(), inputs)[0])


def test_a_step_allocates_nothing_and_calls_no_operation_of_torch():
    class Counting(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            Counting.count += 1
            return function(*args, **(kwargs or {}))

    stepper = layer_of("lstm", F32).stepper()
    x, t, out = np.ones(3, np.float32), torch.ones(3), np.ones(5, np.float32)

    def steps(count: int) -> None:
        for _ in range(count):
            stepper.step(x)
            stepper.step(t)
            stepper.step(x, out=out)

    steps(3)
    tracemalloc.start()
    begin = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    steps(1000)
    end, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Python itself needs a frame, a size and an address for a call.
    assert end - begin < 2000 and peak - begin < 4000
    with Counting():
        torch.ones(3) + 1.0
        there = Counting.count
        steps(3)
    assert there > 0 and Counting.count == there


def test_several_threads_with_a_stepper_each():
    layer = layer_of("lstm", F32)
    inputs = given_of(layer, 200, 1, F32)
    expected = streamed(layer.stepper(), inputs)

    def work(_: int) -> Tensor:
        return streamed(layer.stepper(), inputs)

    with ThreadPoolExecutor(4) as pool:
        for outputs in pool.map(work, range(8)):
            assert torch.equal(outputs, expected)


def test_extreme_events_are_what_they_are_in_the_layer():
    layer = layer_of("lstm", F32)
    for value in (math.inf, -math.inf, math.nan, 1e38, 1e-40):
        x = torch.full((2, 1, 3), value)
        close(streamed(layer.stepper(), {"x": x}), reference(layer, {"x": x})[0])
    assert all(one.isfinite().all() for one in tensors(layer.stepper().state))


# Threads.
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_threads_that_share_the_rows_of_a_step_change_nothing(precision: str) -> None:
    torch.manual_seed(0)
    layer = gw.GRU(48, 96, num_layers=2).eval()
    batch = 250  # enough work for two threads, and no whole number of tiles
    x = np.random.default_rng(0).standard_normal((3, batch, 48)).astype(np.float32)
    before, outputs = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            stepper = layer.stepper(batch, precision=precision)
            assert stepper._stream.record[THREADS] == count
            outputs.append([stepper.step(event).copy() for event in x])
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*outputs)


@pytest.mark.slow(instead="test_hard_calls.py::test_forked_processes")
def test_a_forked_process_steps_on_one_thread() -> None:
    script = """
import os, numpy as np, torch, gatewright as gw
torch.set_num_threads(2)
stepper = gw.GRU(48, 96).eval().stepper(500)
x = np.ones((500, 48), np.float32)
first = stepper.step(x).copy()
stepper.reset()
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(stepper.step(x), first) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.slow(instead="test_hard_calls.py::test_forked_processes")
def test_a_forked_process_opens_steppers_and_runs_in_bfloat16() -> None:
    """Their matrices are made and converted by torch, which shares large ones among threads."""
    script = """
import os, signal, torch, gatewright as gw
torch.set_num_threads(2)
layer = gw.GRU(48, 200).eval()
x = torch.ones(500, 48)
first = torch.as_tensor(layer.stepper(500, precision="bfloat16").step(x)).clone()
low, events = layer.bfloat16(), x.bfloat16().unsqueeze(0)
output = low(events)[0].detach()
child = os.fork()
if child == 0:
    signal.alarm(30)
    again = torch.as_tensor(layer.stepper(500, precision="bfloat16").step(x))
    fine = (again - first).abs().max() < 1e-2 and torch.equal(low(events)[0].detach(), output)
    os._exit(0 if fine else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
