"""Layers on an NVIDIA GPU compared with the same layers on the CPU; skipped without a GPU."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gatewright as gw
from odd_cells import CELLS, make, random_states, sequences
from tolerances import close, tensors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")

LENGTHS = [4, 6, 0, 1, 6]


def moved(tensors: Any, device: str) -> Any:
    """Copy a structure of tensors to another device."""
    if isinstance(tensors, Tensor):
        return tensors.detach().to(device)
    if isinstance(tensors, dict):
        return {key: moved(part, device) for key, part in tensors.items()}
    return type(tensors)(moved(part, device) for part in tensors)


def everything(layer: gw.Recurrent, inputs: Any, hx: Any, device: str) -> Any:
    """Compute outputs, states, traces and all gradients of a layer on a device."""
    layer = copy.deepcopy(layer).to(device)
    inputs, hx = moved(inputs, device), moved(hx, device)
    leaves = [*inputs.values(), *tensors(hx), *layer.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()
    starts = (torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) < 0.2).to(device)
    event, *further = inputs
    options = {"lengths": LENGTHS, "starts": starts, **{name: inputs[name] for name in further}}
    result = layer(inputs[event], hx, **options)
    trace = layer.trace(inputs[event], hx, grad=True, **options)
    smooth = [one for one in (*tensors(result), *trace.values()) if one.is_floating_point()]
    loss = torch.stack([(one.cpu() * weights(one, i)).sum() for i, one in enumerate(smooth)]).sum()
    partial = torch.autograd.grad(loss, leaves, allow_unused=True)
    grads = [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, partial, strict=True)]
    return [value.cpu() for value in (*tensors(result), *trace.values(), *grads)]


def weights(like: Tensor, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=draw, dtype=torch.float64).to(like.dtype)


@pytest.mark.parametrize("name", CELLS)
def test_a_layer_is_what_it_is_on_the_cpu(name: str):
    """Lengths in no order, starts, two layers, both directions, traces, and every gradient."""
    layer = make(name, num_layers=2, bidirectional=True)
    inputs, hx = sequences(layer, 6, 5), random_states(layer, 5)
    close(everything(layer, inputs, hx, "cuda"), everything(layer, inputs, hx, "cpu"))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_drop_in_is_what_cudnn_computes(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    theirs = getattr(torch.nn, kind)(17, 33, num_layers=2, bidirectional=True, device="cuda")
    ours = getattr(gw, kind)(17, 33, num_layers=2, bidirectional=True, device="cuda")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(9, 4, 17, device="cuda")
    results = []
    for layer in (ours, theirs):
        own = x.clone().requires_grad_()
        result = layer(own)
        named = dict(layer.named_parameters())
        leaves = [own, *(named[name] for name in sorted(named))]
        output = tensors(result)
        loss = torch.stack([(one.cpu() * weights(one, 1)).sum() for one in output]).sum()
        results.append([*output, *torch.autograd.grad(loss, leaves)])
    close(*results)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "named"])
def test_torch_s_functions_run_without_a_copy_of_the_weights(kind: str):
    """cuDNN warns of weights that are not in one block, and has gradients in training only."""
    make_layer = functools.partial(gw.Recurrent, "lstm") if kind == "named" else getattr(gw, kind)
    layer = make_layer(17, 33, num_layers=2, bidirectional=True).cuda().eval()
    if kind != "named":
        assert len({weight.untyped_storage().data_ptr() for weight in layer.parameters()}) == 1
    x = torch.randn(9, 4, 17, device="cuda", requires_grad=True)
    assert "backend torch" in layer.explain(x)
    output, _ = layer(x)
    layer(x, lengths=[9, 3, 0, 4])
    leaves = [x, *layer.parameters()]
    plain = torch.autograd.grad(output.square().sum(), leaves, retain_graph=True)
    first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
    for own, other in zip(first, plain, strict=True):
        torch.testing.assert_close(own, other, atol=1e-2, rtol=1e-2)  # TF32
    penalty = sum(gradient.square().sum() for gradient in first)
    assert all(own.isfinite().all() for own in torch.autograd.grad(penalty, leaves))


@pytest.mark.parametrize("kind", ["classify", "forecast", "next symbol"])
def test_a_network_trains_on_the_gpu(kind: str, tmp_path: Path):
    data = {"classify": "vowels", "forecast": "weather", "next symbol": "prose"}[kind]
    for precision in ("float32", "bfloat16", "float16"):
        out = tmp_path / precision
        how: dict[str, Any] = {"budget": "quick", "epochs": 1, "seeds": 1, "progress": False}
        gw.train(data, cell="gru", device="cuda", precision=precision, out=out, **how)
        model = gw.load(out)
        assert all(weight.isfinite().all() and not weight.is_cuda for weight in model.parameters())
        if kind == "next symbol":
            assert len(model.to("cuda").sample("The ", symbols=5)) == 5
        else:
            assert gw.predict(out, data, device="cuda").columns


def test_a_model_goes_from_one_device_to_the_other(tmp_path: Path):
    layer = gw.PeepholeLSTM(3, 5, num_layers=2).cuda()
    x = torch.randn(4, 2, 3, device="cuda")
    expected = layer(x)
    gw.save(layer, tmp_path / "model")
    close(moved(gw.load(tmp_path / "model")(x.cpu()), "cuda"), expected)
    close(gw.load(tmp_path / "model", device="cuda")(x), expected)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_keeps_states_in_float32(low: torch.dtype):
    layer = gw.LSTM(16, 32).cuda()
    x = torch.randn(5, 4, 16, device="cuda")
    expected, _ = layer(x)
    with torch.autocast("cuda", low):
        output, (h, c) = layer(x)
        trace = layer.trace(x)
    assert output.dtype == h.dtype == c.dtype == torch.float32
    assert (output - expected).abs().max() < 3e-2
    assert all(one.isfinite().all() for one in trace.values())
    output.sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in layer.parameters())


def test_a_layer_trains_and_explains_itself():
    layer = gw.GRU(3, 16).cuda()
    optimiser = torch.optim.Adam(layer.parameters(), 1e-2)
    x = torch.randn(10, 8, 3, device="cuda")
    losses = []
    for _ in range(30):
        loss = (layer(x)[0] - x.mean(-1, keepdim=True).cumsum(0)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert "not llvm: the kernels are for the CPU, and the tensors are on cuda:0" in (
        layer.explain(x)
    )


def test_inputs_on_another_device_are_refused():
    layer = gw.LSTM(3, 5).cuda()
    with pytest.raises(gw.ArgumentError, match="cpu"):
        layer(torch.randn(4, 2, 3))
    with pytest.raises(gw.ArgumentError, match="cpu"):
        layer(torch.randn(4, 2, 3, device="cuda"), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5)))


def test_a_step_by_hand_and_gates_on_the_gpu():
    torch.manual_seed(0)
    cell = gw.LSTMCell(3, 5).cuda()
    x = torch.randn(2, 3, device="cuda")
    close(moved(cell(x), "cpu"), copy.deepcopy(cell).cpu()(x.cpu()))
    layer = gw.LSTM(3, 5).cuda()
    held = layer.trace(torch.randn(4, 2, 3, device="cuda"), hold={"f": 0.0})
    assert not held["f"].any() and held["f"].is_cuda
