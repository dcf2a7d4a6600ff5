"""The kernels as operators of `torch.library`, and the programs that torch compiles with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.backends.llvm import operators
from tolerances import close, gradients

# A cell's own named values, a further input, one state; two states; a start that is learned.
LAYERS = {
    "lstm": lambda: gw.LSTM(3, 5, 2, bidirectional=True),
    "peephole": lambda: gw.PeepholeLSTM(3, 5, batch_first=True),
    "gru": lambda: gw.Recurrent("gru", 3, 16, bias=False),
    "leaky": lambda: gw.Recurrent("leaky_rnn", 3, 5),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own internals
        yield


def arguments(cell: str, monkeypatch: pytest.MonkeyPatch, *, restart: bool) -> Any:
    """The arguments of the operator for a cell, at four steps of three rows."""
    layer = gw.Recurrent(cell, 3, 5, dtype=torch.float64)
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    marks = torch.zeros(4, 3, dtype=torch.bool)
    marks[2, 0] = True
    (task,) = layer.runs(x, starts=marks if restart else None)

    def asking(named: Any) -> Any:
        return {k: torch.randn_like(one).requires_grad_() for k, one in named.items()}

    task = replace(
        task,
        weights=asking(task.weights),
        inputs=asking(task.inputs),
        states=asking(task.states),
        fresh=asking(task.fresh),
    )
    calls: list[Any] = []
    original = operators.loops
    monkeypatch.setattr(
        operators, "loops", lambda *arguments: calls.append(arguments) or original(*arguments)
    )
    operators.call(task, task.known_terms())
    return calls[0]


@pytest.mark.parametrize("cell", ["lstm", "gru", "peephole_lstm"])
@pytest.mark.parametrize("restart", [False, True], ids=["through", "restarts"])
def test_opcheck(cell: str, restart: bool, monkeypatch: pytest.MonkeyPatch):
    """Schema, autograd registration, fake tensors, and tracing with open sizes."""
    operator = operators.loops
    torch.library.opcheck(operator, arguments(cell, monkeypatch, restart=restart))


# aot_eager does all that eager does, and traces the backward pass too, as `test_opcheck` does:
# eager, which takes half the time, is for --quick.
@pytest.mark.parametrize(
    ("backend", "name"),
    [
        *(pytest.param("eager", name, marks=pytest.mark.quick) for name in ("lstm", "leaky")),
        *(pytest.param("aot_eager", name, marks=pytest.mark.slow) for name in LAYERS),
    ],
)
def test_a_compiled_layer_is_what_it_was(backend: str, name: str):
    layer = LAYERS[name]()
    further = {"dt": torch.rand(4, 4, 1)} if name == "leaky" else {}
    x = torch.randn(4, 4, 3, requires_grad=True)
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    actual, expected = compiled(x, **further), layer(x, **further)
    close(actual, expected)
    leaves = [x, *layer.parameters()]
    close(gradients(actual, leaves), gradients(expected, leaves))
    with torch.no_grad():
        close(compiled(x, **further), layer(x, **further))


@pytest.mark.parametrize("steps", [3, 40])
def test_time_is_not_unrolled(steps: int):
    counts: list[int] = []

    def backend(module: Any, _: Any) -> Any:
        calls = [one.target for one in module.graph.nodes if one.op == "call_function"]
        counts.append(sum("gatewright" in str(one) for one in calls))
        assert len(calls) < 25
        return module

    layer = gw.GRU(3, 5)
    torch.compile(layer, backend=backend, fullgraph=True)(torch.randn(steps, 2, 3))
    assert counts == [1]


@pytest.mark.slow(instead="test_a_compiled_layer_is_what_it_was")
def test_restarts_and_traces_in_a_compiled_program():
    layer = gw.LSTM(3, 5)
    x, starts = torch.randn(6, 2, 3, requires_grad=True), torch.rand(6, 2) < 0.4

    def both(x: Tensor, starts: Tensor) -> Any:
        traced = layer.trace(x, starts=starts, grad=True)
        return layer(x, starts=starts), traced["forget"], traced["x"], traced["c"]

    compiled = torch.compile(both, backend="aot_eager", fullgraph=True)
    actual, expected = compiled(x, starts), both(x, starts)
    close(actual, expected)
    leaves = [x, *layer.parameters()]
    close(gradients(actual, leaves), gradients(expected, leaves))


def test_an_input_that_asks_for_nothing_gets_nothing():
    layer, x = gw.GRU(3, 5), torch.randn(4, 2, 3)
    layer.freeze("z")
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    compiled(x)[0].sum().backward()
    gradients = [one.grad.clone() for one in layer.parameters()]
    layer.zero_grad()
    layer(x)[0].sum().backward()
    close(gradients, [one.grad for one in layer.parameters()])
    assert x.grad is None


def test_a_run_within_a_compiled_function_is_not_compiled():
    """torch would trace the kernels' tables of addresses as if they were a computation."""
    layer, x = gw.LSTM(3, 5), torch.randn(4, 2, 3, requires_grad=True)

    def back(output: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        output.sum().backward()
        return output + 1

    (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)
    torch.compile(back, backend="eager")(layer(x)[0])
    close(x.grad, expected)


@pytest.mark.slow(instead="test_opcheck")
@pytest.mark.parametrize("transform", ["vmap", "grad"])
def test_transforms_in_a_compiled_function(transform: str):
    layer, x = gw.GRU(3, 5), torch.randn(4, 2, 3)

    def transformed(x: Tensor) -> Tensor:
        if transform == "vmap":
            return torch.func.vmap(lambda row: layer(row)[0], 1, 1)(x)
        return torch.func.grad(lambda x: layer(x)[0].sum())(x)

    close(torch.compile(transformed, backend="eager", fullgraph=True)(x), transformed(x))
