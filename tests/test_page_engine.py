"""The page's engine computes what Python computes: values, held values, gradients, models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from torch import Tensor

import gatewright as gw
from gatewright.cells import CELLS
from gatewright.page.html import asset
from page_answers import (
    CHROMIUM,
    LIMIT,
    ask,
    build_engine,
    document,
    exact,
    needs_builder,
    needs_chromium,
    off,
)
from random_cells import Program, build, programs

pytestmark = needs_builder

STEPS, INPUTS, UNITS = 9, 6, 6
RANDOM_CELLS = 10


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_engine(tmp_path_factory.mktemp("engine"))


def layer_of(cell: Any, **options: Any) -> gw.Recurrent:
    """A layer with weights that matter."""
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, INPUTS, UNITS, backend="reference", **options)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return layer.eval()


def events(seed: int = 1) -> Tensor:
    return torch.randn(STEPS, INPUTS, generator=torch.Generator().manual_seed(seed))


def further_of(layer: gw.Recurrent) -> dict[str, Tensor]:
    """The further inputs of a document's examples: ones."""
    return {
        name: torch.ones(STEPS, 1, layer.sizes(0).get(str(term.size), 1), dtype=torch.float64)
        for name, term in layer.graph.inputs.items()
        if name != layer.graph.equations.event
    }


def held_name(layer: gw.Recurrent) -> str:
    """The first value computed on the way to the output; where there is none, the event."""
    values, output = layer.graph.values, layer.graph.output
    leaves = ("event", "input", "state", "noise")
    inner = (
        name
        for name, term in values.items()
        if not term.boolean and term.op not in leaves and term is not output
    )
    return next(inner, layer.graph.equations.event)


def short_name(layer: gw.Recurrent, name: str) -> str:
    """The page's name of a trace's value."""
    if layer.num_layers * layer.directions == 1:
        return f"l0.{name}"
    return name if layer.bidirectional else name.replace(".forward.", ".", 1)


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    """Of every cell that ships: a run, a run with a held value, and a gradient of each."""
    jobs = {}
    for name in CELLS:
        layer = layer_of(name)
        hold = {"layer": "l0", "name": held_name(layer), "unit": None, "value": 0.25}
        values = [f"l0.{value}" for value in layer.graph.values]
        free = {"example": 0, "values": values, "gradients": [{"output": 2, "step": 6}]}
        held = {**free, "options": {"holds": [{**hold, "from": 0, "to": 99}]}}
        free["factors"] = [["l0", state] for state in layer.graph.states]
        jobs[name] = {"document": document({name: layer}, events()), "questions": [free, held]}
    return jobs


@pytest.fixture(scope="module")
def answers(
    engine: Path, jobs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cells")
    return dict(zip(jobs, ask(engine, list(jobs.values()), folder), strict=True))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
def test_every_cell(name: str, held: bool, answers: dict[str, Any]) -> None:
    layer = exact(layer_of(name))
    answer = answers[name][held]
    x = events().double()[:, None].requires_grad_()
    further = further_of(layer)
    hold = {held_name(layer): 0.25} if held else {}
    traces = layer.trace(x, hold=hold, grad=True, **further)
    for value, own in zip(traces.values(), answer["values"], strict=True):
        assert off(own, value) < LIMIT
    # The output of a run with a held value: that of its states, or a named value.
    output = traces[_output_name(layer)] if held else layer(x, **further)[0]
    assert off(answer["outputs"], output) < LIMIT
    gradient = torch.zeros_like(x)
    if output.requires_grad:
        (own,) = torch.autograd.grad(output[6, 0, 2], x, allow_unused=True)
        gradient = gradient if own is None else own
    assert off(answer["gradients"][0]["inputs"], gradient) < LIMIT
    assert off(answer["gradients"][0]["influence"], (gradient * x).sum(-1)) < LIMIT


def _output_name(layer: gw.Recurrent) -> str:
    return next(k for k, term in layer.graph.values.items() if term is layer.graph.output)


@pytest.mark.parametrize("name", CELLS)
def test_the_factors_of_the_states_give_the_time_constants(
    name: str, answers: dict[str, Any]
) -> None:
    layer = exact(layer_of(name))
    expected = gw.probes.time_constants(layer, events().double()[:, None], **further_of(layer))
    for state, own in zip(layer.graph.states, answers[name][0]["factors"], strict=True):
        factors = np.asarray(own).reshape(STEPS, -1)
        with np.errstate(divide="ignore"):
            log = np.log(np.abs(factors)).mean(0)
            constants = np.where(log < 0, np.maximum(-1.0 / log, 0.0), np.inf)
        finite = np.isfinite(expected[state].numpy())
        assert (np.isfinite(constants) == finite).all()
        assert off(constants[finite], expected[state][finite]) < 1e-4


@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_above_each_other(bidirectional: bool, engine: Path, tmp_path: Path) -> None:
    layer = layer_of("peephole_lstm", num_layers=2, bidirectional=bidirectional)
    x = events()
    traces = exact(layer).trace(x.double()[:, None])
    names = [short_name(layer, name) for name in traces]
    job = {"document": document({"two": layer}, x), "questions": [{"example": 0, "values": names}]}
    ((answer,),) = ask(engine, [job], tmp_path)
    assert off(answer["outputs"], exact(layer)(x.double()[:, None])[0]) < LIMIT
    for value, own in zip(traces.values(), answer["values"], strict=True):
        assert off(own, value) < LIMIT


def test_a_gradient_by_a_named_value_is_what_a_small_change_does(
    engine: Path, tmp_path: Path
) -> None:
    """One unit of a gate is held for one step, a little higher and a little lower."""
    layer = layer_of("lstm", num_layers=2)
    text, step = document({"lstm": layer}, events()), 1e-4
    asked = [{"output": 1, "step": 7, "values": ["l0.f", "l1.learn", "l0.c"]}]
    first = {"example": 0, "values": ["l0.f", "l1.learn", "l0.c"], "gradients": asked}
    ((answer,),) = ask(engine, [{"document": text, "questions": [first]}], tmp_path)
    places = [(2, 3), (5, 0), (7, 4)]
    questions = []
    for k, name in enumerate(asked[0]["values"]):
        layer_name, value = name.split(".")
        for t, unit in places:
            middle = answer["values"][k][t * UNITS + unit]
            for change in (step, -step):
                hold = {"layer": layer_name, "name": value, "unit": unit, "value": middle + change}
                options = {"holds": [{**hold, "from": t, "to": t + 1}]}
                questions.append({"example": 0, "options": options})
    (results,) = ask(engine, [{"document": text, "questions": questions}], tmp_path)
    moved = [result["outputs"][7 * UNITS + 1] for result in results]
    slopes = (np.array(moved[::2]) - np.array(moved[1::2])) / (2 * step)
    derivatives = [
        answer["gradients"][0]["values"][k][t * UNITS + unit]
        for k in range(3)
        for t, unit in places
    ]
    assert np.abs(slopes).max() > 1e-3
    np.testing.assert_allclose(derivatives, slopes, atol=1e-6)


def test_a_run_goes_on_from_an_earlier_one(engine: Path, tmp_path: Path) -> None:
    """Also through a second layer: the same numbers as a run from the start."""
    text = document({"gru": layer_of("gru", num_layers=2)}, events())
    hold = {"layer": "l0", "name": "z", "unit": 1, "value": 1.0, "from": 4, "to": 6}
    question = {"example": 0, "options": {"holds": [hold]}, "values": ["l0.z", "l1.h"]}
    job = {"document": text, "questions": [question, {**question, "after": 4}]}
    ((whole, resumed),) = ask(engine, [job], tmp_path)
    assert resumed == whole
    ((late,),) = ask(engine, [{**job, "questions": [{**question, "after": 5}]}], tmp_path)
    assert late != whole  # it starts after the hold does: the earlier steps are taken over


def test_steps_are_cut_out(engine: Path, tmp_path: Path) -> None:
    layer, x = layer_of("lstm"), events()
    cuts = [{"steps": [2, 3], "how": how} for how in ("neutral", "remove")]
    questions = [{"example": 0, "options": {"cut": cut}} for cut in cuts]
    job = {"document": document({"lstm": layer}, x), "questions": questions}
    ((neutral, removed),) = ask(engine, [job], tmp_path)
    rest = torch.tensor([k for k in range(STEPS) if k not in (2, 3)])
    without = x.double().clone()
    without[2:4] = 0.0
    assert off(neutral["outputs"], exact(layer)(without[:, None])[0]) < LIMIT
    assert off(removed["outputs"], exact(layer)(x.double()[rest][:, None])[0]) < LIMIT


def test_a_page_of_each_cell_is_small(jobs: dict[str, Any]) -> None:
    """Its script and styles, and all that is not weights."""
    own = len(asset("bundle.js")) + len(asset("bundle.css"))
    for name, job in jobs.items():
        weights = len(json.loads(job["document"])["models"][0]["weights"])
        assert own + len(job["document"]) - weights < 1_000_000, name


def test_random_cells(engine: Path, tmp_path: Path) -> None:
    """Outputs, and the gradient of one of them by all inputs, on few steps: some are chaotic."""
    jobs: list[dict[str, Any]] = []
    expected: list[tuple[Tensor, Tensor]] = []

    @hypothesis.seed(3)
    @settings(
        max_examples=RANDOM_CELLS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(programs())
    def draw(program: Program) -> None:
        torch.manual_seed(0)
        layer = gw.Recurrent(build(program), 5, UNITS, backend="reference").eval()
        own, x = exact(layer), events()[:6, :5]
        event = x.double()[:, None].requires_grad_()
        further = {name: value[:6] for name, value in further_of(layer).items()}
        output, _ = own(event, **further)
        gradient = torch.zeros_like(event)
        if output.requires_grad:
            (flow,) = torch.autograd.grad(output[4, 0, 0], event, allow_unused=True)
            gradient = gradient if flow is None else flow
        if output.isfinite().all() and gradient.isfinite().all():
            question = {"example": 0, "gradients": [{"output": 0, "step": 4}]}
            jobs.append({"document": document({"cell": layer}, x), "questions": [question]})
            expected.append((output, gradient))

    draw()
    assert len(jobs) >= RANDOM_CELLS // 2
    for ((answer,)), (output, gradient) in zip(ask(engine, jobs, tmp_path), expected, strict=True):
        assert off(answer["outputs"], output) < LIMIT
        assert off(answer["gradients"][0]["inputs"], gradient) < LIMIT


@needs_chromium
def test_a_browser_computes_the_same(
    engine: Path, jobs: dict[str, Any], answers: dict[str, Any]
) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=engine)
        actual = page.evaluate("jobs => jobs.map(globalThis.answer)", list(jobs.values()))
        browser.close()
    for name, own in zip(jobs, actual, strict=True):
        left, right = (np.array(list(numbers(answer))) for answer in (own, answers[name]))
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12, err_msg=name)


def numbers(answer: Any) -> Iterator[float]:
    """All numbers of an answer, one after the other."""
    if isinstance(answer, dict | list):
        for value in answer.values() if isinstance(answer, dict) else answer:
            yield from numbers(value)
    else:
        yield float(answer)
