"""The peers that a cell is compared with, each with the same weights as ours."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.bench.cases import DROP_INS, Case
from gatewright.bench.contender import Contender, of_layer, of_torch
from gatewright.bench.jax_peer import in_jax
from gatewright.bench.renamed_lstm import OUR_NAMES, Notebook
from gatewright.bench.torch_loop import TorchLoop
from gatewright.cells.gru import GRU
from gatewright.exports.onnx import layer_model, why_no_node
from gatewright.exports.source import write_loop
from gatewright.layers.recurrent import Recurrent


@dataclass(frozen=True)
class Peer:
    """A library or a way of writing a cell that ours is compared with.

    Attributes:
        about: A description, for the foot of the table.
        why_not: The reason why it has no such case, or None.
        make: The case as it computes it.
        package: A package that has to be installed for it; empty where torch is enough.
    """

    about: str
    why_not: Callable[[Case], str | None]
    make: Callable[[Case], Contender]
    package: str = ""


def absent(peer: Peer) -> str | None:
    """Return the reason why a peer cannot run here, or None."""
    try:
        # Each package by name, since tests/test_imports.py allows no computed import.
        if peer.package == "jax":
            import jax  # noqa: F401
        elif peer.package == "onnxruntime":
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
        elif peer.package == "torchrecurrent":
            import torchrecurrent  # noqa: F401
    except ImportError:
        return f"{peer.package} is not installed: pip install 'gatewright[bench]'"
    return None


BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "elman_rnn": nn.RNN,
}


def _no_built_in(case: Case) -> str | None:
    if case.name not in BUILT_IN:
        return "torch.nn has no such layer"
    cell = case.layer.cell
    before = isinstance(cell, GRU) and cell.reset == "before"
    return "torch.nn.GRU resets after the product" if before else None


def _built_in(case: Case) -> Contender:
    _, _, i, h = case.size
    peer = BUILT_IN[case.name](i, h).to(case.gradient.dtype)
    peer.load_state_dict(case.layer.state_dict())
    return of_layer(case, peer)


def _loop(careful: bool) -> Callable[[Case], Contender]:
    def make(case: Case) -> Contender:
        layer = case.layer
        source = write_loop(layer.graph, layer.sizes(0), careful=careful)
        loop = TorchLoop(source, case.weights)

        def forward(inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Any]:
            output, last = loop(inputs, [state[0] for state in states])
            return output, last

        return of_torch(case, loop, forward)

    return make


#: Layers of torchrecurrent that are the same cell: its name there; for each of its tensors the
#: paths of ours that are stacked in it; its options. Tensors that are not named stay zero (it has
#: a second bias). A minus negates a gate: theirs is the share of the new value, ours of the old.
RECURRENT: dict[str, tuple[str, dict[str, list[str]], dict[str, str]]] = {
    "peephole_lstm": (
        "PeepholeLSTM",
        {
            "weight_ih": [f"{gate}.x.weight" for gate in "ifgo"],
            "weight_hh": [f"{gate}.h.weight" for gate in "ifgo"],
            "weight_ph": [f"{gate}.c*.weight" for gate in "ifo"],
            "bias_ih": [f"{gate}.x.bias" for gate in "ifgo"],
        },
        {},
    ),
    "mgu": (
        "MGU",
        {
            "weight_ih": ["-f.x.weight", "n.x.weight"],
            "weight_hh": ["-f.h.weight", "n.h.weight"],
            "bias_ih": ["-f.x.bias", "n.x.bias"],
        },
        {},
    ),
    "mut3": (
        "MUT3",
        {
            "weight_ih": [f"{gate}.x.weight" for gate in ("-z", "r", "n")],
            "weight_hh": [f"{gate}.h.weight" for gate in ("-z", "r", "n")],
            "bias_ih": [f"{gate}.x.bias" for gate in ("-z", "r", "n")],
        },
        {},
    ),
    "ind_rnn": (
        "IndRNN",
        {"weight_ih": ["h.x.weight"], "vector_u": ["h.h*.weight"], "bias_ih": ["h.x.bias"]},
        {"nonlinearity": "relu"},
    ),
}


def _no_recurrent(case: Case) -> str | None:
    return None if case.name in RECURRENT else "no layer of torchrecurrent is known to be the same"


def _recurrent(case: Case) -> Contender:
    import torchrecurrent

    _, _, i, h = case.size
    name, tensors, options = RECURRENT[case.name]
    layer = getattr(torchrecurrent, name)(i, h, **options)
    with torch.no_grad():
        for key, parameter in layer.cells[0].named_parameters():
            parameter.zero_()
            if key in tensors:
                parameter.copy_(torch.cat([_signed(path, case.weights) for path in tensors[key]]))
    return of_layer(case, layer)


def _signed(path: str, weights: Mapping[str, Tensor]) -> Tensor:
    return -weights[path[1:]] if path.startswith("-") else weights[path]


def _no_onnx(case: Case) -> str | None:
    if case.training:
        return "ONNX Runtime's package does not train"
    return why_no_node(case.layer.graph)


def _onnx(case: Case) -> Contender:
    session = onnx_session(layer_model(case.layer))
    states = {f"{name}_in": state for name, state in case.states.items()}
    tensors = {"x": case.inputs["x"], **states}
    feeds = {name: tensor.numpy() for name, tensor in tensors.items()}

    def run() -> Any:
        return session.run(None, feeds)

    def values() -> dict[str, Any]:
        return dict(zip(["output", *(f"state {name}" for name in case.states)], run(), strict=True))

    return Contender(run, values)


def onnx_session(model: Any) -> Any:
    """A session with as many threads as torch has, which sleep while it does not run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Without it they would go on spinning while the next run is timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    text = model.SerializeToString()
    return onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])


def _no_retyped(case: Case) -> str | None:
    return None if case.name == "lstm" else "only the LSTM was written again"


def _retyped(case: Case) -> Contender:
    _, _, i, h = case.size
    layer = Recurrent(Notebook(), i, h, backend=case.layer.backend).to(case.gradient.dtype)
    with torch.no_grad():
        for product, sources in layer.pairs(0, False).items():
            for source, (weight, bias) in sources.items():
                path = f"{OUR_NAMES[product]}.{OUR_NAMES[source]}"
                weight.copy_(case.weights[f"{path}.weight"])
                if bias is not None:
                    bias.copy_(case.weights[f"{path}.bias"])
    return of_layer(case, layer)


def _no_higher(case: Case) -> str | None:
    return "it is in float32 itself" if case.gradient.dtype == torch.float32 else None


def _in_float32(case: Case) -> Contender:
    high = replace(
        case,
        layer=copy.deepcopy(case.layer).float(),
        inputs={name: _as_float32(x) for name, x in case.inputs.items()},
        states={name: _as_float32(x) for name, x in case.states.items()},
        gradient=case.gradient.float(),
    )
    return of_layer(high, high.layer)


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.detach().float().requires_grad_(tensor.requires_grad)


def float32_only(why_not: Callable[[Case], str | None]) -> Callable[[Case], str | None]:
    """The reason why a peer that computes in float32 has no such case, or None."""

    def reason(case: Case) -> str | None:
        if case.gradient.dtype != torch.float32:
            return "it is measured in float32"
        return why_not(case)

    return reason


#: Name to peer, in the order of the table.
PEERS: dict[str, Peer] = {
    "torch": Peer("torch.nn's layer", _no_built_in, _built_in),
    "loop": Peer(
        "a Python loop written with care: one matrix for all gates, the input's product before "
        "the loop",
        lambda case: None,
        _loop(True),
    ),
    "plain": Peer(
        "a Python loop of the equations, a product for each gate and source",
        lambda case: None,
        _loop(False),
    ),
    "torchrecurrent": Peer(
        "torchrecurrent's layer",
        float32_only(_no_recurrent),
        _recurrent,
        package="torchrecurrent",
    ),
    "onnxruntime": Peer(
        "ONNX Runtime, inference", float32_only(_no_onnx), _onnx, package="onnxruntime"
    ),
    "jax": Peer("JAX's scan, jitted", float32_only(lambda case: None), in_jax, package="jax"),
    "float32": Peer("our own layer in float32", _no_higher, _in_float32),
    "retyped": Peer("our own LSTM, written again with other names", _no_retyped, _retyped),
}

assert set(BUILT_IN) <= set(DROP_INS)
