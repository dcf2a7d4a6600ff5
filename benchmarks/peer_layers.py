"""The peers of `benchmarks/peers.py`: the same layer, with the same weights, in other libraries.

Each peer has a function that makes a `Contender` of a `Case`. It imports its package inside, so
that every package is optional.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright.bench.cases import Case
from gatewright.bench.contender import Contender, of_layer, of_torch
from gatewright.bench.jax_peer import of_jax
from gatewright.bench.peers import BUILT_IN, PEERS, onnx_session
from gatewright.exports.onnx import layer_model

#: The largest difference of results where the peer rounds weights or products to 8 or 16 bits.
ROUNDED = 0.1


class DiagonalGRU(gw.Cell):
    """GRU of ParaRNN: each unit reads its own past only (Danieli et al. 2025, eq. 3.1a)."""

    def step(self, x: Any, h: Any) -> Any:
        z = gw.sigmoid(gw.linear(x) + gw.diagonal(h))
        r = gw.sigmoid(gw.linear(x) + gw.diagonal(h))
        n = gw.tanh(gw.linear(x) + gw.diagonal(h=r * h))
        return gw.state(h=h + z * (n - h))


#: Cells that are measured here and do not ship.
OWN_CELLS: dict[str, gw.Cell] = {"diagonal_gru": DiagonalGRU()}


@dataclass(frozen=True, kw_only=True)
class PeerLayer:
    """A peer.

    Attributes:
        about: What is called, for the reader of the table.
        make: The case as the peer computes it.
        packages: The distributions that it needs, by the name of the module to import.
        cells: The cells that it has.
        dtype: The number type of our layer that it is compared with.
        trains: Whether it computes gradients.
        tolerance: The largest difference of its results; None for that of `dtype`.
        environment: Variables that have to be set before anything is imported.
    """

    about: str
    make: Callable[[Case], Contender]
    packages: Mapping[str, str]
    cells: Sequence[str] = ("lstm", "gru")
    dtype: str = "float32"
    trains: bool = True
    tolerance: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def _numbers(tensor: Tensor) -> Any:
    """A tensor's numbers in float32."""
    return tensor.detach().float().numpy()


# torch.compile
def built_in(case: Case) -> nn.Module:
    """The layer of torch.nn with our weights."""
    _, _, i, h = case.size
    layer = BUILT_IN[case.name](i, h).to(case.gradient.dtype)
    layer.load_state_dict(case.layer.state_dict())
    return layer


def compiled_layer(case: Case) -> Contender:
    """`torch.compile` of the layer of torch.nn."""
    layer = built_in(case)
    layer.compile()
    return of_layer(case, layer)


def lstm_step(xw: Tensor, h: Tensor, c: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM; `xw` is the event's product with its matrix, and the bias."""
    i, f, g, o = (xw + h @ weight.t()).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(xw: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor]:
    """One step of a GRU."""
    r, z, n = xw.chunk(3, 1)
    hr, hz, hn = torch.addmm(bias, h, weight.t()).chunk(3, 1)
    z = torch.sigmoid(z + hz)
    return ((1 - z) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + z * h,)


def compiled_loop(case: Case) -> Contender:
    """A loop in Python over a compiled step, the input's product before the loop.

    The whole loop as one compiled function is no choice: 100 steps took 152 s to compile.
    """
    torch.compiler.reset()  # it gives up at the ninth form of a function
    layer = built_in(case)
    w, u, b, d = dict(layer.named_parameters()).values()  # in torch's order
    step = torch.compile(lstm_step if case.name == "lstm" else gru_step)

    def forward(inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Any]:
        bias = b + d if case.name == "lstm" else b
        constants = (u,) if case.name == "lstm" else (u, d)
        now = tuple(state[0] for state in states)
        outputs = []
        for xw in nn.functional.linear(inputs[0], w, bias).unbind(0):
            now = step(xw, *now, *constants)
            outputs.append(now[0])
        return torch.stack(outputs), now

    return of_torch(case, layer, forward)


# FlashRNN and ParaRNN
def flashrnn_vanilla(case: Case) -> Contender:
    """FlashRNN's backend in plain torch, the only one without a GPU."""
    from flashrnn import flashrnn

    layer = built_in(case)
    b, t, _, h = case.size
    gates = 4 if case.name == "lstm" else 3

    def forward(inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Any]:
        w, u, bias, recurrent_bias = layer.parameters()
        if case.name == "lstm":
            order = [0, 1, 2, 3]
            biases = (bias + recurrent_bias).view(4, 1, h)
            xw = nn.functional.linear(inputs[0], w)
        else:  # theirs has the gates n (recurrent), r, z, n (input), with a bias for each
            order = [2, 0, 1]
            r, z, n = bias.chunk(3)
            hr, hz, hn = recurrent_bias.chunk(3)
            biases = torch.stack([hn, r + hr, z + hz, n]).view(4, 1, h)
            xw = nn.functional.linear(inputs[0], w)
        xw = xw.view(t, b, gates, 1, h).transpose(0, 1)
        recurrent = u.view(gates, 1, h, h)[order]
        first = torch.stack([state[0].view(b, 1, 1, h) for state in states])
        outputs, last = flashrnn(
            xw,
            recurrent,
            biases,
            states=first,
            function=case.name,
            backend="vanilla",
            dtype="float32",
        )
        return outputs[0].view(b, t, h).transpose(0, 1), [s.reshape(b, h) for s in last]

    return of_torch(case, layer, forward)


def pararnn(case: Case) -> Contender:
    """ParaRNN's GRU with diagonal recurrences, as its module runs it by default.

    It trains by Newton's method over all steps at once, and infers by a loop, in plain torch: its
    kernels are for GPUs.
    """
    from pararnn import ParaGRU, ParaRNN

    _, _, i, h = case.size
    cell = ParaGRU(i, h, max_recurrent_norm=None)
    weights = case.weights
    with torch.no_grad():
        cell.W_x.weight.copy_(torch.cat([weights[f"{gate}.x.weight"] for gate in "zrn"]))
        cell.W_x.bias.copy_(torch.cat([weights[f"{gate}.x.bias"] for gate in "zrn"]))
        for gate in "zrn":
            getattr(cell, f"a_{gate}").copy_(weights[f"{gate}.h*.weight"])
    module = ParaRNN(cell, batch_first=False, return_hidden=True)
    module.train(case.training)

    def forward(inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Any]:
        output, last = module(inputs[0], states[0][0])
        return output, last

    return of_torch(case, module, forward)


# ONNX Runtime and OpenVINO
def _feeds(case: Case) -> dict[str, Any]:
    """The inputs of an ONNX model of the layer, in float32."""
    states = {f"{name}_in": _numbers(state) for name, state in case.states.items()}
    return {"x": _numbers(case.inputs["x"]), **states}


def _named(case: Case, results: Sequence[Any]) -> dict[str, Any]:
    names = ["output", *(f"state {name}" for name in case.states)]
    return {name: np.array(value) for name, value in zip(names, results, strict=True)}


def _float_model(case: Case) -> Any:
    """The ONNX model of the layer in float32, whatever the layer is in."""
    low = case.gradient.dtype
    try:
        return layer_model(case.layer.float())
    finally:
        case.layer.to(low)


def onnx_int8(case: Case) -> Contender:
    """ONNX Runtime on a model that its own tool has quantised: weights and products in int8."""
    return _of_session(case, int8_session(layer_model(case.layer)))


def int8_session(model: Any) -> Any:
    """A session of ONNX Runtime on a model, quantised dynamically.

    Raises:
        NotImplementedError: if the tool leaves the layer as it is.
    """
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        quantize_dynamic(source, target)
        quantised = onnx.load(target)
    kinds = {node.op_type for node in quantised.graph.node}
    if "DynamicQuantizeLSTM" not in kinds:
        raise NotImplementedError("its quantisation leaves this layer as it is, in float32")
    return onnx_session(quantised)


def onnx_bfloat16(case: Case) -> Contender:
    """ONNX Runtime on a model whose tensors are bfloat16."""
    import onnx

    model = _float_model(case)
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    for weight in graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            numbers = torch.from_numpy(onnx.numpy_helper.to_array(weight).copy()).bfloat16()
            weight.raw_data = numbers.view(torch.int16).numpy().tobytes()
            weight.data_type = onnx.TensorProto.BFLOAT16
    return _of_session(case, onnx_session(model))


def _of_session(case: Case, session: Any) -> Contender:
    feeds = _feeds(case)

    def run() -> Any:
        return session.run(None, feeds)

    return Contender(run, lambda: _named(case, run()))


def openvino_request(model: Any, shapes: Mapping[str, Sequence[int]], precision: str) -> Any:
    """A request of OpenVINO on as many threads as torch has.

    Args:
        shapes: Those of the inputs: with fixed ones it plans its memory beforehand.
        precision: "f32" or "bf16", of the products.
    """
    import openvino

    core = openvino.Core()
    network = core.read_model(model.SerializeToString())
    network.reshape({name: list(shape) for name, shape in shapes.items()})
    options = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(network, "CPU", options).create_infer_request()


def openvino_layer(precision: str) -> Callable[[Case], Contender]:
    """OpenVINO's LSTMSequence or GRUSequence, which it makes of the ONNX model."""

    def make(case: Case) -> Contender:
        feeds = _feeds(case)
        shapes = {name: value.shape for name, value in feeds.items()}
        request = openvino_request(_float_model(case), shapes, precision)

        def run() -> Any:
            return request.infer(feeds, share_inputs=True, share_outputs=True)

        return Contender(run, lambda: _named(case, list(run().values())))

    return make


# JAX
def _stacked(case: Case) -> tuple[Any, Any, Any, Any]:
    """W (gates × H, I), U (gates × H, H) and both biases, in torch's order, as NumPy arrays."""
    state = case.layer.state_dict()
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w, u, b, d = (state[name].numpy() for name in names)
    return w, u, b, d


def flax_layer(case: Case) -> Contender:
    """`flax.linen.RNN` over its OptimizedLSTMCell or GRUCell."""
    from flax import linen
    from jax import numpy as jnp

    w, u, b, d = (jnp.asarray(a) for a in _stacked(case))
    h = case.size[3]
    if case.name == "lstm":
        cell = linen.OptimizedLSTMCell(h)
        weights = {
            **{
                f"i{gate}": {"kernel": m.T} for gate, m in zip("ifgo", jnp.split(w, 4), strict=True)
            },
            **{
                f"h{gate}": {"kernel": m.T, "bias": bias}
                for gate, m, bias in zip("ifgo", jnp.split(u, 4), jnp.split(b + d, 4), strict=True)
            },
        }
    else:
        cell = linen.GRUCell(h)
        biases = [*jnp.split(b + d, 3)[:2], jnp.split(b, 3)[2]]
        weights = {
            **{
                f"i{gate}": {"kernel": m.T, "bias": bias}
                for gate, m, bias in zip("rzn", jnp.split(w, 3), biases, strict=True)
            },
            **{f"h{gate}": {"kernel": m.T} for gate, m in zip("rzn", jnp.split(u, 3), strict=True)},
        }
        weights["hn"]["bias"] = jnp.split(d, 3)[2]
    layer = linen.RNN(cell, time_major=True, return_carry=True)

    def forward(w: Any, inputs: Any, states: Any) -> Any:
        carry = tuple(reversed(states)) if len(states) > 1 else states[0]
        last, output = layer.apply({"params": {"cell": w}}, inputs[0], initial_carry=carry)
        return output, tuple(reversed(last)) if len(states) > 1 else (last,)

    return of_jax(case, forward, weights)


def equinox_layer(case: Case) -> Contender:
    """Equinox's LSTMCell or GRUCell, over the batch by `jax.vmap` and over time by `lax.scan`."""
    import equinox
    import jax
    from jax import numpy as jnp

    _, _, i, h = case.size
    make = equinox.nn.LSTMCell if case.name == "lstm" else equinox.nn.GRUCell
    w, u, b, d = (jnp.asarray(a) for a in _stacked(case))
    weights = {"weight_ih": w, "weight_hh": u, "bias": b + d}
    if case.name == "gru":
        weights["bias"] = jnp.concatenate([(b + d)[: 2 * h], b[2 * h :]])
        weights["bias_n"] = d[2 * h :]
    empty = make(i, h, key=jax.random.key(0))

    def forward(w: Any, inputs: Any, states: Any) -> Any:
        cell = equinox.tree_at(lambda c: [getattr(c, name) for name in w], empty, list(w.values()))

        def step(carry: Any, x: Any) -> Any:
            new = jax.vmap(cell)(x, carry)
            return new, new[0] if case.name == "lstm" else new

        start = tuple(states) if case.name == "lstm" else states[0]
        last, output = jax.lax.scan(step, start, inputs[0])
        return output, last if case.name == "lstm" else (last,)

    return of_jax(case, forward, weights)


# Keras
def _keras_layer(case: Case) -> tuple[Any, list[Any]]:
    """Keras' layer, and its weights: its gates are i, f, c, o and z, r, h."""
    import keras

    w, u, b, d = _stacked(case)
    _, _, i, h = case.size
    if case.name == "lstm":
        layer = keras.layers.LSTM(h, return_sequences=True, return_state=True)
        weights = [w.T, u.T, b + d]
    else:
        layer = keras.layers.GRU(h, return_sequences=True, return_state=True, reset_after=True)

        def swapped(a: Any) -> Any:
            r, z, n = np.split(a, 3)
            return np.concatenate([z, r, n])

        weights = [swapped(w).T, swapped(u).T, np.stack([swapped(b), swapped(d)])]
    layer.build((None, None, i))
    layer.set_weights(weights)
    return layer, weights


def keras_torch(case: Case) -> Contender:
    """Keras' layer on its torch backend."""
    layer, _ = _keras_layer(case)
    # Its biases are a matrix in the GRU; ours are not, and only matrices are compared.
    module = nn.ParameterList([layer.cell.kernel.value, layer.cell.recurrent_kernel.value])

    def forward(inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Any]:
        output, *last = layer(
            inputs[0].transpose(0, 1), initial_state=[state[0] for state in states]
        )
        return output.transpose(0, 1), last

    return of_torch(case, module, forward)


def keras_jax(case: Case) -> Contender:
    """Keras' layer on its JAX backend, jitted."""
    from jax import numpy as jnp

    layer, weights = _keras_layer(case)

    def forward(w: Any, inputs: Any, states: Any) -> Any:
        matrices, bias = w
        if case.name == "gru":
            bias = bias.reshape(2, -1)
        results, _ = layer.stateless_call(
            [*matrices, bias],
            [v.value for v in layer.non_trainable_variables],
            jnp.swapaxes(inputs[0], 0, 1),
            initial_state=list(states),
        )
        output, *last = results
        return jnp.swapaxes(output, 0, 1), tuple(last)

    *matrices, bias = (jnp.asarray(a) for a in weights)
    return of_jax(case, forward, (matrices, bias.reshape(-1)))


def jax_cudnn(case: Case) -> Contender:
    """`jax.experimental.rnn.lstm`, which JAX has for GPUs."""
    import jax
    from jax import numpy as jnp
    from jax.experimental import rnn

    b, t, i, h = case.size
    weights = rnn.init_lstm_weight(jax.random.key(0), i, h, 1, False)
    x = jnp.swapaxes(jnp.asarray(_numbers(case.inputs["x"])), 0, 1)
    states = [jnp.asarray(_numbers(state)) for state in case.states.values()]
    lengths = jnp.full((b,), t)

    def run() -> Any:
        call = jax.jit(rnn.lstm, static_argnums=(5, 6, 7, 8, 9))
        return jax.block_until_ready(call(x, *states, weights, lengths, i, h, 1, 0.0, False))

    return Contender(run, lambda: _named(case, run()))


ONNX = {"onnx": "onnx", "onnxruntime": "onnxruntime"}
JAX = {"jax": "jax"}
#: OpenVINO reports to its maker otherwise.
NO_REPORTS = {"OPENVINO_TELEMETRY": "0"}

#: The peers by name.
PEER_LAYERS: dict[str, PeerLayer] = {
    "torch": PeerLayer(about="torch.nn's layer", make=PEERS["torch"].make, packages={}),
    "torch, bfloat16": PeerLayer(
        about="torch.nn's layer in bfloat16, against ours in bfloat16",
        make=PEERS["torch"].make,
        packages={},
        dtype="bfloat16",
    ),
    "torch.compile, layer": PeerLayer(
        about="torch.compile of torch.nn's layer", make=compiled_layer, packages={}
    ),
    "torch.compile, loop": PeerLayer(
        about="a Python loop over a step that torch.compile compiled",
        make=compiled_loop,
        packages={},
    ),
    "onnxruntime": PeerLayer(
        about="ONNX Runtime", make=PEERS["onnxruntime"].make, packages=ONNX, trains=False
    ),
    "onnxruntime, int8": PeerLayer(
        about="ONNX Runtime after its own dynamic quantisation, against ours in float32",
        make=onnx_int8,
        packages=ONNX,
        trains=False,
        tolerance=ROUNDED,
    ),
    "onnxruntime, bfloat16": PeerLayer(
        about="ONNX Runtime on a model in bfloat16",
        make=onnx_bfloat16,
        packages=ONNX,
        trains=False,
        dtype="bfloat16",
        tolerance=ROUNDED,
    ),
    "openvino": PeerLayer(
        about="OpenVINO's LSTMSequence and GRUSequence",
        make=openvino_layer("f32"),
        packages={"openvino": "openvino", "onnx": "onnx"},
        trains=False,
        environment=NO_REPORTS,
    ),
    "openvino, bfloat16": PeerLayer(
        about="the same with products in bfloat16, against ours in bfloat16",
        make=openvino_layer("bf16"),
        packages={"openvino": "openvino", "onnx": "onnx"},
        trains=False,
        dtype="bfloat16",
        tolerance=ROUNDED,
        environment=NO_REPORTS,
    ),
    "jax": PeerLayer(
        about="JAX's lax.scan, jitted, one matrix for all gates",
        make=PEERS["jax"].make,
        packages=JAX,
    ),
    "flax": PeerLayer(
        about="flax.linen.RNN, jitted", make=flax_layer, packages={**JAX, "flax": "flax"}
    ),
    "equinox": PeerLayer(
        about="Equinox's cells in lax.scan, jitted",
        make=equinox_layer,
        packages={**JAX, "equinox": "equinox"},
    ),
    "jax.experimental.rnn": PeerLayer(
        about="jax.experimental.rnn.lstm",
        make=jax_cudnn,
        packages=JAX,
        cells=("lstm",),
        trains=False,
    ),
    "keras, torch": PeerLayer(
        about="Keras 3's layer on torch",
        make=keras_torch,
        packages={"keras": "keras"},
        environment={"KERAS_BACKEND": "torch"},
    ),
    "keras, jax": PeerLayer(
        about="Keras 3's layer on JAX, jitted",
        make=keras_jax,
        packages={"keras": "keras", **JAX},
        environment={"KERAS_BACKEND": "jax"},
    ),
    "torchrecurrent": PeerLayer(
        about="torchrecurrent's layer",
        make=PEERS["torchrecurrent"].make,
        packages={"torchrecurrent": "torchrecurrent"},
        cells=("peephole_lstm", "mgu"),
    ),
    "pararnn-torch": PeerLayer(
        about="ParaRNN's GRU with diagonal recurrences: Newton's method, or a loop, in plain torch",
        make=pararnn,
        packages={"pararnn": "pararnn-torch"},
        cells=("diagonal_gru",),
    ),
    "flashrnn": PeerLayer(
        about="FlashRNN's backend in plain torch, as its kernels are for GPUs",
        make=flashrnn_vanilla,
        packages={"flashrnn": "flashrnn", "einops": "einops"},
    ),
}


def prepare(peer: PeerLayer) -> None:
    """Set a peer's environment variables, before its packages are imported."""
    os.environ.update({"JAX_PLATFORMS": "cpu", **peer.environment})
