"""`gw.convert` of ONNX files: ONNX's own cases, options as ONNX Runtime has them, real exports."""

from __future__ import annotations

import json
import random
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import gatewright as gw
from example_count import example_count
from gatewright.deploy.incoming.onnx_constants import OnnxConstants
from gatewright.deploy.incoming.onnx_file import _NodeReader
from gatewright.deploy.incoming.reverse_layer import ReverseLayer
from gatewright.errors import ArgumentError, GatewrightError, ModelError, SizeError
from tolerances import close

pytest.importorskip("onnx", reason="the cases come with the package onnx (extra `test`)")

from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.case import node as node_cases
from onnx.backend.test.case.node import gru, lstm, rnn

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

Array = NDArray[Any]

STORED = Path(__file__).parent / "stored" / "onnx"
#: The modules whose import makes ONNX's cases; importing all modules would take seconds.
SOURCES = (gru, lstm, rnn)
#: Blocks of rows in W and R, one a gate.
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
CASES = {
    case.name: case
    for case in node_cases._NodeTestCases
    if case.model.graph.node[0].op_type in GATES
}
T, B, I, H = 6, 2, 3, 4


def converted(model: ModelProto, folder: Path) -> Any:
    path = folder / "peer.onnx"
    path.write_bytes(model.SerializeToString())
    return gw.convert(path)


def results(layer: Any, x: Any, states: Sequence[Any] = (), lengths: Any = None) -> list[Tensor]:
    """The output and the last states of a layer, in the shapes of ONNX's nodes."""
    inner = layer.layer if isinstance(layer, ReverseLayer) else layer
    inner.backend = "reference"  # a kernel for every option would take seconds
    hx = tuple(map(torch.as_tensor, states))
    with torch.no_grad():
        output, after = layer(
            torch.as_tensor(x), (hx if len(hx) > 1 else hx[0]) if hx else None, lengths=lengths
        )
    output = output.unflatten(-1, (inner.directions, -1))
    after = [after] if isinstance(after, Tensor) else list(after)
    if inner.batch_first:
        return [output, *(state.transpose(0, 1) for state in after)]
    return [output.transpose(1, 2), *after]


def random_weights(kind: str, directions: int, dtype: Any = np.float32) -> dict[str, Array]:
    draw, rows = np.random.default_rng(0), GATES[kind] * H
    shapes = {"W": (rows, I), "R": (rows, H), "B": (2 * rows,)}
    return {
        role: draw.normal(size=(directions, *shape)).astype(dtype) for role, shape in shapes.items()
    }


def node_model(
    kind: str,
    *,
    weights: dict[str, Array] | None = None,
    inputs: dict[str, Any] | None = None,
    before: Sequence[Any] = (),
    dtype: Any = np.float32,
    **attributes: Any,
) -> ModelProto:
    """A model of one node with random weights.

    Args:
        weights: Replaces W, R, B; a P may be added.
        inputs: Further inputs by role: an array, which is stored, or the name of a value.
        before: Nodes that run before it.
    """
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    stored: dict[str, Any] = random_weights(kind, directions, dtype) if weights is None else weights
    stored = stored | (inputs or {})
    roles = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    names = [(stored[r] if isinstance(stored.get(r), str) else r) for r in roles]
    names = [n if r == "X" or r in stored else "" for n, r in zip(names, roles, strict=True)]
    names = names if kind == "LSTM" else names[:6]
    outputs = ["Y", "Y_h", *(["Y_c"] if kind == "LSTM" else [])]
    node = helper.make_node(kind, names, outputs, name="peer", hidden_size=H, **attributes)
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [*before, node],
        "peer",
        [helper.make_tensor_value_info("X", number, ["T", "B", I])],
        [helper.make_tensor_value_info(text, number, None) for text in outputs],
        [
            numpy_helper.from_array(array, role)
            for role, array in stored.items()
            if not isinstance(array, str)
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def events(dtype: Any = np.float32) -> Array:
    return 2 * np.random.default_rng(1).normal(size=(T, B, I)).astype(dtype)


# ONNX's own cases, whose weights become constants.
def test_the_cases_are_there():
    assert all(source.__file__ for source in SOURCES) and len(CASES) >= 18
    kinds = [case.model.graph.node[0].op_type for case in CASES.values()]
    assert {kind: kinds.count(kind) for kind in GATES} == {"RNN": 6, "LSTM": 6, "GRU": 6}


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_onnx(name: str, tmp_path: Path):
    (node,) = CASES[name].model.graph.node
    inputs, expected = CASES[name].data_sets[0]
    values = dict(zip(filter(None, node.input), inputs, strict=True))
    model = ModelProto()
    model.CopyFrom(CASES[name].model)
    for role in "WRBP":
        if role in values:
            model.graph.initializer.append(numpy_helper.from_array(values.pop(role), role))
    (layer,) = converted(model, tmp_path).values()
    states = [values[role] for role in ("initial_h", "initial_c") if role in values]
    lengths = values.get("sequence_lens")
    lengths = None if lengths is None else torch.tensor(lengths)
    own = results(layer, values["X"], states, lengths)
    pairs = [(text, value) for text, value in zip(node.output, own, strict=False) if text]
    assert len(pairs) == len(expected)
    for (text, value), reference in zip(pairs, expected, strict=True):
        close(value, torch.tensor(reference).to(value.dtype), f"{name} {text}")


# Options as ONNX Runtime has them.
ACTIVATIONS = {
    "Affine": {"activation_alpha": [0.4], "activation_beta": [0.3]},
    "Relu": {},
    "LeakyRelu": {},
    "ThresholdedRelu": {"activation_alpha": [0.4]},
    "Tanh": {},
    "ScaledTanh": {"activation_alpha": [0.4], "activation_beta": [0.3]},
    "Sigmoid": {},
    "HardSigmoid": {},
    "Elu": {"activation_alpha": [1.7]},
    "Softsign": {},
    "Softplus": {},
}
SEVERAL = ["HardSigmoid", "LeakyRelu", "ScaledTanh"]
NUMBERS = {"activation_alpha": [0.3, 0.2, 0.7], "activation_beta": [0.4, 0.6]}
P = np.random.default_rng(2).normal(size=(1, 3 * H)).astype(np.float32)
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: ("RNN", {"activations": [name], **numbers}) for name, numbers in ACTIVATIONS.items()},
    "clip": ("RNN", {"clip": 0.3}),
    "both directions": ("RNN", {"direction": "bidirectional", "activations": ["Relu", "Relu"]}),
    "reverse": ("LSTM", {"direction": "reverse"}),
    "coupled": ("LSTM", {"input_forget": 1}),
    "coupled, peepholes, clip": ("LSTM", {"input_forget": 1, "inputs": {"P": P}, "clip": 0.7}),
    "three activations": ("LSTM", {"activations": SEVERAL, **NUMBERS}),
    "reset after": ("GRU", {"linear_before_reset": 1}),
    "reset after, clip": ("GRU", {"linear_before_reset": 1, "clip": 0.3}),
    "reset before": ("GRU", {"activations": ["HardSigmoid", "Softsign"]}),
}


@pytest.mark.skipif(onnxruntime is None, reason="ONNX Runtime is not installed (extra `test`)")
@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_those_of_onnx_runtime(name: str, tmp_path: Path):
    kind, options = OPTIONS[name]
    model = node_model(kind, **options)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = session.run(None, {"X": events()})
    layer = converted(model, tmp_path)["peer"]
    close(results(layer, events()), [torch.tensor(value) for value in expected], name)


def test_an_unusual_cell_runs_on_the_kernels_and_is_saved(tmp_path: Path):
    kind, options = OPTIONS["coupled, peepholes, clip"]
    layer = converted(node_model(kind, **options), tmp_path)["peer"]
    x = torch.tensor(events())
    assert "llvm" in layer.explain(x)
    output, _ = layer(x)
    close(output, results(layer, x)[0].squeeze(1), "kernels")
    gw.save(layer, tmp_path / "saved")
    close(gw.load(tmp_path / "saved")(x)[0], output, "saved")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_numbers_keep_their_type(dtype: Any, tmp_path: Path):
    layer = converted(node_model("GRU", dtype=dtype), tmp_path)["peer"]
    assert layer.weight_ih_l0.dtype == getattr(torch, np.dtype(dtype).name)


def test_equations_of_torch_become_drop_ins(tmp_path: Path):
    zeros = {"P": np.zeros((1, 3 * H), np.float32)}
    usual = {"activations": ["Sigmoid", "Tanh", "tanh"]}
    assert type(converted(node_model("LSTM", inputs=zeros, **usual), tmp_path)["peer"]) is gw.LSTM
    assert type(converted(node_model("LSTM", inputs={"P": P}), tmp_path)["peer"]) is gw.PeepholeLSTM
    assert converted(node_model("GRU"), tmp_path)["peer"].reset == "before"
    relu = converted(node_model("RNN", activations=["Relu"]), tmp_path)["peer"]
    assert type(relu) is gw.RNN and relu.nonlinearity == "relu"


# Reverse layers.
def test_a_reverse_layer_respects_lengths_and_traces(tmp_path: Path):
    reverse = converted(node_model("LSTM", direction="reverse"), tmp_path)["peer"]
    x = torch.tensor(events())
    lengths = torch.tensor([T, 2])
    output, (h, _) = reverse(x, lengths=lengths)
    for row, steps in enumerate(lengths):
        alone, (last, _) = reverse(x[:steps, row : row + 1])
        close(output[:steps, row : row + 1], alone, "output")
        close(h[:, row : row + 1], last, "state")
        close(alone, reverse.layer(x[:steps, row : row + 1].flip(0))[0].flip(0), "flipped")
    assert not output[2:, 1].any()
    close(reverse.trace(x, lengths=lengths)["h"], output, "trace")
    close(reverse(x[:, 1], lengths=[2])[0], output[:, 1], "without a batch")
    reverse.layer.batch_first = True
    close(reverse(x.transpose(0, 1), lengths=lengths)[0], output.transpose(0, 1), "batch first")
    with pytest.raises(SizeError, match="lengths go from 9 to 9"):
        reverse(x, lengths=[9] * T)
    with pytest.raises(ArgumentError, match="takes a tensor, with `lengths`"):
        reverse(nn.utils.rnn.pack_sequence([x[:, 0]]))


# Constants: stored, computed, in other files.
def test_weights_may_be_constants_that_nodes_compute(tmp_path: Path):
    weights = random_weights("LSTM", 1)
    expected = converted(node_model("LSTM"), tmp_path)["peer"].state_dict()
    halves = np.split(weights["W"][0].T, 2, axis=1)
    scale = np.float32(0.03)
    whole = np.round(weights["R"] / scale).astype(np.int8)
    before = [
        helper.make_node("Constant", [], ["left"], value=numpy_helper.from_array(halves[0])),
        helper.make_node("Concat", ["left", "right"], ["joined"], axis=1),
        helper.make_node("Transpose", ["joined"], ["turned"]),
        helper.make_node("Unsqueeze", ["turned", "axis"], ["w"]),
        helper.make_node("DequantizeLinear", ["whole", "scale"], ["r"]),
        helper.make_node("Split", ["biases"], ["b", "b_unused"], axis=0),
    ]
    model = node_model("LSTM", weights={"W": "w", "R": "r", "B": "b"}, before=before)
    stored = {
        "right": halves[1],
        "axis": np.array([0]),
        "whole": whole,
        "scale": scale,
        "biases": np.concatenate([weights["B"], weights["B"] + 1]),
    }
    for name, array in stored.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    actual = converted(model, tmp_path)["peer"].state_dict()
    assert list(actual) == list(expected)
    for name, value in actual.items():
        difference = (value - expected[name]).abs().max()
        assert difference <= (0.0151 if name == "weight_hh_l0" else 0), name


def with_outside(folder: Path, location: str, **changes: Any) -> ModelProto:
    """A model whose W is in another file."""
    weights = random_weights("RNN", 1)
    model = node_model("RNN")
    (w,) = [tensor for tensor in model.graph.initializer if tensor.name == "W"]
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": 8, "length": weights["W"].nbytes} | changes
    for key, value in entries.items():
        w.external_data.add(key=key, value=str(value))
    target = folder / location
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(bytes(8) + weights["W"].tobytes())
    return model


def test_weights_in_a_file_next_to_the_model(tmp_path: Path):
    model = with_outside(tmp_path, "weights/w.bin")
    expected = converted(node_model("RNN"), tmp_path)["peer"].weight_ih_l0
    assert torch.equal(converted(model, tmp_path)["peer"].weight_ih_l0, expected)


def test_files_outside_of_the_folder_are_not_read(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    model = with_outside(folder, "../outside.bin")
    with pytest.raises(ModelError, match=r"outside.bin, outside of the model's folder"):
        converted(model, folder)
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    link = with_outside(folder, "link.bin")
    with pytest.raises(ModelError, match=r"link.bin, outside of the model's folder"):
        converted(link, folder)
    for changes in ({"offset": 9}, {"length": 7}, {"offset": -1}, {"offset": "x"}):
        with pytest.raises(ModelError, match="damaged"):
            converted(with_outside(folder, "w.bin", **changes), folder)
    missing = with_outside(folder, "w.bin")
    (folder / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"the numbers of W cannot be read"):
        converted(missing, folder)


def test_a_chain_that_grows_without_end_is_refused(tmp_path: Path):
    before = [
        helper.make_node("Concat", [first, first], [second], axis=0)
        for first, second in pairwise(["W0", *(f"w{n}" for n in range(60))])
    ]
    model = node_model(
        "RNN", weights={"W": "w59", "R": np.ones((1, H, H), np.float32)}, before=before
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, H, I), np.float32), "W0"))
    with pytest.raises(ModelError, match="take too much memory"):
        converted(model, tmp_path)
    # The same chain as a start: zeros are told without computing them.
    zeros = np.zeros((1, H), np.float32)
    before[0].input[:] = ["zeros", "zeros"]
    model = node_model("RNN", inputs={"initial_h": "grown"}, before=[*before, repeated("w59")])
    model.graph.initializer.append(numpy_helper.from_array(zeros, "zeros"))
    with pytest.raises(ModelError, match="take too much memory"):
        converted(model, tmp_path)


def computed_w(*before: Any, **stored: Array) -> ModelProto:
    """A model whose W is the result of nodes."""
    weights = {"W": "made", "R": np.ones((1, H, H), np.float32)}
    model = node_model("RNN", weights=weights, before=before)
    for name, array in stored.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


BOMBS: dict[str, Callable[[], ModelProto]] = {
    "an operand that is repeated": lambda: computed_w(
        helper.make_node("Concat", ["W0"] * 2000, ["made"], axis=0), W0=np.ones((1, 64, 256), "f4")
    ),
    "operands of two types": lambda: computed_w(
        helper.make_node("Concat", [*["W0"] * 600, "W1"], ["made"], axis=0),
        W0=np.ones((65536, 1), "i1"),
        W1=np.ones((1, 1), "f8"),
    ),
    "a sum of a row and a column": lambda: computed_w(
        helper.make_node("Add", ["W0", "W1"], ["made"]),
        W0=np.ones((1, 9000), "f4"),
        W1=np.ones((9000, 1), "f4"),
    ),
    "a scale for each place of an axis of one": lambda: computed_w(
        helper.make_node("DequantizeLinear", ["W0", "W1"], ["made"], axis=1),
        W0=np.ones((9000, 1), "i1"),
        W1=np.ones(9000, "f4"),
    ),
    "a scale for blocks": lambda: changed_opset(
        computed_w(
            helper.make_node("DequantizeLinear", ["W0", "W1"], ["made"], axis=1, block_size=10**7),
            W0=np.ones((2, 2), "i1"),
            W1=np.ones((2, 1), "f4"),
        )
    ),
}


def changed_opset(model: ModelProto) -> ModelProto:
    """The same model with version 21 of the operators, the first that has blocks."""
    model.opset_import[0].version = 21
    return model


@pytest.mark.parametrize("name", BOMBS)
def test_a_result_that_is_too_large_is_not_computed(name: str, tmp_path: Path):
    with pytest.raises(ModelError, match="take too much memory"):
        converted(BOMBS[name](), tmp_path)


def test_all_graphs_of_a_file_have_one_budget():
    model = computed_w(W0=np.ones((16384, 1), np.float32))
    node = helper.make_node("Concat", ["W0"] * 32, ["made"], axis=0)
    branch = helper.make_graph([node], "branch", [], [])
    outer = OnnxConstants(model.graph, Path("peer.onnx"), 17)
    inner = [OnnxConstants(branch, outer.file, outer.opset, outer) for _ in range(40)]
    with pytest.raises(ModelError, match="take too much memory"):
        for constants in inner:
            constants.value("made")  # 2 MB


def test_texts_are_no_numbers(tmp_path: Path):
    """NumPy pads all texts to the longest, so a few bytes of a file could take gigabytes."""
    texts = helper.make_tensor("W0", TensorProto.STRING, [3, 1], [b"x" * 9, b"", b""])
    model = computed_w(helper.make_node("Identity", ["W0"], ["made"]))
    model.graph.initializer.append(texts)
    with pytest.raises(ModelError, match="the tensor W0 has texts; expected numbers"):
        converted(model, tmp_path)
    cast = helper.make_node("Cast", ["W0"], ["made"], to=TensorProto.STRING)
    with pytest.raises(ModelError, match="expected numbers"):
        converted(computed_w(cast, W0=np.ones((2, 2), "f4")), tmp_path)
    constant = helper.make_node("Constant", [], ["made"], value_strings=[b"x" * 9, b""])
    with pytest.raises(ArgumentError, match="expected a constant"):
        converted(computed_w(constant), tmp_path)


def test_a_file_that_many_tensors_share_is_read_in_bounds(tmp_path: Path):
    (tmp_path / "w.bin").write_bytes(bytes(1 << 20))
    names = [f"w{number}" for number in range(140)]
    model = computed_w(helper.make_node("Concat", names, ["made"], axis=0))
    for name in names:
        tensor = model.graph.initializer.add(name=name, dims=[1 << 18, 1], data_type=1)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="w.bin")
    with pytest.raises(ModelError, match="take too much memory"):
        converted(model, tmp_path)


def test_rows_of_a_start_are_compared_before_they_are_spread():
    """A start (1, rows, 1), spread over the units, would take 400 MB here."""
    graph = node_model("RNN").graph
    reader = _NodeReader(graph.node[0], "peer", OnnxConstants(graph, Path("peer.onnx"), 17))
    rows = np.ones((1, 20000, 1), np.float32)
    tracemalloc.start()
    start = reader._start("initial_h", rows, 20000)
    rows[0, -1] = 0
    assert reader._start("initial_h", rows, 20000) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert start is not None and start.shape == (1, 20000) and peak < 1 << 20


def repeated(source: str) -> Any:
    """A node that repeats a start, once for each row of a batch that is known at run time."""
    return helper.make_node("Expand", [source, "shape"], ["grown"])


# Starts and lengths.
def with_start(start: Array | float, *, expand: bool = True) -> ModelProto:
    array = np.asarray(start, np.float32)
    if not expand:
        return node_model("GRU", inputs={"initial_h": array})
    before = [helper.make_node("Shape", ["X"], ["shape"]), repeated("start")]
    model = node_model("GRU", inputs={"initial_h": "grown"}, before=before)
    model.graph.initializer.append(numpy_helper.from_array(array, "start"))
    return model


def test_a_constant_start_belongs_to_the_layer(tmp_path: Path):
    start = np.random.default_rng(3).normal(size=(1, 1, H)).astype(np.float32)
    plain = converted(node_model("GRU"), tmp_path)["peer"]
    expected = results(plain, events(), [np.repeat(start, B, 1)])
    for model in (with_start(start), with_start(np.repeat(start, 3, 1), expand=False)):
        layers = converted(model, tmp_path)
        close(results(layers["peer"], events()), expected, "started")
        assert layers.notes["peer"] == ()


def test_a_start_of_zeros_is_the_layers_own(tmp_path: Path):
    for start in (0.0, np.zeros((1, 1, H))):
        layers = converted(with_start(start), tmp_path)
        assert type(layers["peer"]) is gw.GRU and layers.notes["peer"] == ()


def test_what_the_caller_has_to_pass_is_noted(tmp_path: Path):
    rows = np.arange(2 * H, dtype=np.float32).reshape(1, 2, H)
    lens = np.array([3, 2], np.int32)
    for inputs, note in (
        ({"initial_h": rows}, "h starts at the value 'initial_h' of the file: pass it as hx"),
        ({"initial_h": "encoder"}, "h starts at the value 'encoder' of the file"),
        ({"sequence_lens": lens}, "as 'sequence_lens' has, [3, 2]: pass lengths="),
        ({"sequence_lens": "steps"}, "as 'steps' has: pass lengths="),
    ):
        layers = converted(node_model("GRU", inputs=inputs), tmp_path)
        assert note in layers.notes["peer"][0] and note in repr(layers)


# Whole files.
@pytest.mark.parametrize("name", ["torch", "tf2onnx"])
def test_files_of_other_tools(name: str):
    record = json.loads((STORED / "expected.json").read_text())[name]
    layers = gw.convert(STORED / f"{name}.onnx")
    output = torch.tensor(record["x"]).transpose(0, 1)
    for layer in layers.values():
        output, _ = layer(output)
    close(output.transpose(0, 1), torch.tensor(record["y"]), name)
    kinds = {"torch": [gw.LSTM, gw.LSTM, gw.GRU], "tf2onnx": [gw.LSTM, gw.GRU]}
    assert [type(layer) for layer in layers.values()] == kinds[name]
    assert not any(layers.notes.values())
    assert any(part.endswith(" Transpose") for part in layers.left_out)


class Learned(nn.Module):
    """A GRU that starts at a learned state, and reads the output of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(I, H, bidirectional=True), nn.GRU(2 * H, H)
        self.start = nn.Parameter(torch.randn(1, 1, H))

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(self.lstm(x)[0], self.start.expand(-1, x.shape[1], -1).contiguous())[0]


def test_a_module_comes_back_from_torchs_exporter(tmp_path: Path):
    model, path = Learned().eval(), tmp_path / "peer.onnx"
    x = torch.tensor(events())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of the exporter that needs no compilation
        torch.onnx.export(
            model, (x,), path, dynamo=False, dynamic_axes={"x": {1: "B"}}, input_names=["x"]
        )
    layers = gw.convert(path)
    output = x
    for layer in layers.values():
        output, _ = layer(output)
    close(output, model(x), "output")
    assert list(layers) == ["/lstm/LSTM", "/gru/GRU"]


def test_our_own_export_comes_back(tmp_path: Path):
    layer = gw.PeepholeLSTM(I, H)
    gw.export(layer, tmp_path / "peer.onnx")
    (back,) = gw.convert(tmp_path / "peer.onnx").values()
    x = torch.tensor(events())
    close(back(x), layer(x), "again")


def test_nodes_in_inner_graphs_have_names_of_their_own(tmp_path: Path):
    model = node_model("RNN")
    node = model.graph.node[0]
    inner = [helper.make_graph([node], "inner", [], [])] * 2
    branch = helper.make_node(
        "If", ["flag"], ["z"], name="if", then_branch=inner[0], else_branch=inner[1]
    )
    del model.graph.node[:]
    model.graph.node.extend([branch, node, node, node, node])
    layers = converted(model, tmp_path)
    assert list(layers) == [
        "if/peer",
        "if/Y",
        *("peer", "Y", "Y_h", "RNN_0"),
    ] and layers.left_out == ("1 If",)
    assert torch.equal(layers["if/Y"].weight_hh_l0, layers["peer"].weight_hh_l0)


# Refusals.
def changed(change: Callable[[Any], Any], kind: str = "LSTM", **options: Any) -> ModelProto:
    model = node_model(kind, **options)
    change(model.graph)
    return model


def in_function(graph: Any) -> None:
    graph.node[0].CopyFrom(helper.make_node("Mine", ["X"], ["Y"], domain="mine"))


def shaped(**shapes: tuple[int, ...]) -> dict[str, Array]:
    weights = random_weights("LSTM", 1)
    return weights | {role: np.ones(shape, np.float32) for role, shape in shapes.items()}


UNSUPPORTED: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "no node": (lambda: changed(in_function), "holds no RNN, LSTM or GRU node; nothing else"),
    "activation": (
        lambda: node_model("RNN", activations=["Tahn"]),
        r"the node peer \(RNN\) has the activation 'Tahn'; did you mean Tanh",
    ),
    "no number": (
        lambda: node_model("RNN", activations=["Affine"]),
        "peer .*: the activation Affine has no activation_alpha",
    ),
    "two cells": (
        lambda: node_model("RNN", direction="bidirectional", activations=["Tanh", "Relu"]),
        "other activations in reverse",
    ),
    "attribute": (lambda: node_model("RNN", speed=1), "has the attribute speed"),
    "weights of an input": (
        lambda: node_model("RNN", weights={"W": "X", "R": np.ones((1, H, H), np.float32)}),
        "reads its weights W from 'X', an input of the graph",
    ),
}
DAMAGED: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "W": (lambda: node_model("LSTM", weights=shaped(W=(1, 15, 3))), r"W's shape is \(1, 15, 3\)"),
    "R": (lambda: node_model("LSTM", weights=shaped(R=(4,))), "damaged: R's shape"),
    "B": (lambda: node_model("LSTM", weights=shaped(B=(1, 16))), r"expected \(1, 32\)"),
    "empty": (lambda: node_model("LSTM", weights=shaped(W=(1, 16, 0))), "W's shape"),
    "directions": (lambda: node_model("LSTM", direction="sideways"), "direction is 'sideways'"),
    "type": (lambda: node_model("LSTM", clip="3"), "clip's type is 'STRING'; expected FLOAT"),
    "clip": (lambda: node_model("LSTM", clip=-1.0), "clip is -1.0; expected a number above 0"),
    "count": (lambda: node_model("LSTM", activations=["Tanh"]), "activations is a list of 1"),
    "hidden": (
        lambda: changed(lambda graph: setattr(graph.node[0].attribute[0], "i", 2**60)),
        "hidden_size is 1152921504606846976; expected 4, as R has",
    ),
    "no weights": (lambda: node_model("LSTM", weights={}), "it has no weights W"),
    "not a number": (
        lambda: node_model("LSTM", weights=shaped() | {"W": np.full((1, 16, 3), np.nan, "f4")}),
        "W is 'not finite'",
    ),
    "whole numbers": (
        lambda: node_model("LSTM", weights=shaped() | {"W": np.ones((1, 16, 3), "i4")}),
        "W's type is 'int32'",
    ),
    "a huge tensor": (
        lambda: changed(lambda graph: graph.initializer[0].dims.__setitem__(1, 2**50)),
        "the tensor W",
    ),
    "start": (lambda: with_start(np.ones((1, 2, 5)), expand=False), "initial_h's shape"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_converted_is_refused_by_name(name: str, tmp_path: Path):
    make, message = UNSUPPORTED[name]
    with pytest.raises(ArgumentError, match=message):
        converted(make(), tmp_path)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_nodes_are_refused(name: str, tmp_path: Path):
    make, message = DAMAGED[name]
    with pytest.raises(ModelError, match=message):
        converted(make(), tmp_path)


def test_near_misses_have_a_hint(tmp_path: Path):
    model = changed(in_function)
    node = node_model("LSTM").graph.node[0]
    body = helper.make_function("mine", "Mine", ["X"], ["Y"], [node], [helper.make_opsetid("", 17)])
    model.functions.append(body)
    with pytest.raises(ArgumentError, match="a recurrent node in its function Mine"):
        converted(model, tmp_path)
    gw.export(gw.Recurrent("mgu", I, H), tmp_path / "scan.onnx")
    with pytest.raises(ArgumentError, match="its Scan may be recurrences that were written out"):
        gw.convert(tmp_path / "scan.onnx")


def test_paths_are_checked(tmp_path: Path):
    (tmp_path / "text.onnx").write_text("nothing of the kind")
    with pytest.raises(ModelError, match="is damaged, or no ONNX file"):
        gw.convert(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match=r"empty.onnx is empty; expected a model"):
        gw.convert(tmp_path / "empty.onnx")
    for name, message in {
        "missing.onnx": "cannot read .*No such file",
        "model.pt": "expected .onnx or .keras: load it in torch, and give the module",
        "model.h5": "save it as a .keras file",
        "model.tflite": "convert it to ONNX with tf2onnx",
        "model.onx": r"did you mean .onnx\? expected .onnx or .keras",
    }.items():
        with pytest.raises(ArgumentError, match=message):
            gw.convert(tmp_path / name)
    with pytest.raises(ArgumentError, match="inplace is True, and a file is only read"):
        gw.convert(tmp_path / "text.onnx", inplace=True)  # type: ignore[call-overload]


def test_a_name_that_is_no_text_is_refused(tmp_path: Path):
    content = node_model("RNN").SerializeToString().replace(b"peer", b"p\xff\xffr")
    (tmp_path / "peer.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="the names of a node are no text"):
        gw.convert(tmp_path / "peer.onnx")


def test_damaged_files_raise_errors_of_ours(tmp_path: Path):
    content = node_model("LSTM", inputs={"P": P}).SerializeToString()
    draw, path = random.Random(0), tmp_path / "damaged.onnx"
    refused = 0
    for _ in range(example_count(150)):
        damaged = bytearray(content)
        for _ in range(draw.randrange(4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.choice([None, draw.randrange(len(damaged))])])
        try:
            gw.convert(path)
        except GatewrightError:
            refused += 1
    assert refused
