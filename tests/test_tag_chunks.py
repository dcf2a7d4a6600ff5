"""Tagged sequences in chunks: the answers of whole sequences, and trainings in bounded memory."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright import cli
from gatewright.data import Recordings, Tagged, Text
from gatewright.designs.design import Design
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import run_all
from gatewright.training import free_memory as memory_module
from gatewright.training import long_sequences
from gatewright.training.job import TrainingJob, build_model, perform
from gatewright.training.loop import evaluate
from gatewright.training.networks import NETWORKS
from gatewright.training.plan import make_plan
from gatewright.training.recipe import Recipe
from gatewright.training.window import WindowNetwork


def tagged(lengths: list[int], seed: int = 0) -> Tagged:
    """A switch that rare impulses turn on and off: to tell its state takes a memory."""
    draw = np.random.default_rng(seed)
    sequences, labels = [], []
    for length in lengths:
        impulses = (draw.random((length, 2)) < 0.04).astype(np.float32)
        state, states = 0, []
        for is_on, is_off in impulses.tolist():
            state = 1 if is_on else 0 if is_off else state
            states.append(state)
        sequences.append(impulses)
        labels.append(np.array(states, np.int64))
    return Tagged(tuple(sequences), tuple(labels), ("off", "on"), name="switch")


def model_of(task: Tag, network: str, design: Design | None = None) -> Any:
    torch.manual_seed(1)
    recipe = Recipe(design=design or Design())
    return build_model(task, network, NETWORKS[network], 5, recipe).eval()


@pytest.mark.parametrize("network", ["window", "rnn", "lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_model_answers_in_chunks_as_of_whole_sequences(network: str, layers: int):
    data = tagged([50, 3, 1, 29])
    task = Tag.of(data)
    whole = model_of(task, network, Design(layers=layers))
    expected = whole.predict(data)
    loss, scores = evaluate(whole, task.batches(data), data)
    for chunk in (1, 7, 60):
        own = model_of(task.in_chunks(chunk), network, Design(layers=layers))
        for a, b in zip(own.predict(data), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
        batches = own.task.batches(data)
        pairs = own.task.predictions(run_all(own, batches), own)
        assert [len(piece) for piece in pairs] == [50, 3, 1, 29]
        own_loss, own_scores = evaluate(own, batches, data)
        assert own_loss == pytest.approx(loss, rel=1e-4) and own_scores == pytest.approx(scores)


@pytest.mark.parametrize("network", ["window", "lstm"])
def test_an_epoch_reads_every_step_once_and_nothing_crosses_a_start(network: str):
    data = tagged([400, 90, 310, 7])
    steps = np.concatenate([np.arange(len(own)) + 1000 * k for k, own in enumerate(data.labels)])
    coded = [
        np.stack([own[:, 0], np.arange(len(own)) + 1000.0 * k], 1).astype(np.float32)
        for k, own in enumerate(data.sequences)
    ]
    marked = Tagged(tuple(coded), data.labels, data.classes)
    task = Tag.of(marked).in_chunks(12)
    batches = task.batches(marked)
    model = model_of(task, network)
    model.fit_scaling(marked)
    whole = [model(task.batches(marked.take([k])).excerpt(1))[0] for k in range(4)]
    generator = torch.Generator().manual_seed(5)
    cuts = []
    for _ in range(2):
        seen, state, cut = [], None, []
        for number, batch in enumerate(batches.shuffled(3, generator), 1):
            assert batch.carries == (number > 1) and batch.x.shape[1] == 3
            assert batch.items == int(batch.lengths.sum())
            with torch.no_grad():
                outputs, state = model(batch, state if batch.carries else None)
            for row, length in enumerate(batch.lengths.tolist()):
                codes = batch.x[:length, row, 1].long()
                seen += codes.tolist()
                begun = batch.starts[:length, row].nonzero()[:, 0].tolist()
                cut += codes[begun].tolist()
                # After a sequence's own beginning the answers are those of the whole.
                for first, stop in pairwise([*begun, length]):
                    own, position = divmod(int(codes[first]), 1000)
                    if position == 0:
                        torch.testing.assert_close(
                            outputs[first:stop, row][:24], whole[own][: stop - first, 0]
                        )
        assert number == batches.steps(3)
        assert sorted(seen) == steps.tolist()
        assert {0, 1000, 2000, 3000} <= set(cut)
        cuts.append(cut)
    assert cuts[0] != cuts[1]


def test_a_window_sees_only_its_own_sequence_across_chunks():
    window = WindowNetwork(2, 3, reach=3, causal=True)
    x = torch.randn(14, 2, 2)
    starts = torch.zeros(14, 2, dtype=torch.bool)
    starts[0] = starts[5, 0] = starts[6, 0] = starts[11, 1] = True
    full = torch.tensor([14, 14])
    expected = torch.zeros(14, 2, 3)
    for row in range(2):
        edges = [*starts[:, row].nonzero()[:, 0].tolist(), 14]
        for first, stop in pairwise(edges):
            part = x[first:stop, row : row + 1]
            expected[first:stop, row] = window(part, torch.tensor([stop - first]))[:, 0]
    for steps in (1, 2, 5, 14):
        state, outputs = None, []
        for first in range(0, 14, steps):
            part = slice(first, first + steps)
            lengths = torch.full((2,), len(x[part]))
            output, state = window.steps(x[part], lengths, state, starts[part])
            outputs.append(output)
        torch.testing.assert_close(torch.cat(outputs), expected)
    torch.testing.assert_close(window.steps(x, full)[0], window(x, full))


def plan_of(data: Any, **options: Any) -> tuple[Any, list[str]]:
    lines: list[str] = []
    return make_plan(data, ["gru"], say=lines.append, reading={}, **options), lines


def test_long_sequences_are_read_in_chunks_by_default(monkeypatch: pytest.MonkeyPatch):
    short = tagged([300] * 6)
    plan, lines = plan_of(short)
    assert plan.task.chunk is None and len(plan.variants) == 2 and "chunk" not in " ".join(lines)
    # Where the memory is short, or sequences are long: only designs that read step by step.
    for name, value in (("MAX_WHOLE", 200), ("free_memory", lambda: 10_000)):
        with monkeypatch.context() as patch:
            patch.setattr(long_sequences, name, value)
            plan, lines = plan_of(short)
            assert plan.task.chunk == long_sequences.CHUNK and len(plan.variants) == 1
            assert "300 steps and are read in chunks of 500" in lines[-1] == plan.notes[-1]
            bidirectional, lines = plan_of(short, design="both-ways")
            assert bidirectional.task.chunk is None and "warning: sequences have" in lines[-1]
    recordings = Recordings(short.sequences, np.array([0, 1] * 3), ("a", "b"))
    monkeypatch.setattr(long_sequences, "free_memory", lambda: 10_000)
    plan, lines = plan_of(recordings, design="plain")
    assert "a step of training takes about" in lines[-1] and "--segment" in lines[-1]


def test_the_free_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, text in (
        ("MEMINFO", "MemTotal: 9 kB\nMemAvailable:  4000 kB\n"),
        ("LIMIT", "3000000\n"),
        ("USED", "1000000\n"),
    ):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(memory_module, name, tmp_path / name)
    assert memory_module.free_memory() == 2_000_000
    (tmp_path / "LIMIT").write_text("max\n")
    assert memory_module.free_memory() == 4_096_000


@pytest.mark.slow(instead="test_an_epoch_reads_every_step_once_and_nothing_crosses_a_start")
def test_a_training_in_chunks_learns_and_its_model_keeps_them(tmp_path: Path):
    data = tagged([9000])
    plan, _ = plan_of(data, chunk=20, epochs=12, seeds=1, hidden_size=8)
    assert any("chunks of 20" in line for line in plan.notes)
    (job,) = plan.jobs()
    model, history = perform(TrainingJob.from_json(job.to_json()), plan.training)
    assert history.best["accuracy"] > 0.9
    gw.save(model, tmp_path / "m")
    loaded = gw.load(tmp_path / "m")
    assert loaded.task.chunk == 20
    np.testing.assert_array_equal(loaded.predict(data)[0], model.predict(data)[0])


def test_designs_that_cannot_be_read_in_chunks_say_why():
    data = tagged([300] * 6)
    with pytest.raises(gw.ArgumentError, match=r"design does not fit the task tag: .* chunks of 9"):
        plan_of(data, chunk=9, design="both-ways")
    with pytest.raises(gw.ArgumentError, match="chunk is 0; expected a whole number from 1"):
        plan_of(data, chunk=0)
    plan, _ = plan_of(Text.from_string("abracadabra " * 300), chunk=64)
    assert plan.task.chunk == 64
    batch = next(iter(plan.task.batches(plan.training).ordered(8)))
    assert len(batch.x) == 64


def test_the_command_line_passes_the_chunk_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(data: str, **options: Any) -> None:
        raise gw.ArgumentError(f"chunk is {options['chunk']}")

    for command in ("train", "compare"):
        with monkeypatch.context() as patch:
            patch.setattr(f"gatewright.training.train.{command}", refused)
            patch.setattr("sys.argv", ["gatewright", command, "a.csv", "--chunk", "9"])
            with pytest.raises(SystemExit) as end:
                cli.main()
            assert end.value.code == 2
