"""Gradients through long sequences, as `chunk` and `recompute` compute them in a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright.data import Recordings, Text
from gatewright.designs.backpropagation import WHOLE, Backpropagation
from gatewright.designs.design import DESIGNS, Design
from gatewright.designs.network import SequenceNetwork
from gatewright.errors import ArgumentError
from gatewright.tasks.classify import Classify
from gatewright.training import long_sequences
from gatewright.training import train as train_module
from gatewright.training.job import TrainingJob, build_model, perform
from gatewright.training.long_sequences import choose_chunk, step_bytes
from gatewright.training.networks import NETWORKS
from gatewright.training.plan import make_plan
from gatewright.training.recipe import RECIPES, Recipe
from gatewright.training.step_memory import saved_memory
from gatewright.training.train import train

LENGTHS = torch.tensor([23, 5, 1, 17])
DAYS = pd.DataFrame(
    {
        "day": pd.date_range("2024-01-01", periods=120),
        "sold": [day % 7.0 + day % 3 for day in range(120)],
    }
)


def recordings(count: int = 12, steps: int = 30) -> Recordings:
    draw = np.random.default_rng(0)
    return Recordings(
        tuple(draw.normal(size=(steps - 2 * (k % 5), 2)).astype(np.float32) for k in range(count)),
        np.arange(count) % 3,
        ("a", "b", "c"),
        name="noise",
    )


def gradients(outputs: Tensor, module: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(outputs.square().sum(), list(module.parameters())))


@pytest.mark.parametrize(
    "design",
    [
        Design(),
        Design(layers=2),
        Design(segment=3),
        Design(readout=("mean", "max", "share")),
        Design(differences=True, front="convolution", readout=("last", "attention")),
    ],
    ids=repr,
)
def test_outputs_are_those_of_the_whole_and_so_are_the_gradients_of_one_chunk(design: Design):
    torch.manual_seed(0)
    network, x = SequenceNetwork("lstm", 3, 5, design).eval(), torch.randn(23, 4, 3)
    uncut = network(x, LENGTHS)
    expected = gradients(uncut, network)
    for chunk, recompute in ((1, None), (4, True), (22, 3), (23, None), (40, True), (None, 5)):
        result = network(x, LENGTHS, Backpropagation(chunk, recompute))
        torch.testing.assert_close(result, uncut, atol=1e-6, rtol=1e-5)
        own = gradients(result, network)
        if chunk is None or chunk >= len(x):
            torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-4)
        elif chunk < 5:  # a shorter reach has other gradients
            pairs = zip(own, expected, strict=True)
            assert not all(torch.allclose(a, b, rtol=1e-3) for a, b in pairs)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["equal", "ragged"])
@pytest.mark.parametrize("chunk", [1, 6, 40])
def test_gradients_reach_back_exactly_a_chunk_from_the_last_step(
    lengths: Tensor | None, chunk: int
):
    layer = gw.GRU(3, 4, num_layers=2)
    x = torch.randn(23, 4, 3, requires_grad=True)
    Backpropagation(chunk).last(layer, x, lengths).sum().backward()
    assert x.grad is not None
    reached = x.grad.abs().sum(-1) > 0
    ends = torch.full((4,), 23) if lengths is None else lengths
    steps = torch.arange(23)[:, None]
    assert torch.equal(reached, (steps < ends) & (steps >= ends - chunk))


def test_gradients_of_a_mean_end_at_each_chunk():
    layer, x = gw.GRU(3, 4), torch.randn(10, 1, 3, requires_grad=True)
    outputs = Backpropagation(4).every(layer, x)
    (reached,) = torch.autograd.grad(outputs[6].sum(), x)
    assert reached.abs().sum((1, 2)).nonzero().flatten().tolist() == [4, 5, 6]


def test_a_learned_start_is_reached_by_rows_that_are_read_from_their_first_step():
    class Begins(gw.Cell):
        initial = {"h": gw.parameter(start=0.3)}  # noqa: RUF012  (as users write it)

        def step(self, x, h):  # type: ignore[no-untyped-def]
            return gw.state(h=gw.tanh(gw.linear(x, h)))

    layer, x = gw.Recurrent(Begins(), 3, 4), torch.randn(23, 4, 3)
    lengths = torch.tensor([23, 5, 1, 17])
    result = Backpropagation(6).last(layer, x, lengths)
    torch.testing.assert_close(result, WHOLE.last(layer, x, lengths))
    for row, is_reached in enumerate((False, True, True, False)):
        own = torch.autograd.grad(
            result[row].sum(), list(layer.parameters()), retain_graph=True, allow_unused=True
        )
        starts = [
            gradient
            for (name, _), gradient in zip(layer.named_parameters(), own, strict=True)
            if "weight" not in name and "bias" not in name
        ]
        assert len(starts) == 1
        assert (starts[0] is not None and bool(starts[0].abs().sum() > 0)) is is_reached


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["equal", "ragged"])
def test_weights_have_gradients_in_low_precision(lengths: Tensor | None):
    """Autocast keeps converted weights, and those of the steps before a chunk have no graph."""
    layer, x = gw.Recurrent("peephole_lstm", 3, 4, backend="reference"), torch.randn(23, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        result = Backpropagation(6).last(layer, x, lengths)
    for gradient in gradients(result.float(), layer):
        assert gradient.abs().sum() > 0


def test_the_memory_of_a_long_sequence_is_that_of_a_chunk():
    def saved(steps: int, design: Design, way: Backpropagation) -> int:
        network = SequenceNetwork("gru", 2, 8, design)
        x = torch.zeros(steps, 2, 2)
        with saved_memory() as memory:
            network(x, torch.tensor([steps, steps - 1]), way)
        return memory.total

    last, mean = Design(), Design(readout=("mean",))
    short, long = (saved(steps, last, Backpropagation(50)) for steps in (400, 4000))
    assert long < 1.05 * short
    assert long < 0.05 * saved(4000, last, WHOLE)
    uncut = saved(4000, mean, WHOLE)
    assert saved(4000, mean, Backpropagation(50)) > 0.6 * uncut  # as the note says
    assert saved(4000, mean, Backpropagation(50, 50)) < 0.5 * uncut


def trained_weights(recipe: Recipe, network: str = "gru") -> dict[str, Tensor]:
    data = recordings()
    job = TrainingJob(Classify.of(data), network, 4, 0, replace(recipe, epochs=2))
    return perform(job, data)[0].state_dict()


@pytest.mark.parametrize(
    "design", [Design(), Design(layers=2, bidirectional=True, readout=("mean",), dropout=0.3)]
)
def test_a_training_that_recomputes_ends_in_the_same_weights(design: Design):
    recipe = replace(RECIPES["classify"], design=design, least_steps=0)
    expected = trained_weights(recipe)
    for recompute in (True, 7):
        own = trained_weights(replace(recipe, recompute=recompute))
        for name, weight in expected.items():
            torch.testing.assert_close(own[name], weight, atol=1e-4, rtol=1e-3, msg=name)


def test_every_layer_that_learns_recomputes(monkeypatch: pytest.MonkeyPatch):
    """Of a plain layer and of a design, for answers to sequences and to steps."""
    seen: list[Any] = []
    original = gw.Recurrent.forward

    def forward(self: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(options.get("recompute"))
        return original(self, *arguments, **options)

    monkeypatch.setattr(gw.Recurrent, "forward", forward)
    text = Text.from_string("abracadabra " * 300)
    sources: list[tuple[Any, Design]] = [
        (DAYS, Design()),
        (DAYS, Design(layers=2)),
        (text, Design(layers=2)),
        (text, Design()),
    ]
    for data, design in sources:
        plan = make_plan(
            data,
            ["gru"],
            hidden_size=4,
            design=design,
            recompute=9,
            say=lambda line: None,
            reading={},
        )
        model = plan.untrained("gru")
        batch = next(plan.task.batches(plan.parts()[0]).shuffled(2, torch.Generator()))
        seen.clear()
        model(batch)
        assert seen == [9]


def plan_of(data: Any = None, cells: Sequence[str] = ("gru",), **options: Any) -> Any:
    source = recordings() if data is None else data
    return make_plan(source, list(cells), say=lambda line: None, reading={}, **options)


def test_a_plan_with_chunks_tries_what_can_be_cut():
    assert len(plan_of().variants) == 1  # few recordings: only the untrained design
    (variant,) = plan_of(chunk=5).variants
    assert (variant.recipe.design, variant.recipe.chunk) == (Design(), 5)
    assert plan_of(chunk=5).notes[-1].startswith("Gradients reach back 5 steps from the last step")
    joined = plan_of(chunk=5, design=Design(readout=("mean",)))
    assert "takes the memory of whole sequences" in joined.notes[-1]
    assert "memory" not in plan_of(chunk=5, recompute=2, design=Design(readout=("mean",))).notes[-1]
    assert plan_of(DAYS, chunk=5).jobs()[0].recipe.chunk == 5


def test_a_comparison_with_chunks_has_networks_without_gradients_too():
    data = recordings()
    plan = plan_of(data, cells=("window", "untrained", "gru"), chunk=5, hidden_size=4)
    for name in plan.networks:
        cut = plan.untrained(name).eval()
        uncut = plan_of(
            data, cells=(name,), hidden_size=4, design="plain" if name == "gru" else None
        )
        expected = uncut.untrained(name).eval().predict(data)
        np.testing.assert_allclose(cut.predict(data), expected, atol=1e-6)


def test_layers_that_read_from_both_ends_are_refused():
    layer, x = gw.GRU(3, 4, bidirectional=True), torch.randn(9, 2, 3)
    for read in (Backpropagation(4).last, Backpropagation(4).every):
        with pytest.raises(ArgumentError, match="reads from both ends; expected one direction"):
            read(layer, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"design": "both-ways", "chunk": 5},
            "the design reads from both ends: .* recompute bounds",
        ),
        ({"design": "untrained", "chunk": 5}, "chunk is 5, and a design that is not trained has"),
        ({"cells": ["untrained"], "chunk": 5}, "chunk is 5, and the network untrained has random"),
        ({"cells": ["window"], "recompute": 5}, "recompute is 5, and the network window has no st"),
        ({"recompute": 0}, "recompute is 0; expected"),
        ({"recompute": "x"}, "recompute is 'x'; expected"),
        ({"chunk": 0}, "chunk is 0; expected"),
    ],
)
def test_what_has_no_gradients_through_time_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(ArgumentError, match=message):
        plan_of(**options)


def test_ranks_do_not_share_chunks_of_whole_sequences(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train_module, "current_leader", lambda: object())
    with pytest.raises(ArgumentError, match="chunk is 5, and the processes of torchrun share"):
        train(DAYS, chunk=5, epochs=1, progress=False)


def test_the_warning_of_memory_names_what_bounds_it(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of(design="plain", hidden_size=4)
    monkeypatch.setattr(long_sequences, "free_memory", lambda: 10_000)
    chunk, line = choose_chunk(plan.task, plan.training, plan.variants)
    assert chunk is None and "(--recompute auto)" in line
    uncut = step_bytes(plan.variants[0], plan.training)
    own = [plan_of(design="plain", hidden_size=4, **way).variants[0] for way in ({"chunk": 3},)]
    assert step_bytes(own[0], plan.training) == uncut // 10
    again = plan.variants[0].computed(recompute=True)
    assert step_bytes(again, plan.training) == uncut // 6


def test_a_saved_model_reads_whole_sequences(tmp_path: Path):
    data = recordings()
    task = Classify.of(data)
    torch.manual_seed(0)
    recipe = Recipe(design=DESIGNS["plain"], chunk=4, recompute=2)
    model = build_model(task, "gru", NETWORKS["gru"], 4, recipe).eval()
    gw.save(model, tmp_path / "model")
    loaded = gw.load(tmp_path / "model")
    assert model.backpropagation == Backpropagation(4, 2) and loaded.backpropagation == WHOLE
    np.testing.assert_allclose(loaded.predict(data), model.predict(data), atol=1e-6)
