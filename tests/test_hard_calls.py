"""Calls and cells that kernels once got wrong, with wrong numbers, an error or a crash.

Tests that may crash run in a new process, in which freed memory is filled; they need `fork`.
"""

from __future__ import annotations

import ast
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from llvmlite.binding import ffi
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import gatewright as gw
from walk_subjects import ADVERSARIAL, twin

F64 = torch.float64
DROP_INS = [(gw.RNN, nn.RNN), (gw.LSTM, nn.LSTM), (gw.GRU, nn.GRU)]
every_drop_in = pytest.mark.parametrize("ours, theirs", DROP_INS, ids=["RNN", "LSTM", "GRU"])


InNewProcess = Callable[..., None]


class Forks:
    """A process that has imported this module, and forks for each call of a function in it.

    So torch is imported once; the server itself never runs a kernel. Freed memory is filled.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import test_hard_calls; test_hard_calls.serve_calls()"],
            cwd=Path(__file__).parent,
            # Large blocks that are freed are no longer mapped: a late reader crashes.
            env={
                **os.environ,
                "MALLOC_PERTURB_": "165",
                "MALLOC_MMAP_THRESHOLD_": str(1 << 16),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, arguments: tuple[Any, ...], errors: Path) -> int:
        """Call a function in a fork that writes its errors to a file; the fork's exit code."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{(name, arguments, str(errors))!r}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End the server."""
        self.process.communicate()


def serve_calls() -> None:
    """Perform the calls that are read from stdin, and print the exit code of each."""
    import_module("gatewright.backends.llvm.fast_call")  # once, which took each fork 0.2 s
    for line in sys.stdin:
        name, arguments, errors = ast.literal_eval(line)
        child = os.fork()
        if not child:
            code = 1
            try:
                with open(errors, "w", encoding="utf-8") as file:
                    os.dup2(file.fileno(), sys.stderr.fileno())
                globals()[name](*arguments)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    server = Forks()
    yield server
    server.close()


@pytest.fixture
def in_new_process(forks: Forks, tmp_path: Path) -> InNewProcess:
    """Call a function of this module in a new process; fail if that fails or crashes."""

    def call(function: Callable[..., None], *arguments: Any) -> None:
        errors = tmp_path / "errors"
        code = forks.call(function.__name__, arguments, errors)
        assert not code, f"ended with {code}: {errors.read_text(encoding='utf-8')[-3000:]}"

    return call


#: Tests that use `in_new_process`.
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def close(actual: Tensor, expected: Tensor, what: str, limit: float = 1e-9) -> None:
    assert torch.allclose(actual, expected, atol=limit), (
        f"{what}: off by {float((actual - expected).detach().abs().max())}"
    )


def twins(ours: Any, theirs: Any, *sizes: int, **options: Any) -> tuple[Any, Any]:
    """A drop-in and torch's layer with its weights."""
    torch.manual_seed(0)
    pair = ours(*sizes, dtype=F64, **options), theirs(*sizes, dtype=F64, **options)
    pair[1].load_state_dict(pair[0].state_dict())
    return pair


def compare_gradients(pair: tuple[Any, Any], x: Tensor) -> None:
    """Compare a training step of the first layer with that of the second."""
    for net in pair:
        net.zero_grad()
        net(x)[0].square().sum().backward()
    for (name, parameter), their_parameter in zip(
        pair[0].named_parameters(), pair[1].parameters(), strict=True
    ):
        assert (parameter.grad is None) == (their_parameter.grad is None), name
        if parameter.grad is not None:
            close(parameter.grad, their_parameter.grad, name)


def train_some_weights(kind: str) -> None:
    """Train many steps, in turn with each subset of the weights that requires gradients."""
    ours, theirs = {one.__name__: (one, other) for one, other in DROP_INS}[kind]
    subsets = (("bias",), ("bias_ih",), ("bias_hh",), ("weight_ih", "bias_hh"), ("weight",))
    for names, hidden_size in itertools.product(subsets, (1, 3, 4, 8, 12, 17)):
        pair = twins(ours, theirs, 3, hidden_size)
        for net in pair:
            for name, parameter in net.named_parameters():
                parameter.requires_grad_(name.startswith(names))
        for _ in range(15):
            compare_gradients(pair, torch.randn(5, 2, 3, dtype=F64))


@needs_fork
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_some_weights_are_trained(kind: str, in_new_process: InNewProcess):
    in_new_process(train_some_weights, kind)


def run_adversarial(name: str) -> None:
    """The cell in sizes that are multiples of a vector, and in others."""
    for sizes in ((8, 16), (16, 16), (3, 5)):
        compare_with_reference(name, *sizes)


def compare_with_reference(name: str, input_size: int, hidden_size: int) -> None:
    """Compare outputs, traces, states and gradients of a cell, with memory reused in between."""
    torch.manual_seed(0)
    layer = gw.Recurrent(ADVERSARIAL[name], input_size, hidden_size, dtype=F64)
    truth = twin(layer)
    x = torch.randn(5, 4, input_size, dtype=F64)
    for count in range(15):
        with torch.no_grad():
            for actual, other in zip(layer(x), truth(x), strict=True):
                assert actual.shape == other.shape
                close(actual, other, "no_grad")
            traces, expected = layer.trace(x), truth.trace(x)
            assert list(traces) == list(expected)
            for key, value in expected.items():
                close(traces[key], value, key)
        gradients = []
        for net in (layer, truth):
            net.zero_grad()
            output, states = net(x)
            (output.square().sum() + states.sum()).backward()
            gradients.append(
                [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
            )
        for actual, other in zip(*gradients, strict=True):
            close(actual, other, "gradient")
        del output, states
        junk = [torch.randn(4, 3 + count % 60) for _ in range(100)]
        del junk


@needs_fork
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_outputs_that_are_no_new_state(name: str, in_new_process: InNewProcess):
    in_new_process(run_adversarial, name)


def laid_out(layout: str, rows: int, columns: int) -> Tensor:
    """A matrix that is not stored row by row."""
    if layout == "transposed":
        return (torch.randn(columns, rows, dtype=F64) * 0.3).t()
    if layout == "columns of a larger one":
        return (torch.randn(rows, columns + 7, dtype=F64) * 0.3)[:, :columns]
    if layout == "every second column":
        return (torch.randn(rows, 2 * columns, dtype=F64) * 0.3)[:, ::2]
    if layout == "one row":
        return (torch.randn(1, columns, dtype=F64) * 0.3).expand(rows, columns)
    return (torch.randn(rows, 1, dtype=F64) * 0.3).expand(rows, columns)


LAYOUTS = ["transposed", "columns of a larger one", "every second column", "one row", "one column"]


def train_laid_out(layout: str) -> None:
    """Train with one weight that is not stored row by row."""
    names = ("weight_ih_l0", "weight_hh_l0")
    for classes, name, hidden_size in itertools.product(DROP_INS, names, (5, 8)):
        pair = twins(*classes, 5, hidden_size)
        weight = getattr(pair[0], name)
        weight.data = laid_out(layout, *weight.shape)
        getattr(pair[1], name).data = weight.data.contiguous()
        for _ in range(4):
            compare_gradients(pair, torch.randn(7, 3, 5, dtype=F64))


@needs_fork
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_that_do_not_lie_row_by_row(layout: str, in_new_process: InNewProcess):
    in_new_process(train_laid_out, layout)


@pytest.mark.parametrize("form", ["padded", "unbatched", "packed", "both ways"])
@pytest.mark.parametrize("cls", [gw.RNN, gw.LSTM, gw.GRU, gw.PeepholeLSTM])
def test_checkpoints_recompute_what_was_computed(cls: Any, form: str):
    options = {"num_layers": 2, "bidirectional": True} if form == "both ways" else {}
    layer = cls(3, 8, batch_first=True, dtype=F64, **options)
    for steps in (10, 10, 11, 11, 10):
        shape = (steps, 3) if form == "unbatched" else (4, steps, 3)
        x = torch.randn(shape, dtype=F64, requires_grad=True)

        def run(event: Tensor, on: Any = layer) -> Tensor:
            if form != "packed":
                return on(event)[0]
            packed = pack_padded_sequence(event, torch.tensor([9, 5, 2, 1]), True)
            return on(packed)[0].data

        checkpoint(run, x, use_reentrant=False).sum().backward()
        again = x.detach().clone().requires_grad_()
        run(again).sum().backward()
        close(x.grad, again.grad, f"{steps} steps")


@every_drop_in
def test_compiled_layers_take_packed_sequences(ours: Any, theirs: Any):
    packed = pack_padded_sequence(
        torch.randn(3, 6, 3, dtype=F64), torch.tensor([6, 4, 2]), batch_first=True
    )
    for options in ({}, {"num_layers": 2, "bidirectional": True}):
        layer, _ = twins(ours, theirs, 3, 5, **options)
        torch._dynamo.reset()
        expected = layer(packed)[0]
        output = torch.compile(layer, backend="eager")(packed)[0]
        close(output.data, expected.data, "packed")
        padded = pad_packed_sequence(output, batch_first=True)[0]
        assert padded.shape == (3, 6, 5 * layer.directions)


@pytest.mark.slow(instead="test_compiled_layers_take_packed_sequences")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's compiler reads it
def test_compiled_calls_without_rows():
    """Compiled calls in which no row runs: no steps, no rows, or every length 0."""
    calls = [((5, 2, 4), torch.zeros(5, dtype=torch.int64)), ((5, 0, 4), None)]
    for (ours, _), (shape, lengths) in zip(DROP_INS, itertools.cycle(calls)):
        layer = ours(4, 5, batch_first=True)
        torch._dynamo.reset()
        x = torch.randn(shape)
        expected = layer(x, lengths=lengths)
        actual = torch.compile(layer, backend="eager")(x, lengths=lengths)
        assert torch.equal(actual[0], expected[0])


@every_drop_in
def test_attributes_that_are_set_later(ours: Any, theirs: Any):
    pair = twins(ours, theirs, 3, 5, num_layers=2)
    x = torch.randn(4, 6, 3, dtype=F64)
    for value in (False, True, False):
        for net in pair:
            net.batch_first = value
        for _ in range(3):
            for actual, other in zip(*(net(x) for net in pair), strict=True):
                for a, b in zip(actual, other, strict=True):
                    close(a, b, f"batch_first={value}")
    layer = pair[0]
    layer.dropout = 0.5
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize(
    "name, value",
    [("num_layers", 1), ("num_layers", 3), ("bidirectional", False), ("cell", gw.CELLS["gru"]())],
)
def test_a_layer_keeps_the_weights_that_it_has(name: str, value: Any, called: bool):
    """A change of these was ignored, or ended in an error of Python at a later call."""
    layer = gw.LSTM(3, 5, 2, bidirectional=True)
    x = torch.randn(4, 2, 3)
    expected = layer(x)[0] if called else None
    with pytest.raises(gw.ArgumentError, match=f"{name} decides .*make a new layer"):
        setattr(layer, name, value)
    setattr(layer, name, getattr(layer, name))
    assert expected is None or torch.equal(layer(x)[0], expected)


@every_drop_in
def test_two_gradients_are_two_tensors(ours: Any, theirs: Any):
    layer, _ = twins(ours, theirs, 5, 8, num_layers=2)
    x = torch.randn(4, 3, 5, dtype=F64)
    for _ in range(3):
        gradients = torch.autograd.grad(layer(x)[0].sum(), list(layer.parameters()))
        for gradient in gradients:
            others = [(other, other.clone()) for other in gradients if other is not gradient]
            gradient.add_(1)
            assert all(torch.equal(other, before) for other, before in others)


@every_drop_in
def test_gradients_with_a_graph_of_weights_that_are_tied(ours: Any, theirs: Any):
    """A second layer whose event depends on its own weight."""
    pair = twins(ours, theirs, 8, 8, num_layers=2)
    x = torch.randn(4, 3, 8, dtype=F64)
    for net in pair:
        net.weight_ih_l1 = net.weight_hh_l0
    for graph in (False, True):
        for _ in range(2):
            actual, other = (
                torch.autograd.grad(net(x)[0].sum(), net.weight_hh_l0, create_graph=graph)[0]
                for net in pair
            )
            close(actual, other, f"create_graph={graph}")


@pytest.mark.parametrize("cls", [gw.RNN, gw.LSTM, gw.GRU, gw.PeepholeLSTM])
def test_saved_tensors_come_back_in_another_order(cls: Any):
    def turned(tensor: Tensor) -> Tensor:
        if tensor.dim() < 2:
            return tensor
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)

    layer = cls(8, 8, 2, dtype=F64)
    for form in ("padded", "packed"):
        for _ in range(3):
            x = torch.randn(7, 4, 8, dtype=F64)
            gradients = []
            for unpack in (lambda tensor: tensor, turned):
                event = (
                    x if form == "padded" else pack_padded_sequence(x, torch.tensor([7, 5, 2, 1]))
                )
                with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
                    output = layer(event)[0]
                output = output if form == "padded" else output.data
                gradients.append(
                    torch.autograd.grad(output.square().sum(), list(layer.parameters()))
                )
            for actual, other in zip(*gradients, strict=True):
                close(actual, other, form)


def run_forked(kind: str, form: str, before: bool) -> None:
    """A layer in a process that was forked after threads were used.

    With `before` the parent has called it too; without, the kernels are loaded in the child.
    """
    ours, theirs = {one.__name__: (one, other) for one, other in DROP_INS}[kind]
    layer, other = twins(ours, theirs, 2, 5)
    torch.set_num_threads(2)
    (torch.randn(300, 300) @ torch.randn(300, 300)).sum()
    x = torch.randn(4, 3, 2, dtype=F64)
    event = x if form == "padded" else pack_padded_sequence(x, torch.tensor([4, 2, 1]))
    more = {"lengths": torch.tensor([4, 0, 2])} if form == "lengths" else {}
    if before:
        layer(x if more else event, **more)
    expected = None if more else other(x if form == "padded" else event)[0]
    child = os.fork()
    if not child:
        status = 1
        try:
            for _ in range(2):
                output = layer(x if more else event, **more)[0]
                data = output.data if form == "packed" else output
                data.sum().backward()
                if expected is not None:
                    close(data, expected.data, form)
            status = 0
        finally:
            os._exit(status)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert not status, f"ended with {status}"
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("a forked process hangs")


@needs_fork
@pytest.mark.parametrize("form", ["padded", "packed", "lengths"])
@pytest.mark.parametrize("before", [True, False], ids=["called before", "first call"])
def test_forked_processes(form: str, before: bool, in_new_process: InNewProcess):
    in_new_process(run_forked, "GRU", form, before)


def replace_weights_meanwhile(form: str) -> None:
    """Replace the memory of weights, as `layer.to` does, while kernels read it.

    Without biases: their sum is an operation of torch, whose own layer ends the process here.
    """
    layer, x = gw.LSTM(128, 256, bias=False), torch.randn(100, 1, 128)
    more = {"lengths": [100]} if form == "lengths" else {}
    expected = layer(x, **more)[0].detach()
    ended = threading.Event()

    def replace() -> None:
        while not ended.wait(1e-4):
            for weight in layer.parameters():
                weight.data = weight.detach().clone()

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(30):
            output = layer(x, **more)[0]
            assert torch.equal(output, expected)
            output.sum().backward()
    finally:
        ended.set()
        thread.join()


@needs_fork
@pytest.mark.parametrize("form", ["padded", "lengths"])
def test_another_thread_replaces_the_weights(form: str, in_new_process: InNewProcess):
    in_new_process(replace_weights_meanwhile, form)


def fork_during_a_build() -> None:
    """Fork while another thread has the locks with which kernels are built."""
    os.environ["GATEWRIGHT_CACHE"] = ""
    begun, x = threading.Event(), torch.randn(2, 1, 3)
    gw.RNN(3, 4)(x)  # looks at the machine, once
    thread = threading.Thread(target=lambda: gw.RNN(3, 4, nonlinearity="relu")(x))

    def hold() -> None:
        if threading.current_thread() is thread and not begun.is_set():
            begun.set()
            time.sleep(0.2)

    ffi.register_lock_callback(hold, lambda: None)
    thread.start()
    assert begun.wait(30)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends a child that waits for ever
        gw.GRU(3, 4)(x)
        os._exit(0)
    assert not os.waitpid(child, 0)[1]
    thread.join()


@needs_fork
def test_a_fork_during_a_build(in_new_process: InNewProcess):
    in_new_process(fork_during_a_build)
