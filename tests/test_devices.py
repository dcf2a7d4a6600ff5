"""Devices by name, the choice among them, and trainings in a lower precision."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright import devices
from gatewright.backends import triton
from gatewright.data import Recordings, Series, Tagged, Text
from gatewright.designs.design import PLAIN
from gatewright.errors import ArgumentError, ModelError
from gatewright.layers import recurrent
from gatewright.tasks.classify import Classify
from gatewright.tasks.task import run_all
from gatewright.training import choose_device as choosing
from gatewright.training.choose_device import choose_device
from gatewright.training.job import build_model, fit
from gatewright.training.loop import LoopState
from gatewright.training.networks import find_network
from gatewright.training.recipe import RECIPES
from gatewright.training.source import open_source
from second_device import is_away, second_device


def pretend(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the machine have these devices."""
    monkeypatch.setattr(devices, "available", lambda: ["cpu", *names])
    monkeypatch.setattr(choosing, "available", lambda: ["cpu", *names])


def test_names_of_devices(monkeypatch: pytest.MonkeyPatch):
    pretend(monkeypatch, "cuda:0", "cuda:1")
    assert devices.find_device("auto") is None
    assert devices.find_device("cpu") == devices.find_device("cpu:0") == torch.device("cpu")
    assert devices.find_device("cuda") == torch.device("cuda")
    assert devices.find_device("cuda:1") == torch.device("cuda:1")
    assert devices.find_device(torch.device("cuda", 0)) == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["cdua", "gpu", "cuda:x", "CPU", "cuda:", "0", ""])
def test_unknown_names_are_refused(name: str):
    with pytest.raises(ArgumentError, match="expected auto, cpu, cuda, cuda:N or mps"):
        devices.find_device(name)


@pytest.mark.parametrize(
    ("there", "name", "expected"),
    [
        ((), "cuda", "device is 'cuda'; expected one of this machine's: auto, cpu"),
        ((), "mps", "device is 'mps'; expected one of this machine's: auto, cpu$"),
        (("cuda:0",), "cuda:3", "device is 'cuda:3'; .* auto, cpu, cuda:0(;|$)"),
        (("mps",), "cuda:0", "device is 'cuda:0'; .* auto, cpu, mps(;|$)"),
    ],
)
def test_a_device_that_is_not_there(
    there: tuple[str, ...], name: str, expected: str, monkeypatch: pytest.MonkeyPatch
):
    pretend(monkeypatch, *there)
    with pytest.raises(ArgumentError, match=expected):
        devices.find_device(name)


def models(*cells: str) -> list[Any]:
    task = Classify.of(recordings())
    return [build_model(task, c, find_network(c)[1], 4, RECIPES["classify"]) for c in cells]


def recordings(count: int = 24) -> Recordings:
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    sequences = [
        draw.normal(k, 0.5, (8 + n % 3, 2)).astype(np.float32) for n, k in enumerate(labels)
    ]
    return Recordings(tuple(sequences), labels.astype(np.int64), ("low", "high"))


def test_auto_is_a_gpu_where_all_cells_are_fast_there(monkeypatch: pytest.MonkeyPatch):
    assert choose_device("auto", models("gru", "peephole_lstm")) == (torch.device("cpu"), "")
    pretend(monkeypatch, "cuda:0")
    monkeypatch.setattr(triton, "is_fast", lambda graph, gpu: False)  # nothing is proven there
    assert choose_device("auto", models("gru", "window", "lstm")) == (
        torch.device("cuda:0"),
        "device: cuda:0",
    )
    device, remark = choose_device("auto", models("lstm", "peephole_lstm"))
    assert device.type == "cpu"
    assert remark == (
        "device: cpu, since PeepholeLSTM would run step by step on cuda:0; "
        "gatewright doctor --gpu proves kernels for it"
    )
    assert choose_device("cuda", models("peephole_lstm")) == (torch.device("cuda"), "")
    pretend(monkeypatch, "cuda:0", "cuda:1")
    assert choose_device("auto", models("gru"))[1] == "device: cuda:0; there are also cuda:1"


@pytest.mark.parametrize(("name", "module"), [("cuda:1", torch.cuda), ("mps", torch.mps)])
def test_the_generator_of_a_gpu_is_part_of_a_training(
    name: str, module: Any, monkeypatch: pytest.MonkeyPatch
):
    (model,) = models("gru")
    state = LoopState(model, RECIPES["classify"], 1, seed=0)
    assert "device" not in state.state_dict()["generators"]
    device, drawn = torch.device(name), [torch.arange(16, dtype=torch.uint8)]
    own = () if name == "mps" else (device,)  # torch has one generator for Metal

    def get_rng_state(*of: Any) -> Any:
        assert of == own
        return drawn[-1].clone()

    def set_rng_state(value: Any, *of: Any) -> None:
        assert of == own
        drawn.append(value)

    monkeypatch.setattr(type(model), "device", property(lambda self: device))
    monkeypatch.setattr(module, "get_rng_state", get_rng_state)
    monkeypatch.setattr(module, "set_rng_state", set_rng_state)
    stored = copy.deepcopy(state.state_dict())
    drawn.append(torch.zeros(16, dtype=torch.uint8))
    state.load_state_dict(stored)
    assert torch.equal(drawn[-1], torch.arange(16, dtype=torch.uint8))
    del stored["generators"]["device"]
    with pytest.raises(ModelError, match="generators"):
        state.load_state_dict(stored)


def test_a_device_is_refused_before_anything_is_computed(tmp_path: Path):
    for run in (gw.train, gw.compare):
        with pytest.raises(ArgumentError, match="this machine's: auto, cpu"):
            run("vowels", device="cuda:7", out=tmp_path / "run")
        with pytest.raises(ArgumentError, match="expected float32, bfloat16 or float16"):
            run("vowels", precision="bfloat61", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    gw.save(gw.GRU(3, 4), tmp_path / "layer")
    for name in ("cuda:7", "mps"):
        with pytest.raises(ArgumentError, match="this machine's: auto, cpu"):
            gw.load(tmp_path / "layer", device=name)
    assert next(gw.load(tmp_path / "layer", device="auto").parameters()).device.type == "cpu"
    with pytest.raises(ArgumentError, match="this machine's: auto, cpu"):
        gw.predict(tmp_path / "layer", "vowels", device="cuda:7")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_network_learns_in_every_precision(precision: str):
    data = recordings()
    task = Classify.of(data)
    recipe = replace(RECIPES["classify"], epochs=10, least_steps=0, learning_rate=2e-2)
    recipe = replace(recipe, precision=precision)

    def build(training: Any) -> Any:
        model = build_model(task, "gru", find_network("gru")[1], 8, recipe)
        model.fit_scaling(training)
        return model

    model, history = fit(task.parts(data, 0.25, 0), build, recipe, seed=0)
    assert history.train_loss[-1] < 0.8 * history.train_loss[0]
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    if precision == "float32":
        return
    exact, _ = fit(task.parts(data, 0.25, 0), build, replace(recipe, precision="float32"), seed=0)
    pairs = zip(model.parameters(), exact.parameters(), strict=True)
    # Low precision was at work, and did not lead elsewhere.
    assert 0 < max((own - other).abs().max().item() for own, other in pairs) < 0.1


@pytest.mark.parametrize("network", ["gru", "window"])
@pytest.mark.parametrize("kind", ["classify", "tag", "forecast", "next symbol"])
def test_training_and_predicting_stay_on_one_device(
    kind: str, network: str, monkeypatch: pytest.MonkeyPatch
):
    """No operation takes tensors of the CPU and of the other device, and numpy gets none."""
    # torch.ops are not seen by modes; views do not matter here.
    monkeypatch.setattr(recurrent, "without_views", lambda results, arguments: results)
    task, training = tasks()[kind]
    recipe = replace(RECIPES[kind], design=PLAIN, epochs=1, least_steps=0, most_steps=2)
    recipe = replace(recipe, batch_size=4, device="mps")

    def build(part: Any) -> Any:
        model = build_model(task, network, find_network(network)[1], 4, recipe)
        model.fit_scaling(part)
        return model

    parts = task.parts(training, 0.3, 0)
    with second_device():
        model, _ = fit(parts, build, recipe, seed=0)
        assert not any(map(is_away, model.state_dict().values()))
        model = model.to("mps")
        assert all(map(is_away, model.state_dict().values()))
        predicted = task.predictions(run_all(model, task.batches(parts[1])), model)
        if kind == "next symbol":
            assert model.sample(b"a", symbols=3)
        else:
            assert len(model.predict(training))
    model = model.to("cpu")
    for tensor in model.state_dict().values():
        assert not is_away(tensor)
    again = task.predictions(run_all(model, task.batches(parts[1])), model)
    for own, other in zip(predicted, again, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)


def test_tensors_that_meet_on_two_devices_are_found():
    layer, x = gw.GRU(3, 4), torch.randn(5, 2, 3)
    with second_device():
        layer = layer.to("mps")
        with pytest.raises(Exception, match=r"cpu|both devices"):
            layer(x)
        away = x.to(layer.weight_ih_l0.device)
        with pytest.raises(RuntimeError, match="both devices"):
            away + x
        with pytest.raises(TypeError, match="to numpy"):
            (2.0 * away).numpy()
        assert away.cpu().numpy().shape == (5, 2, 3)


@cache
def tasks() -> dict[str, tuple[Any, Any]]:
    """A task of each kind, and its data."""
    draw = np.random.default_rng(1)
    steps = np.arange(120)
    wave = np.stack([np.sin(steps / 2.0), draw.normal(size=120)], 1)
    series = Series(("a",), (steps,), (wave,), ("sine", "noise"), period=1)
    labels = tuple((np.arange(9 + n % 3) > 4).astype(np.int64) for n in range(12))
    tagged = Tagged(
        tuple(draw.normal(size=(len(own), 2)).astype(np.float32) for own in labels),
        labels,
        ("a", "b"),
    )
    text = Text.from_bytes(b"a rose is a rose is a rose. " * 30, name="rose")
    sources = {
        "classify": open_source(recordings()),
        "tag": open_source(tagged),
        "forecast": open_source(series, horizon=3, window=6),
        "next symbol": open_source(text),
    }
    return {kind: (source.task, source.training) for kind, source in sources.items()}
