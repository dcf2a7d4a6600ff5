"""Whole models in the page's engine: every design and task, from raw values to the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatewright.data import Recordings, Series, Text
from gatewright.data.containers.tagged import Tagged
from gatewright.deploy.page import document_of
from gatewright.designs.design import DESIGNS, PLAIN, Design
from gatewright.page import blob
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.base.base import Member
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.forecast.windows import stretch
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import run_all
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from page_answers import LIMIT, ask, build_engine, document, exact, needs_builder, off

pytestmark = needs_builder

#: A change of an input that is small, and large in float64.
NUDGE = 1e-4

EVERYTHING = Design(
    differences=True,
    scaling="sequence",
    segment=3,
    layers=2,
    bidirectional=True,
    readout=("last", "mean", "max", "share", "attention"),
)
MANY_DESIGNS = {
    **{name: design for name, design in DESIGNS.items() if design.trained},
    "everything": EVERYTHING,
    "joined": Design(front="convolution", readout=("last", "max")),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_engine(tmp_path_factory.mktemp("engine"))


def drawn(model: Model, data: Any) -> Model:
    """The model with weights and statistics that matter, and the scaling of its data."""
    model.fit_scaling(data)
    torch.manual_seed(1)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2.0)
        elif name.endswith(("running_mean", "thresholds")):
            torch.nn.init.normal_(tensor, std=0.3)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    assert model.recurrent is not None
    model.recurrent.backend = "reference"  # a kernel for each test would take longer
    return model.eval()


def network(task: Any, data: Any, design: Design = PLAIN, cell: str = "lstm") -> Model:
    torch.manual_seed(0)
    return drawn(Model(task, cell, NETWORKS[cell].build(task, 5, design)), data)


def sequences(count: int = 6, steps: int = 11) -> tuple[np.ndarray, ...]:
    draw = np.random.Generator(np.random.PCG64(0))
    return tuple(3.0 + draw.normal(size=(steps + k, 2)).astype(np.float32) for k in range(count))


def recordings() -> Recordings:
    return Recordings(sequences(), np.arange(6) % 2, ("no", "yes"))


def tagged() -> Tagged:
    draw = np.random.Generator(np.random.PCG64(0))
    labels = tuple(draw.integers(0, 3, size=11 + k) for k in range(6))
    return Tagged(sequences(), labels, ("a", "b", "c"))


def wavy(steps: int = 120, seed: int = 0) -> np.ndarray:
    noise = np.random.Generator(np.random.PCG64(seed)).normal(size=steps)
    return 5.0 + np.sin(2 * np.pi * np.arange(steps) / 12) + 0.3 * noise


@cache
def series(further: bool = False) -> Series:
    values = np.column_stack([wavy(seed=seed) for seed in range(3 if further else 1)])
    fields: dict[str, Any] = {}
    if further:
        fields = {"known": ("z",), "static": np.array([[1.0], [2.0]]), "static_names": ("size",)}
    both = (values, 2.0 * values[:90])
    return Series(
        ("a", "b"),
        tuple(np.arange(len(own)) for own in both),
        both,
        ("y", "x", "z")[: values.shape[1]],
        period=1.0,
        steps_a_season=12,
        **fields,
    )


@cache
def forecast(further: bool) -> Any:
    """The task with a base that reads all channels at all steps."""
    task = Forecast.of(series(further), horizon=4, window=26)
    assert task.base is not None
    members = (Member("ridge", (5, 1.0, 1, 0), 0.6), Member("persistence", (0,), 0.4))
    return replace(task, base=replace(task.base, members=tuple(members for _ in task.targets)))


def forecaster(further: bool, transform: str = "none", *, base: bool = True) -> Model:
    task = forecast(further)
    transforms = tuple(transform for _ in task.targets)
    task = replace(
        task,
        base=replace(task.base, transforms=transforms) if base else None,
        floor=tuple(0.0 if transform == "root" else None for _ in task.targets),
        per_window=transform != "none",
    )
    model = network(task, series(further), cell="gru")
    assert not base or hasattr(model, "base_past")
    torch.nn.init.uniform_(model.widening, 0.5, 2.0)
    return model


def check(model: Model, part: Any, expected: Any, engine: Path, folder: Path) -> None:
    """Compare the answers to all examples with those of the model in float64.

    The gradient of one output is compared with what small changes of the input do to it.
    """
    count = len(expected)
    questions: list[dict[str, Any]] = [{"example": k} for k in range(count)]
    # The last row of a model with an answer at every step, else the first.
    last = model.task.every_step
    questions[0]["gradients"] = [{"output": 1} if last else {"output": 1, "step": 0}]
    nudged = [] if model.task.symbols is not None else [0, 5, 13, -1]
    questions += [{"example": 0, "nudges": [(at, by)]} for at in nudged for by in (NUDGE, -NUDGE)]
    text = document({"model": model}, part, count=count)
    (answers,) = ask(engine, [{"document": text, "questions": questions}], folder)
    for answer, own in zip(answers[:count], expected, strict=True):
        assert off(answer["outputs"], own) < LIMIT
    row = -model.task.outputs if last else 0
    moved = np.array([answer["outputs"][row + 1] for answer in answers[count:]])
    slopes = (moved[::2] - moved[1::2]) / (2 * NUDGE)
    gradient = np.array(answers[0]["gradients"][0]["inputs"])[nudged]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-6)
    assert not nudged or np.abs(slopes).max() > 1e-4


@pytest.mark.parametrize("name", MANY_DESIGNS)
def test_classes(name: str, engine: Path, tmp_path: Path) -> None:
    data = recordings()
    model = network(Classify.of(data), data, MANY_DESIGNS[name])
    order = _order(model, data)
    check(model, data, exact(model).predict(data)[order], engine, tmp_path)


def _order(model: Model, data: Recordings) -> list[int]:
    """The positions of the examples in the data."""
    from gatewright.page.examples import of_part

    return [int(example["id"]) for example in of_part(model, data, 99)]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_tags(bidirectional: bool, engine: Path, tmp_path: Path) -> None:
    data = tagged()
    model = network(Tag.of(data), data, Design(bidirectional=bidirectional, differences=True))
    check(model, data, exact(model).predict(data), engine, tmp_path)


@pytest.mark.parametrize("transform", ["none", "log", "root"])
@pytest.mark.parametrize("further", [False, True], ids=["alone", "with known values"])
def test_forecasts(transform: str, further: bool, engine: Path, tmp_path: Path) -> None:
    model = forecaster(further, transform)
    check(model, series(further), _forecasts(model, series(further)), engine, tmp_path)


@pytest.mark.parametrize("per_window", ["none", "log"])
def test_forecasts_without_a_base(per_window: str, engine: Path, tmp_path: Path) -> None:
    model = forecaster(True, per_window, base=False)
    check(model, series(True), _forecasts(model, series(True)), engine, tmp_path)


def test_quantiles_of_counts_are_rounded(engine: Path, tmp_path: Path) -> None:
    model, data = forecaster(False, "root"), series(False)
    between = _forecasts(model, data)
    model.task = replace(model.task, counts=tuple(True for _ in model.task.targets))
    expected = _forecasts(model, data)
    assert any((own != other).any() for own, other in zip(between, expected, strict=True))
    questions = [{"example": k} for k in range(len(expected))]
    text = document({"model": model}, data, count=len(expected))
    (answers,) = ask(engine, [{"document": text, "questions": questions}], tmp_path)
    for answer, own in zip(answers, expected, strict=True):
        assert off(answer["outputs"], own) < LIMIT


def _forecasts(model: Model, data: Series, count: int = 5) -> list[np.ndarray]:
    task: Any = model.task
    windows = task.batches(stretch(task.adapt(data)[0]))
    rows = np.linspace(0, len(windows) - 1, count).round().astype(int)
    own = exact(model)
    batches = windows.take(rows)
    outputs = [(outputs, batch) for outputs, batch in run_all(own, _doubled(batches))]
    predicted = task.predictions(outputs, own)
    return list(predicted)


class _doubled:
    """Windows whose batches are in float64, from the values in float32."""

    def __init__(self, windows: Any) -> None:
        self.windows = windows

    def ordered(self, size: int) -> Any:
        for batch in self.windows.ordered(size):
            further = None if batch.further is None else batch.further.double()
            yield replace(batch, x=batch.x.double(), further=further)


@pytest.mark.parametrize("unit", ["characters", "pairs", "bytes"])
def test_texts(unit: str, engine: Path, tmp_path: Path) -> None:
    content = "the cat and the other cat and the hat\n" * 60
    if unit == "bytes":
        data = Text.from_bytes(content.encode())
    else:
        data = replace(Text.from_string(content), unit=unit)
    task = replace(NextSymbol.of(data), counted=False)
    model = network(task, data)
    own = exact(model)
    codes = task.pairs.encode(data.codes[:240])
    with torch.no_grad():
        features, _ = own.recurrent(own.encode(torch.from_numpy(codes)[:, None]))
        expected = own.readout(features).softmax(-1)
    check(model, data, [expected], engine, tmp_path)


def test_many_numbers_are_rounded_to_three_bytes(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recordings()
    model = network(Classify.of(data), data)
    exact = document({"model": model}, data)
    monkeypatch.setattr(blob, "MOST_WHOLE", 100)
    rounded = document({"model": model}, data)
    assert len(rounded) < len(exact)
    (note,) = json.loads(rounded)["models"][0]["notes"]
    assert "rounded to 24 bits" in note
    jobs = [{"document": text, "questions": [{"example": 0}]} for text in (exact, rounded)]
    ((first,), (second,)) = ask(engine, jobs, tmp_path)
    assert 0.0 < off(second["outputs"], first["outputs"]) < 1e-4


def test_of_the_mean_of_texts_the_best_is_shown() -> None:
    data = Text.from_string("the cat and the other cat and the hat\n" * 20)
    task = NextSymbol.of(data)
    members = [network(task, data, cell=cell) for cell in ("gru", "lstm")]
    model = document_of({"mean": Ensemble(members).eval()})["models"][0]
    assert model["notes"] == [
        "This is one network alone; gatewright predict takes the mean of 2 networks like this one "
        "and mixes in counts of the training text."
    ]
    assert model["cell"]["name"] == "GRU" and len(model["layers"]) == 1


@pytest.mark.parametrize("kind", ["classes", "forecasts"])
def test_the_mean_of_several_networks(kind: str, engine: Path, tmp_path: Path) -> None:
    if kind == "classes":
        data: Any = recordings()
        members = [network(Classify.of(data), data, cell=cell) for cell in ("lstm", "gru")]
        ensemble = Ensemble(members).eval()
        expected = exact(ensemble).predict(data)[_order(ensemble, data)]
    else:
        data = series(True)
        members = [forecaster(True, "log") for _ in range(2)]
        for weight in members[1].parameters():
            weight.data.neg_()
        ensemble = Ensemble(members).eval()
        expected = _forecasts(ensemble, data)
    check(ensemble, data, expected, engine, tmp_path)
