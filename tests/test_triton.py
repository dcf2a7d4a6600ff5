"""The kernels for GPUs compared with the reference on the CPU, which runs their text unchanged.

`triton_stand_in.py` runs it everywhere; where Triton is installed, its interpreter does so too,
and its compiler builds the kernels for GPUs that need not be there.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import gatewright as gw
import triton_stand_in
from gatewright.backends import choose, triton
from gatewright.backends.triton import loop
from gatewright.backends.triton.tiles import MOST, Tiles
from odd_cells import make, random_states, run, sequences
from test_kernels import (
    F32,
    F64,
    LAYOUTS,
    SIZES,
    VARIANTS,
    as_double,
    everything,
    fitting,
    held_to_reference,
    task_of,
)
from tolerances import close, gradients, tensors

#: One program a tile; several, which exchange values, and one tile after the other.
SINGLE, SHARED = Tiles(rows=16, parts=1), Tiles(rows=16, parts=4, at_once=1)

INSTALLED = find_spec("triton") is not None
only_with_triton = pytest.mark.skipif(not INSTALLED, reason="Triton is not installed")


def divide(monkeypatch: pytest.MonkeyPatch, tiles: Tiles) -> None:
    """Divide the work like this from here on."""
    monkeypatch.setattr(loop.Tiles, "of", lambda batch, sizes, processors: tiles)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run kernels in the checked build, for "triton" and for tests that compare "llvm"."""
    monkeypatch.setattr(loop, "checked", lambda: True)
    monkeypatch.setitem(choose.BACKENDS, "llvm", choose.BACKENDS["triton"])
    if os.environ.get("TRITON_INTERPRET") != "1":
        monkeypatch.setattr(loop, "built", triton_stand_in.built)
        monkeypatch.setattr(triton, "why_no_device", lambda device: None)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cell_is_what_the_reference_computes(
    name: str, kernels: None, monkeypatch: pytest.MonkeyPatch
):
    graph = VARIANTS[name].graph
    shift = zlib.crc32(name.encode())
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    for turn, (reverse, restart) in enumerate(itertools.product([False, True], repeat=2)):
        divide(monkeypatch, SINGLE if interpreted or turn % 3 == 0 else SHARED)
        sizes = fitting(graph, SIZES[(shift + turn) % len(SIZES)])
        layout = LAYOUTS[(shift // 7 + turn) % len(LAYOUTS)]
        how = {"reverse": reverse, "restart": restart, "names": turn % 2 == 0, "seed": turn}
        held_to_reference(task_of(graph, sizes, F64 if turn else F32, layout, **how))


def test_a_layer_computes_its_forward_pass_again(kernels: None):
    layer = make("gru", backend="triton", bidirectional=True)
    x = sequences(layer, 5, 3)["x"].requires_grad_()
    leaves = [x, *layer.parameters()]
    expected, again = layer(x), layer(x, recompute=2)
    close(again, expected)
    close(gradients(again, leaves), gradients(expected, leaves))


@only_with_triton
def test_triton_reads_the_text_as_we_do():
    """The same test in Triton's interpreter, which must be chosen before Triton is imported."""
    if tuple(map(int, version("triton").split(".")[:2])) < (3, 9):
        pytest.skip("that of Triton 3.6 does not run with NumPy 2.4, which 3.9 does")
    test = f"{__file__}::{test_a_cell_is_what_the_reference_computes.__name__}"
    done = subprocess.run(
        # It computes masked rows and units too, and warns of their NaN.
        [sys.executable, "-m", "pytest", "-q", "-x", "-W", "ignore::RuntimeWarning", test],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@only_with_triton
@pytest.mark.parametrize("tiles", [SINGLE, SHARED], ids=["single", "shared"])
def test_triton_compiles_for_gpus(tiles: Tiles):
    """Compile to machine code, without a GPU; numbers of other programs do not come from L1."""
    compiled("gru_before", {"hidden": 33, "input": 7}, tiles, [("fp32", 90), ("bf16", 80)])


@only_with_triton
@pytest.mark.slow(instead="test_triton_compiles_for_gpus")
@pytest.mark.parametrize("name", VARIANTS)
def test_every_cell_compiles_for_gpus(name: str):
    sizes = fitting(VARIANTS[name].graph, (3, 5))
    compiled(name, sizes, SINGLE, [("fp32", 90)])


def compiled(
    name: str, sizes: dict[str, int], tiles: Tiles, targets: list[tuple[str, int]]
) -> None:
    """Compile the kernels of a cell for numbers and compute capabilities, in a process."""
    code = COMPILE.format(
        tests=str(Path(__file__).parent), tiles=tiles, name=name, sizes=sizes, targets=targets
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


COMPILE = """
import sys, torch, triton
sys.path.insert(0, {tests!r})
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from gatewright.backends.triton import build
from gatewright.backends.triton.loop import LoopKernels, unsupported_graph
from gatewright.backends.triton.tiles import Tiles
from gatewright.schedule.loop import ScheduleOptions
from test_kernels import VARIANTS

graph, numbers = VARIANTS[{name!r}].graph, {{"fp32": torch.float32, "bf16": torch.bfloat16}}
if unsupported_graph(graph, (), ()):
    sys.exit()
loop = LoopKernels(graph, ScheduleOptions(), tuple({sizes}.items()))
for number, capability in {targets}:
    for kind in ("training", "backward"):
        if not loop.plans[kind].loop.nests:
            continue
        _, text = loop.printed(kind, {tiles}, numbers[number])
        function = build.function(kind, text)
        types = dict.fromkeys(("steps", "batch", "first"), "i32") | {{"counters": "*i32"}}
        types |= dict.fromkeys(("rows", "offsets", "before"), "*i64")
        for name in function.arg_names[7:]:
            given = name.startswith(("weight", "vector", "leaf")) and kind == "training"
            types[name] = "*" + (number if given or name.startswith("weight") else "fp32")
        source = ASTSource(function, signature=types, constexprs={{}})
        target, options = GPUTarget("cuda", capability, 32), {{**build.OPTIONS, "num_warps": 4}}
        made = triton.compile(source, target=target, options=options)
        assert made.asm["cubin"]
        # Copies through L1 may bring old numbers; TF32 has 10 bits of 23.
        assert "cp.async" not in made.asm["ptx"] and "tf32" not in made.asm["ptx"]
        assert made.metadata.shared <= 99 * 1024
"""


@pytest.mark.parametrize("name", ["lstm", "gru_before", "heads", "readout"])
def test_low_numbers_are_no_further_off_than_the_reference(
    name: str, kernels: None, monkeypatch: pytest.MonkeyPatch
):
    divide(monkeypatch, SINGLE)
    graph = VARIANTS[name].graph
    sizes = fitting(graph, (5, 16))
    task = task_of(graph, sizes, torch.bfloat16, (5, (5, 5, 5, 3)), names=False)
    task = replace(
        task, weights={k: (v / 2).detach().requires_grad_() for k, v in task.weights.items()}
    )
    ours, theirs = everything("triton", task), everything("reference", task)
    truth = everything("reference", as_double(task))
    for key, expected in truth.items():
        assert ours[key].dtype == theirs[key].dtype == torch.bfloat16, key
        off, allowed = (
            ((backend[key].double() - expected).norm() / expected.norm()).item()
            for backend in (ours, theirs)
        )
        assert off <= 1.1 * allowed + 2**-9, f"{key}: off by {off}, the reference by {allowed}"


@pytest.mark.slow(instead="test_a_cell_is_what_the_reference_computes")
@pytest.mark.parametrize("name", ["lstm", "wide"])
def test_a_layer_is_what_it_is_on_the_reference(
    name: str, kernels: None, monkeypatch: pytest.MonkeyPatch
):
    """Run the whole layer: unordered lengths, starts, two layers, traces, held values."""
    divide(monkeypatch, SHARED)
    results = []
    for backend in ("triton", "reference"):
        layer = make(name, num_layers=2, bidirectional=True, backend=backend)
        inputs, hx = sequences(layer, 4, 4), random_states(layer, 4)
        leaves = [*inputs.values(), *tensors(hx), *layer.parameters()]
        for leaf in leaves:
            leaf.requires_grad_()
        starts = torch.rand(4, 4, generator=torch.Generator().manual_seed(3)) < 0.2
        how: dict[str, Any] = {"lengths": [3, 4, 0, 1], "starts": starts}
        result = run(layer, inputs, hx, **how)
        trace = layer.trace(inputs["x"], hx, grad=True, **how)
        held = layer.trace(inputs["x"], hx, grad=True, hold={list(trace)[1]: 0.25}, **how)
        values = [*tensors(result), *trace.values(), *held.values()]
        smooth = [one for one in values if one.is_floating_point()]
        with torch.no_grad():
            values += tensors(run(layer, inputs, hx, **how))
        results.append((values, gradients(smooth, leaves)))
    close(results[0], results[1])


def test_backward_twice_and_through_itself(kernels: None, monkeypatch: pytest.MonkeyPatch):
    divide(monkeypatch, SHARED)
    results = []
    for backend in ("triton", "reference"):
        layer = make("peephole_lstm", backend=backend)
        x = sequences(layer, 4, 3)["x"].requires_grad_()
        loss = layer(x)[0].square().sum()
        leaves = [x, *layer.parameters()]
        first = torch.autograd.grad(loss, leaves, retain_graph=True)
        again = torch.autograd.grad(loss, leaves, create_graph=True)
        close(again, first, table={F64: 1e-10})
        penalty = sum(one.square().sum() for one in again)
        results.append((first, torch.autograd.grad(penalty, leaves)))
    close(results[0], results[1])


def test_a_read_before_the_barrier_is_caught(kernels: None, monkeypatch: pytest.MonkeyPatch):
    """Check that the stand-in can fail: it refuses a kernel without its barriers."""
    divide(monkeypatch, SINGLE)
    whole: Callable[..., Any] = loop.built
    monkeypatch.setattr(
        loop, "built", lambda name, text: whole(name, text.replace("tl.debug_barrier()", "pass"))
    )
    with pytest.raises(RuntimeError, match="since the last barrier"):
        held_to_reference(task_of(VARIANTS["gru_before"].graph, {"input": 3, "hidden": 5}))


@pytest.mark.parametrize("processors", [1, 8, 132])
def test_programs_that_wait_for_each_other_can_all_run(processors: int):
    for batch, widest in itertools.product((1, 17, 64, 300, 5000), (1, 16, 65, 256, 1024, 3000)):
        tiles = Tiles.of(batch, [widest, 1], processors)
        assert tiles.parts * tiles.units(widest, product=True) >= widest
        if tiles.parts > 1:
            assert tiles.parts * tiles.at_once <= processors
        if processors == 132:
            assert tiles.units(widest, product=True) <= MOST


def test_reasons_are_reported(monkeypatch: pytest.MonkeyPatch):
    layer = make("lstm", backend="reference")
    x = sequences(layer, 4, 3)["x"]
    reason = "the kernels are for NVIDIA GPUs, and the tensors are on cpu"
    assert f"not triton: {reason}" in layer.explain(x)
    assert "backend llvm" in make("lstm").explain(x)
    with pytest.raises(gw.BackendError, match=reason):
        make("lstm", backend="triton")(x)

    class Early(gw.Cell):
        def step(self, x, h):
            y = gw.linear(x, name="y")
            h = 0.5 * h + y
            return gw.state(h=h, output=y)

    monkeypatch.setattr(triton, "why_no_device", lambda device: None)
    early = gw.Recurrent(Early(), 3, 5, backend="triton")
    with pytest.raises(gw.BackendError, match="the output does not depend on a state"):
        early(torch.randn(4, 2, 3))
    with pytest.raises(gw.BackendError, match="autocast is on"), torch.autocast("cpu"):
        gw.LSTM(3, 5, backend="triton")(torch.randn(4, 2, 3))
