"""torch's exporters keep a layer whole: one node, right at lengths that the example had not."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_sequence

import gatewright as gw
from gatewright.errors import ArgumentError, BackendError
from gatewright.layers import operator
from gatewright.layers.operator import ONNX_EXPORT, form_of, form_text
from tolerances import close

onnx = pytest.importorskip("onnx", reason="the models are checked by onnx (extra `test`)")
ort = pytest.importorskip("onnxruntime", reason="the models run in ONNX Runtime (extra `test`)")

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's exporters warn of themselves

OPEN = torch.export.Dim.DYNAMIC
#: The axes of `inputs` that vary: batch and time.
SHAPES = ({0: OPEN, 1: OPEN}, {0: OPEN})


class Decayed(gw.Cell):
    """A cell with a further input, a learned start and a state of its own size."""

    initial: ClassVar = {"h": gw.parameter(name="start"), "level": 0.25}

    def step(self, x: Any, h: Any, level: Any, *, dt: Any) -> Any:
        keep = gw.sigmoid(gw.linear(x, h, name="keep") - dt)
        h = keep * h + (1.0 - keep) * gw.tanh(gw.linear(x, h, level, name="new"))
        level = 0.5 * level + 0.5 * gw.linear(h, size=2, name="level")
        return gw.state(h=h, level=level)


class Tagger(nn.Module):
    """A user's model: layers of several kinds between modules of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = gw.LSTM(3, 4, 2, bidirectional=True, batch_first=True, dropout=0.5)
        self.second = gw.Recurrent("slstm", 8, 5, batch_first=True)
        self.third = weight_norm(gw.GRU(5, 4, batch_first=True), "weight_hh_l0")
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        y, (h, _) = self.first(x, lengths=lengths)
        y, state = self.second(y, lengths=lengths)
        y, last = self.third(y, state[0][:, :, :4].contiguous())
        return self.head(y).softmax(-1), h + last.sum()


def inputs(rows: int, steps: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, steps + 1, (rows,), generator=draw)
    return torch.randn(rows, steps, 3, generator=draw), lengths


def tagger() -> Tagger:
    torch.manual_seed(0)
    return Tagger().eval()


def in_onnxruntime(model: Any, feeds: dict[str, Any]) -> list[Tensor]:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString())
    arrays = {name: np.asarray(value) for name, value in feeds.items()}
    return [torch.as_tensor(output) for output in session.run(None, arrays)]


def kinds(graph: Any) -> Counter[str]:
    return Counter(node.op_type for node in graph.node)


# torch.export and torch.jit.trace.
def test_an_exported_program_runs_and_learns_at_any_length() -> None:
    model = tagger()
    program = torch.export.export(model, inputs(2, 5), dynamic_shapes=SHAPES)
    nodes = [str(node.target) for node in program.graph.nodes]
    assert nodes.count("gatewright.recurrent.default") == 3
    stored = io.BytesIO()
    torch.export.save(program, stored)
    loaded = torch.export.load(io.BytesIO(stored.getvalue())).module()
    for rows, steps in ((4, 9), (2, 2), (3, 1)):
        x, lengths = inputs(rows, steps, seed=1)
        close(loaded(x, lengths), model(x, lengths), f"{rows} rows, {steps} steps")
    x, lengths = inputs(3, 6, seed=2)
    gradients = []
    for module in (loaded, model):
        event = x.clone().requires_grad_()
        named = dict(module.named_parameters())
        loss = module(event, lengths)[0].square().sum()
        own = torch.autograd.grad(loss, [event, *named.values()])
        gradients.append(dict(zip(["x", *named], own, strict=True)))
    assert gradients[0].keys() == gradients[1].keys()
    close({name: gradients[0][name] for name in gradients[1]}, gradients[1])


@pytest.mark.slow(instead="test_operators.py::test_a_compiled_layer_is_what_it_was")
def test_the_compiler_of_torch_keeps_the_operator_too() -> None:
    layer, (x, _) = gw.GRU(3, 4), inputs(5, 2)
    program = torch.export.export(layer, (x,), dynamic_shapes=(SHAPES[0],), strict=True)
    other, _ = inputs(7, 3)
    close(program.module()(other), layer(other))


def test_a_traced_module_is_not_fixed_to_the_steps_of_its_example() -> None:
    model = tagger()
    traced = torch.jit.trace(model, inputs(2, 5), check_trace=False)
    stored = io.BytesIO()
    torch.jit.save(traced, stored)
    loaded = torch.jit.load(io.BytesIO(stored.getvalue()))
    x, lengths = inputs(3, 8, seed=1)
    close(loaded(x, lengths), model(x, lengths))


def test_every_argument_of_a_call_passes_through_the_operator() -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent(Decayed(), 3, 4, 2).eval()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(std=0.5)

    def arguments(steps: int) -> dict[str, Any]:
        return {
            "input": torch.randn(steps, 2, 3),
            "hx": (torch.randn(2, 2, 4), torch.randn(2, 2, 2)),
            "starts": torch.rand(steps, 2) < 0.3,
            "dt": torch.rand(steps, 2),
        }

    shapes = {
        name: ({}, {}) if name == "hx" else {0: OPEN} for name in ("input", "hx", "starts", "dt")
    }
    program = torch.export.export(
        Keywords(layer), (arguments(5),), dynamic_shapes=(shapes,)
    ).module()
    other = arguments(9)
    close(program(other), layer(**other))


class Keywords(nn.Module):
    """A layer that takes its arguments as one mapping."""

    def __init__(self, layer: gw.Recurrent) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, arguments: dict[str, Any]) -> Any:
        return self.layer(**arguments)


def test_gradients_of_gradients_pass_through_the_operator() -> None:
    torch.manual_seed(0)
    layer, x = gw.GRU(3, 4).eval(), torch.randn(4, 2, 3)
    exported = torch.export.export(layer, (x,)).module()
    traced = torch.jit.trace(layer, x, check_trace=False)

    def curvature(module: Any) -> Tensor:
        hessian = torch.autograd.functional.hessian(lambda x: module(x)[0].square().sum(), x)
        assert isinstance(hessian, Tensor)
        return hessian

    expected = curvature(layer)
    assert expected.abs().sum() > 1.0
    close(curvature(exported), expected)
    close(curvature(traced), expected)


def test_what_reaches_the_operator_itself_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = gw.GRU(3, 5).eval(), torch.randn(4, 2, 3)
    calls: list[tuple[Any, ...]] = []
    own = operator.recurrent
    monkeypatch.setattr(operator, "recurrent", lambda *args: calls.append(args) or own(*args))
    torch.jit.trace(layer, x, check_trace=False)
    weights = [weight.detach().clone() for weight in calls[0][1]]
    freed = [weights[0].clone(), *weights[1:]]
    freed[0].untyped_storage().resize_(0)
    for passed, message in (
        (freed, "storage of 0 bytes"),
        (weights[1:], "got 9 weights; its form has 10"),
        ([*weights, weights[0]], "got 11 weights"),
        ([*weights[1:], weights[0]], "has shape"),
    ):
        for backend in ("auto", "reference", "llvm"):
            with torch.no_grad(), pytest.raises(gw.GatewrightError, match=message):
                own(x, passed, [], [], None, None, calls[0][6], backend)


def test_a_form_is_the_same_after_it_was_text() -> None:
    form = gw.Recurrent("peephole_lstm", 3, 4, 2, bidirectional=True, batch_first=True).form
    assert form_of(form_text(form)) == form


# torch.onnx.export.
@pytest.mark.slow(instead="test_one_call_exports_a_module")
def test_a_module_goes_out_to_onnx_by_the_exporter_of_torch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(gw.PeepholeLSTM(3, 4, batch_first=True)).eval()
    program = torch.onnx.export(
        model,
        inputs(2, 5)[:1],
        dynamo=True,
        dynamic_shapes=(SHAPES[0],),
        custom_translation_table=gw.onnx_translations(),
        verbose=False,
    )
    assert program is not None and kinds(program.model_proto.graph)["LSTM"] == 1
    x, _ = inputs(3, 8, seed=3)
    output, (h, c) = model(x)
    close(in_onnxruntime(program.model_proto, {"input": x}), [output, h, c])


def test_one_call_exports_a_module(tmp_path: Path) -> None:
    model = tagger().train()
    (path,) = gw.export(model, tmp_path / "tagger.onnx", example=inputs(2, 5))
    assert model.training and model.head.training
    written = onnx.load(path)
    operators = kinds(written.graph)
    # The weights are there as the nodes read them: nothing is computed from them at run time.
    assert operators["LSTM"] == 4 and operators["GRU"] == 1 and operators["Scan"] == 1
    assert sum(operators.values()) < 60
    weights = {tensor.name for tensor in written.graph.initializer}
    moved = [n for n in written.graph.node if n.op_type in ("Slice", "Concat", "Transpose")]
    assert not [node for node in moved if set(node.input) <= weights]
    # No path of the machine that wrote it.
    assert str(Path(__file__).parent).encode() not in path.read_bytes()
    model.eval()
    for rows, steps in ((4, 9), (2, 3), (1, 1)):
        x, lengths = inputs(rows, steps, seed=3)
        outputs = in_onnxruntime(written, {"x": x, "lengths": lengths})
        close(outputs, list(model(x, lengths)), f"{rows} rows, {steps} steps")


class Further(nn.Module):
    """A cell with a further input and a start of its own, on a single sequence."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = gw.Recurrent(Decayed(), 3, 4, 2)
        for weight in self.layer.parameters():
            nn.init.normal_(weight, std=0.5)

    def forward(self, x: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        y, (_, level) = self.layer(x, dt=dt)
        return y, level


@pytest.mark.slow(instead="test_every_argument_of_a_call_passes_through_the_operator")
def test_further_inputs_and_learned_starts_go_out(tmp_path: Path) -> None:
    module = Further().eval()
    example = {"x": torch.randn(5, 3), "dt": torch.rand(5)}
    (path,) = gw.export(module, tmp_path / "further.onnx", example=example)
    x, dt = torch.randn(8, 3), torch.rand(8)
    close(in_onnxruntime(onnx.load(path), {"x": x, "dt": dt}), list(module(x, dt)))


# Refusals: nothing is written whose number of steps is fixed.
def test_an_export_without_the_translations_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ONNX_EXPORT, "has_translation", False)
    path = tmp_path / "model.onnx"
    with pytest.raises(Exception, match=r"custom_translation_table=gatewright\.onnx_translations"):
        torch.onnx.export(gw.GRU(3, 4).eval(), (torch.randn(5, 2, 3),), str(path), dynamo=True)
    assert not path.exists()


def test_what_would_fix_the_time_is_refused(tmp_path: Path) -> None:
    path, x = tmp_path / "model.onnx", torch.randn(2, 5, 3)
    layer = gw.GRU(3, 4, 2, batch_first=True, dropout=0.5)
    with pytest.raises(BackendError, match=r"use gatewright\.export\(module, path, example="):
        torch.onnx.export(nn.Sequential(layer).eval(), (x,), str(path), dynamo=False)
    with pytest.raises(BackendError, match=r"copy of the cell for each step"):
        # A batch of one sequence is not a single step.
        torch.onnx.export(nn.Sequential(layer), (x[:1],), str(path), dynamo=False)
    with pytest.raises(BackendError, match=r"call \.eval\(\) first"):
        torch.jit.trace(layer.train(), (x,))
    with pytest.raises(BackendError, match=r"call \.eval\(\) first"):
        torch.export.export(layer, (x,))
    packed = pack_sequence([x[0], x[1, :3]])
    with pytest.raises(BackendError, match="lengths= as a tensor"):
        torch.jit.trace(lambda event: layer.eval()(packed._replace(data=event))[0].data, packed[0])
    assert not path.exists()


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (nn.Linear(2, 3), None, r"a Linear cannot be exported to ONNX; pass example="),
        (nn.Linear(2, 3), "x", r"example is a str; expected the arguments of a call"),
        (gw.GRU(3, 4), torch.zeros(1, 2, 3), r"shape \(1, 2, 3\), and torch fixes an axis"),
        (
            gw.GRU(3, 4).double(),
            torch.zeros(4, 2, 3).double(),
            r"computes in double; .*\.float\(\)",
        ),
        (gw.GRU(3, 4), torch.zeros(4, 2, 5), r"input has 5 values a step; expected"),
    ],
)
def test_what_cannot_go_out_is_refused(
    module: nn.Module, example: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(gw.GatewrightError, match=message):
        gw.export(module, tmp_path / "model.onnx", example=example)
    assert not list(tmp_path.iterdir())


def test_an_example_is_for_onnx_and_for_modules_only(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"example is for \.onnx"):
        gw.export(gw.GRU(3, 4), tmp_path / "layer.c", example=torch.zeros(2, 2, 3))
    with pytest.raises(ArgumentError, match="streaming is not for the ONNX model of a Linear"):
        example = torch.zeros(2, 2)
        gw.export(nn.Linear(2, 3), tmp_path / "m.onnx", example=example, streaming=True)
