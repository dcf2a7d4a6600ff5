"""Code written for `nn.LSTM`, `nn.GRU` and `nn.RNN` works with the drop-ins."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import gatewright as gw
from tolerances import close

KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "RNN": (gw.RNN, nn.RNN, {}),
    "relu": (gw.RNN, nn.RNN, {"nonlinearity": "relu"}),
    "LSTM": (gw.LSTM, nn.LSTM, {}),
    "projected": (gw.LSTM, nn.LSTM, {"proj_size": 2}),
    "GRU": (gw.GRU, nn.GRU, {}),
}
FORMS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5},
]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_form = pytest.mark.parametrize("form", FORMS, ids=["plain", "no bias", "all options"])


def pair(kind: str, form: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    ours, theirs, options = KINDS[kind]
    torch.manual_seed(0)
    options = {**options, **form, "dtype": torch.float64}
    layers = ours(3, 5, **options), theirs(3, 5, **options)
    layers[0].load_state_dict(layers[1].state_dict())
    return layers


@every_form
@every_kind
def test_attributes(kind: str, form: dict[str, Any]):
    ours, theirs = pair(kind, form)
    names = (
        "mode input_size hidden_size num_layers bias batch_first dropout bidirectional "
        "proj_size _all_weights _flat_weights_names training"
    )
    for name in names.split():
        assert getattr(ours, name) == getattr(theirs, name), name
    close(ours.all_weights, theirs.all_weights)
    close(ours._flat_weights, theirs._flat_weights)
    named = dict(ours.named_parameters())
    for name, weight in zip(ours._flat_weights_names, ours._flat_weights, strict=True):
        assert weight is named[name]
    assert list(named) == list(dict(theirs.named_parameters()))
    assert ours.flatten_parameters() is None
    assert ours.extra_repr().replace(", nonlinearity='relu'", "") == theirs.extra_repr()


def test_weights_that_are_replaced_are_the_flat_ones():
    layer = gw.LSTM(3, 5)
    layer.weight_hh_l0 = nn.Parameter(torch.zeros(20, 5))
    assert layer._flat_weights[1] is layer.weight_hh_l0 is layer.all_weights[0][1]


def forget_bias(layer: nn.Module) -> None:
    """The recipe of pytorch#750, unchanged."""
    for names in layer._all_weights:
        for name in filter(lambda n: "bias" in n, names):
            bias = getattr(layer, name)
            n = bias.size(0)
            start, end = n // 4, n // 2
            bias.data[start:end].fill_(1.0)


def by_name(layer: nn.Module) -> None:
    for name, weight in layer.named_parameters():
        if "weight_ih" in name:
            nn.init.xavier_uniform_(weight.data)
        elif "weight_hh" in name:
            nn.init.orthogonal_(weight.data)
        elif "bias" in name:
            weight.data.fill_(0)
            if isinstance(layer, gw.LSTM | nn.LSTM):
                weight.data[layer.hidden_size : 2 * layer.hidden_size] = 1


def by_gate(layer: nn.Module) -> None:
    gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    for weights in layer.all_weights:
        for weight in weights[:2]:
            for part in weight.chunk(gates):
                nn.init.orthogonal_(part.detach())


def by_shape(layer: nn.Module) -> None:
    for weight in layer.parameters():
        if len(weight.shape) >= 2:
            nn.init.orthogonal_(weight.data)
        else:
            nn.init.normal_(weight.data)


@pytest.mark.parametrize("recipe", [forget_bias, by_name, by_gate, by_shape])
@every_form
@every_kind
def test_recipes_run_unchanged(kind: str, form: dict[str, Any], recipe: Any):
    layers = pair(kind, form)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    outputs = []
    for layer in layers:
        layer.eval()
        layer(x), layer(x)
        torch.manual_seed(1)
        recipe(layer)
        outputs.append((layer.state_dict(), layer(x)))
    (ours, our_outputs), (theirs, their_outputs) = outputs
    close(dict(ours), dict(theirs))
    close(our_outputs, their_outputs)


def test_a_drop_in_is_no_layer_of_torch():
    """On purpose; the module's docstring has the reason."""
    for cls in (gw.RNN, gw.LSTM, gw.GRU):
        assert not isinstance(cls(3, 5), nn.RNNBase)


def quantize(model: nn.Module, what: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions")
        return torch.ao.quantization.quantize_dynamic(model, what, dtype=torch.qint8)


QUANTIZED = pytest.mark.skipif(
    "onednn" not in torch.backends.quantized.supported_engines
    and "fbgemm" not in torch.backends.quantized.supported_engines,
    reason="torch has no kernels for quantized layers here",
)


@QUANTIZED
@pytest.mark.parametrize("cls", [gw.LSTM, gw.GRU, gw.PeepholeLSTM, gw.LSTMCell, gw.GRUCell])
def test_quantization_does_not_skip_a_layer_in_silence(cls: type[nn.Module]):
    model = nn.Sequential(nn.Linear(3, 3), cls(3, 5))
    with pytest.raises(gw.errors.BackendError, match=f"no kernels for a gatewright {cls.__name__}"):
        quantize(model, {cls: torch.ao.quantization.default_dynamic_qconfig})
    with pytest.raises(gw.errors.BackendError, match="leave it out"):
        quantize(model, {"1": torch.ao.quantization.default_dynamic_qconfig})
    with pytest.warns(UserWarning, match=f"no kernels for a gatewright {cls.__name__}"):
        quantized = quantize(model, {nn.Linear, nn.LSTM})
    assert "quantized" in type(quantized[0]).__module__ and isinstance(quantized[1], cls)
    x = torch.randn(2, 3)
    close(quantized[1](x), model[1](x))


@QUANTIZED
def test_the_way_to_quantize_that_the_warning_names():
    ours, theirs = gw.LSTM(3, 5), nn.LSTM(3, 5)
    with pytest.warns(UserWarning, match="load its state_dict into a torch.nn.LSTM"):
        quantize(nn.Sequential(ours), {nn.Linear})
    theirs.load_state_dict(ours.state_dict())
    quantized = quantize(nn.Sequential(theirs), {nn.LSTM})
    x = torch.randn(4, 2, 3)
    assert (quantized(x)[0] - ours(x)[0]).abs().max() < 0.05
