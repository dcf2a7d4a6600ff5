"""Trained models as ONNX: the whole way from raw values gives the numbers of `model.predict`."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import gatewright as gw
from gatewright.data import Recordings, Series, Text
from gatewright.data.containers.tagged import Tagged
from gatewright.designs.design import DESIGNS, FRONTS, PLAIN, SUMMARIES, Design
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.base.base import Member
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import Batch
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from in_process import training_here, without_baselines

onnx = pytest.importorskip("onnx", reason="the models are checked by onnx (extra `test`)")
ort = pytest.importorskip("onnxruntime", reason="the models run in ONNX Runtime (extra `test`)")

#: The largest difference from `model.predict`, relative to the largest value.
LIMIT = 1e-5
#: Every field of a design that changes what a model computes, and the networks of `train`. torch's
#: exporter takes seconds for each; the trained model below has the design both-ways.
NETWORK_OF = {
    "untrained": ("gru", replace(DESIGNS["untrained"], layers=1)),
    "convolutional": ("peephole_lstm", Design(front="convolution")),
    "segments": (
        "rnn",
        Design(segment=3, layers=2, scaling="sequence", readout=("attention", "last")),
    ),
    "window": ("window", PLAIN),
}


def sequences(*steps: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    draw = np.random.Generator(np.random.PCG64(seed))
    return tuple((3.0 + draw.normal(size=(count, 2))).astype(np.float32) for count in steps)


@cache
def recordings() -> Recordings:
    return Recordings(sequences(9, 9, 9, 9, 9, 9), np.arange(6) % 3, ("a", 'quote"\\', "ü"))


def model_of(task: Any, data: Any, network: str = "gru", design: Design = PLAIN) -> Model:
    """A model with weights that differ everywhere, as after a training."""
    torch.manual_seed(0)
    model = Model(task, network, NETWORKS[network].build(task, 5, design)).eval()
    model.fit_scaling(data)
    with torch.no_grad():
        for name, values in model.named_buffers():
            if name.endswith(("thresholds", "running_mean", "running_var")):
                values += 0.2 * torch.rand_like(values)
    return model


def session_of(path: Path) -> Any:
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return ort.InferenceSession(str(path))


def metadata(path: Path) -> Mapping[str, Any]:
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return {
        key: json.loads(value) if value[:1] in "[{" else value for key, value in entries.items()
    }


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=LIMIT * np.abs(expected).max())


def check_classes(model: Model, path: Path) -> None:
    gw.export(model, path)
    session = session_of(path)
    # Other numbers of rows and steps than those of the record, down to a single one.
    for steps in ((17, 4, 1, 30), (1,), (12, 12)):
        new = sequences(*steps, seed=1)
        (answers,) = session.run(["y"], gw.input_arrays(model, new))
        expected = model.predict(new)
        if isinstance(model.task, Classify):
            close(answers, expected)
            continue
        for row, own in enumerate(expected):
            close(answers[row, : len(own)], own)


# Classes and tags.
def mean_of(*names: str) -> Ensemble:
    task = Classify.of(recordings())
    return Ensemble([model_of(task, recordings(), *NETWORK_OF[name]) for name in names])


def test_the_designs_have_every_option() -> None:
    designs = [design for _, design in NETWORK_OF.values()]
    for name, plain in asdict(PLAIN).items():
        # Dropout acts in training only.
        assert "dropout" in name or any(getattr(design, name) != plain for design in designs), name
    assert {design.front for design in designs} == {*FRONTS}
    assert {summary for design in designs for summary in design.readout} == {*SUMMARIES}


@pytest.mark.slow(instead="test_a_trained_model_has_the_same_answers_in_onnx")
def test_every_design_goes_out_whole(tmp_path: Path) -> None:
    check_classes(mean_of(*NETWORK_OF), tmp_path / "model.onnx")


@pytest.mark.slow(instead="test_a_trained_model_has_the_same_answers_in_onnx")
def test_tags_go_out_read_both_ways(tmp_path: Path) -> None:
    labels = tuple(np.arange(9) % 3 for _ in range(6))
    data = Tagged(recordings().sequences, labels, recordings().classes)
    design = Design(bidirectional=True, differences=True)
    check_classes(model_of(Tag.of(data), data, "lstm", design), tmp_path / "model.onnx")


@pytest.mark.slow(instead="test_a_trained_model_has_the_same_answers_in_onnx")
def test_a_model_without_lengths_reads_every_step(tmp_path: Path) -> None:
    model, path = model_of(Classify.of(recordings()), recordings()), tmp_path / "model.onnx"
    gw.export(model, path, lengths=False)
    new = sequences(14, 14, seed=2)
    (answers,) = session_of(path).run(["y"], {"x": np.stack(new)})
    close(answers, model.predict(new))


# Texts.
@pytest.mark.slow(instead="test_a_trained_model_has_the_same_answers_in_onnx")
def test_the_next_symbol_goes_out(tmp_path: Path) -> None:
    text = Text((np.arange(300) % 5).astype(np.uint8), tuple('ab"\n?'))
    counted, path = model_of(NextSymbol.of(text), text), tmp_path / "model.onnx"
    with pytest.raises(ArgumentError, match="mixed with counts of its training text"):
        gw.export(counted, path)
    assert not path.exists()
    gw.export(counted, path, network_only=True)
    arrays = gw.input_arrays(counted, Text(text.codes[:7], text.alphabet))
    assert arrays["x"].tolist() == [[0, 1, 2, 3, 4, 0, 1]]
    x = np.tile(arrays["x"], (3, 2))
    (answers,) = session_of(path).run(["y"], {"x": x})
    with torch.no_grad():
        batch = Batch(torch.from_numpy(x).T, None, torch.zeros(0))
        expected = counted.read(counted.encode(batch.x), batch)[0].softmax(-1).transpose(0, 1)
    close(answers, expected.numpy())
    assert metadata(path)["labels"] == list(text.alphabet)
    assert counted.completion is not None  # it is still that of the model


# Forecasts.
def shops(days: int = 90) -> Series:
    """Sales with many zeros and a positive stock of two shops, with a known price and a region."""
    draw = np.random.default_rng(0)
    frames = []
    for shop, level in (("north", 2.0), ("south", 5.0)):
        rise = np.exp(np.cumsum(0.1 * draw.normal(size=days)))
        sold = draw.poisson(level, days) * (draw.random(days) < 0.6)
        frame = pd.DataFrame(
            {
                "day": pd.date_range("2024-01-01", periods=days),
                "shop": shop,
                "region": "hill" if shop == "north" else "lake",
                "price": 3.0 + np.sin(np.arange(days)),
                "sold": sold.astype(float),
                "stock": level * rise,
            }
        )
        frame.loc[days - 5 :, ["sold", "stock"]] = np.nan
        frames.append(frame)
    columns: dict[str, Any] = {"id": "shop", "known": "price", "static": "region", "time": "day"}
    data: Series = gw.read(pd.concat(frames), task="forecast", **columns).data
    return data


#: A regression on three lags of all channels.
RIDGE = Member("ridge", (3.0, 1.0, 1.0, 0.0), 0.5)


def forecaster(data: Series, *, seed: int = 0, horizon: int, window: int, **base: Any) -> Model:
    """A forecast whose network adds something to its base, which `base` changes."""
    training = data.with_calendar()
    task = Forecast.of(training, horizon=horizon, window=window)
    assert task.base is not None
    task = replace(task, base=replace(task.base, **base), per_window=True)
    model = model_of(task, training)
    torch.manual_seed(seed)
    with torch.no_grad():
        # A start lets the network add nothing to the base.
        for weight in (model.readout.weight, model.readout.bias, *model.ahead.parameters()):
            weight += 0.1 * torch.randn_like(weight)
        model.widening += torch.rand_like(model.widening)
        model.mean_factors += 0.5
    return model


# torch's exporter takes 5 s for it; the other formats carry a forecast's base and intervals too.
@pytest.mark.slow(instead="test_whole_models.py::test_the_forecast_is_that_of_predict")
def test_a_forecast_goes_out_with_its_base_and_its_intervals(tmp_path: Path) -> None:
    data, path = shops(), tmp_path / "shops.onnx"
    assert data.targets == ("sold", "stock")
    model = forecaster(
        data,
        horizon=5,
        window=12,
        members=(
            (Member("persistence", (0,), 1.0),),
            (replace(RIDGE, weight=(0.9, 0.7, 0.5, 0.3, 0.1)),),
        ),
        transforms=("root", "log"),
    )
    gw.export(model, path)
    arrays = gw.input_arrays(model, data)
    assert {name: array.shape for name, array in arrays.items()} == {
        "x": (2, 12, len(model.task.seen.channels)),
        "known": (2, 5, len(model.task.known)),
    }
    quantiles, means = session_of(path).run(["y", "y_mean"], arrays)
    futures = model.predict(data)
    close(quantiles, np.stack([future.quantiles for future in futures]))
    sold = model.task.targets.index("sold")
    close(means[:, :, sold], np.stack([future.means["sold"] for future in futures]))
    about = metadata(path)
    assert about["targets"] == list(model.task.targets) and about["known"] == list(model.task.known)
    assert about["channels"] == list(model.task.seen.channels) and about["period"] == "1 day"
    assert set(about["calendar"]) == set(model.task.calendar) and len(about["levels"]) == 9
    with pytest.raises(DataError, match="expected at least 5"):
        gw.input_arrays(model, replace(data, future=None))


@pytest.mark.slow(instead="test_a_trained_model_has_the_same_answers_in_onnx")
def test_the_weather_goes_out_as_a_mean(tmp_path: Path) -> None:
    weather, path = gw.read("weather").data, tmp_path / "weather.onnx"
    model = forecaster(weather, horizon=7, window=28)
    second = copy.deepcopy(model)
    with torch.no_grad():
        second.readout.bias += 0.5
    # The many methods of the base take torch's exporter seconds; the second member has only one.
    base = replace(model.task.base, members=((RIDGE,),) * len(model.task.targets))
    second.task = replace(model.task, base=base)
    model = Ensemble([model, second])
    gw.export(model, path)
    quantiles = session_of(path).run(["y"], gw.input_arrays(model, "weather"))[0]
    (future,) = model.predict(weather)
    close(quantiles[0], future.quantiles)


# From a trained directory to another runtime.
def test_a_trained_model_has_the_same_answers_in_onnx(tmp_path: Path) -> None:
    with training_here(), without_baselines():
        gw.train(
            "vowels",
            out=tmp_path / "vowels",
            hidden_size=8,
            epochs=3,
            seeds=1,
            design="both-ways",
            progress=False,
        )
    model, path = gw.load(tmp_path / "vowels"), tmp_path / "vowels.onnx"
    assert isinstance(model, Model)
    gw.export(model, path)
    test = gw.read("vowels").test
    (answers,) = session_of(path).run(["y"], gw.input_arrays(model, test))
    expected = model.predict(test)
    assert len(answers) == 370
    assert (answers.argmax(-1) == expected.argmax(-1)).all()
    close(answers, expected)
    about = metadata(path)
    assert about["task"] == "classify" and about["labels"] == list(model.task.classes)
    assert about["channels"] == list(model.task.seen.channels)
    assert set(about["inputs"]) == {"x", "lengths"} and set(about["outputs"]) == {"y"}


# Refusals.
def test_options_that_are_not_for_a_model_are_refused(tmp_path: Path) -> None:
    model, path = model_of(Classify.of(recordings()), recordings()), tmp_path / "model.onnx"
    with pytest.raises(ArgumentError, match=r"gw\.export\(model\.recurrent, path, streaming=True"):
        gw.export(model, path, streaming=True)
    with pytest.raises(ArgumentError, match="example is not for the ONNX model of a Model"):
        gw.export(model, path, example=torch.zeros(2, 3, 2))
    with pytest.raises(ArgumentError, match=r"values \(--values\) is for .js and .py files"):
        gw.export(model, path, values=True)
    assert not path.exists()
