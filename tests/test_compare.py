"""The comparison: fair, chosen on validation, whole or not at all."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import gatewright as gw
from gatewright.data import Recordings, load, load_vowels, read
from gatewright.errors import ArgumentError, DataError, TrainingError
from gatewright.tasks.classify import Classify
from gatewright.tasks.padding import pad
from gatewright.tasks.registry import baselines_for
from gatewright.tasks.task import Batch
from gatewright.tasks.training_ranges import TrainingRanges, numbered
from gatewright.training import experiment as experiment_module
from gatewright.training import source as source_module
from gatewright.training.compare import compare
from gatewright.training.job import Run, build_model, perform
from gatewright.training.loop import disturb, train
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS, TOLERANCE, parameters, solve_hidden_size
from gatewright.training.processes import pool
from gatewright.training.processes.pool import perform_all
from gatewright.training.recipe import RECIPES, VOWELS
from gatewright.training.window import Window
from in_process import perform_here

SMALL = replace(VOWELS, budget=1500, epochs=3, learning_rate=1e-2, weight_decay=0.01)
VOWEL_DATA = load_vowels().train
SPEAKERS = Classify.of(VOWEL_DATA)


def small_run(network: str = "rnn", *, seed: int = 0, hidden_size: int = 7) -> Run:
    return Run(SPEAKERS, network, hidden_size, seed, SMALL)


def model_of(name: str, task: Classify, hidden_size: int) -> Model:
    return build_model(task, name, NETWORKS[name], hidden_size, SMALL)


def letters(channels: int, classes: str) -> Classify:
    """A task with these classes, of data with these channels."""
    seen = TrainingRanges.of_values([np.zeros((2, channels))], numbered(channels))
    return Classify(classes=tuple(classes), seen=seen)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory):
    """A small but whole comparison: (comparison, its directory)."""
    out = tmp_path_factory.mktemp("compared") / "new" / "run"
    found = compare(
        "vowels",
        out=out,
        cells=["window", "lstm"],
        seeds=2,
        epochs=4,
        budget=1500,
        progress=False,
    )
    return found, out


# The networks and their budget.
@pytest.mark.parametrize("budget", [2_000, 10_000])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_meets_the_budget(name: str, budget: int) -> None:
    def build(size: int) -> nn.Module:
        return model_of(name, SPEAKERS, size)

    size = solve_hidden_size(name, build, budget)
    count = parameters(build(size))
    assert abs(count - budget) <= TOLERANCE * budget
    for other in (size - 1, size + 1):
        assert abs(parameters(build(other)) - budget) >= abs(count - budget)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_recipe_of_the_vowels_is_met_within_three_percent(name: str) -> None:
    def build(size: int) -> nn.Module:
        return model_of(name, SPEAKERS, size)

    budget = RECIPES["vowels"].budget
    size = solve_hidden_size(name, build, budget)
    assert abs(parameters(build(size)) - budget) <= 0.03 * budget


def test_solving_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    solve_hidden_size("lstm", lambda size: model_of("lstm", letters(3, "ab"), size), 1000)
    assert torch.equal(torch.rand(2), expected)


def test_the_window_is_the_mean_of_what_five_steps_say() -> None:
    window = Window(3, 4)
    x, length = torch.randn(9, 2, 3), [9, 2]
    expected = []
    for row, steps in enumerate(length):
        seen = []
        for step in range(steps):
            reads = [min(max(step + offset, 0), steps - 1) for offset in range(-2, 3)]
            seen.append(torch.relu(window.hidden(torch.cat([x[at, row] for at in reads]))))
        expected.append(torch.stack(seen).mean(0))
    torch.testing.assert_close(window.mean(x, torch.tensor(length)), torch.stack(expected))


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_and_company_change_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = model_of(name, letters(3, "abcd"), 5).double().eval()
    x, lengths = torch.randn(9, 3, 3, dtype=torch.float64), torch.tensor([4, 9, 1])
    for row, length in enumerate(lengths):
        x[length:, row] = math.nan
    x.requires_grad_()
    target = torch.zeros_like(lengths)
    together, _ = model(Batch(x, lengths, target))
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone, _ = model(Batch(x[:length, one], lengths[one], target[one]))
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-12)
    together.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# The loop.
def test_training_learns_and_keeps_a_late_epoch() -> None:
    run = replace(small_run("gru"), recipe=replace(SMALL, epochs=12))
    model, history = perform(run, VOWEL_DATA)
    assert history.train_loss[-1] < history.train_loss[0] / 1.5
    assert history.kept >= 9 and len(history.validation_loss) == 12
    assert history.validation_loss[history.kept] == min(history.validation_loss[9:])
    # The weights in the model are those of the kept epoch, not of the last.
    _, validation = run.parts(VOWEL_DATA)
    labels = torch.from_numpy(validation.labels)
    loss = nn.functional.nll_loss(torch.tensor(model.predict(validation)).log(), labels)
    assert loss.item() == pytest.approx(history.validation_loss[history.kept], rel=1e-5)


def test_a_seed_fixes_everything_and_another_changes_it() -> None:
    first, again, other = (perform(small_run(seed=seed), VOWEL_DATA)[1] for seed in (4, 4, 5))
    assert first.train_loss == again.train_loss
    assert first.validation_loss == again.validation_loss
    assert first.train_loss != other.train_loss


def test_networks_of_one_seed_see_the_same_batches_and_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, list[torch.Tensor]] = {}

    def recording(name: str):
        def seeing(z, recipe, generator):
            seen.setdefault(name, []).append(disturb(z, recipe, generator))
            return seen[name][-1]

        return seeing

    for name in ("rnn", "lstm"):
        monkeypatch.setattr("gatewright.training.loop.disturb", recording(name))
        perform(small_run(name), VOWEL_DATA)
    assert len(seen["rnn"]) == len(seen["lstm"]) == 3 * 8
    assert all(torch.equal(a, b) for a, b in zip(seen["rnn"], seen["lstm"], strict=True))


def test_scaling_knows_the_recordings_to_learn_from_alone() -> None:
    run = small_run()
    training, validation = run.parts(VOWEL_DATA)
    assert len(training) == 216 and len(validation) == 54
    values = np.concatenate(training.sequences)
    model = run.model(training)
    np.testing.assert_allclose(model.mean, values.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.scale, values.std(0), rtol=1e-4)
    x, lengths = pad(training.sequences)
    z = model.encode(x)
    inside = torch.cat([z[: int(length), row] for row, length in enumerate(lengths)])
    assert inside.mean(0).abs().max() < 1e-4 and (inside.std(0) - 1).abs().max() < 1e-3


def test_a_channel_that_never_changes_is_no_trouble() -> None:
    model = model_of("rnn", letters(2, "ab"), 3)
    sequences = (np.array([[1, 5], [2, 5], [4, 5]], np.float32),)
    model.fit_scaling(Recordings(sequences, np.array([0]), ("a", "b")))
    assert np.isfinite(model.predict([np.array([[3, 5]], np.float32)])).all()


def test_a_loss_that_is_not_finite_stops_with_where_it_was() -> None:
    training, validation = small_run().parts(load_vowels().train)
    model = small_run("gru").model(training)
    training.sequences[100][0] = math.nan
    with pytest.raises(TrainingError, match=r"loss of gru is nan with seed 2 in epoch 1, step \d"):
        train(model, training, validation, SMALL, seed=2)


# Several processes.
def test_it_does_not_matter_in_which_process_a_network_learns() -> None:
    runs = [small_run(seed=seed) for seed in range(3)]
    told: list[tuple[int, int]] = []
    there = perform_all(
        runs,
        VOWEL_DATA,
        processes=2,
        on_epoch=lambda run, epoch, loss: told.append((run.seed, epoch)),
    )
    # Side by side, so that only the order within each run is known.
    assert sorted(told, key=lambda one: one[0]) == [(s, e) for s in range(3) for e in (1, 2, 3)]
    for a, b, run in zip(perform_here(runs, VOWEL_DATA), there, runs, strict=True):
        assert a.run == b.run == run
        assert a.history.train_loss == b.history.train_loss
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_an_error_in_a_process_arrives_as_itself() -> None:
    bad = replace(small_run(), recipe=replace(SMALL, learning_rate=math.inf))
    with pytest.raises(TrainingError, match="loss of rnn is nan with seed 0 in epoch 1, step 2"):
        perform_all([bad, small_run(seed=1)], VOWEL_DATA, processes=1)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_process_that_dies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def remembered(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(pool.subprocess, "Popen", remembered)
    long = replace(small_run("lstm"), recipe=replace(SMALL, epochs=1000))
    with pytest.raises(TrainingError, match="trained lstm with seed 0 was ended by signal 9"):
        perform_all([long], VOWEL_DATA, on_epoch=lambda run, epoch, loss: started[0].kill())


# The whole.
def test_the_test_part_is_opened_after_all_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = True

    class Closed(Recordings):
        def __getattribute__(self, name: str):
            assert not closed, "the test part was read before the training had ended"
            return super().__getattribute__(name)

    real = load_vowels()
    sealed = object.__new__(Closed)
    for field in Recordings.__dataclass_fields__:
        object.__setattr__(sealed, field, getattr(real.test, field))

    def after_all(*given, **options):
        nonlocal closed
        outcomes = perform_here(*given, **options)
        closed = False
        return outcomes

    first = baselines_for(SPEAKERS)[:1]  # the other one takes its time
    monkeypatch.setattr(experiment_module, "baselines_for", lambda task: first)
    monkeypatch.setattr(source_module, "read", lambda data: replace(read("vowels"), test=sealed))
    monkeypatch.setattr(experiment_module, "perform_all", after_all)
    compare(out=tmp_path / "out", cells=["window"], seeds=1, epochs=1, budget=1500, progress=False)
    assert not closed


def test_what_it_returns(compared) -> None:
    found, _ = compared
    assert [entry.name for entry in found.networks] == ["window", "lstm"]
    assert found.sizes["training"] == "216 sequences" and found.sizes["test"] == "370 sequences"
    for entry in found.networks:
        assert [trial.seed for trial in entry.trials] == [0, 1]
        assert abs(entry.parameters - 1500) <= 150
        assert entry.seconds > 0
        for trial in entry.trials:
            right = trial.predicted.argmax(-1) == load("vowels").test.labels
            assert trial.test["accuracy"] == pytest.approx(right.mean())
            assert trial.history.step_seconds > 0 and trial.history.step_bytes > 1000
    means = {one.name: np.mean(one.validation(found.metric)) for one in found.networks}
    assert means[found.best.name] == max(means.values())
    assert sum(map(sum, found.shown["confusion"])) == 370
    table = found.table()
    assert table.row_count == 5 and "opened once" in str(table.caption)


def test_a_narrow_terminal_gets_fewer_columns_and_nothing_cut(compared) -> None:
    found, counts = compared[0], []
    for width in (160, 60, 45, 30):
        console = Console(width=width, file=io.StringIO())
        table = found.table(console=console)
        counts.append(len(table.columns))
        assert ("for want of width" in str(table.caption)) == (counts[-1] < 7)
        console.print(table)
        said = console.file.getvalue()
        assert "…" not in said and max(map(len, said.splitlines())) <= width
        assert all(found.row(entry)[1] in said for entry in found.entries)
    assert counts[0] == 7 and counts[-1] == 2 and counts == sorted(counts, reverse=True)


def test_what_it_says_for_machines(compared) -> None:
    found, out = compared
    said = json.loads(found.to_json())
    assert said == json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert said["recipe"]["budget"] == 1500 and said["recipe"]["epochs"] == 4
    assert [one["name"] for one in said["networks"]] == ["window", "lstm"]
    accuracies = [trial["test"]["accuracy"] for trial in said["networks"][1]["trials"]]
    assert said["networks"][1]["test"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert said["best"]["network"] == found.best.name
    assert str(out) not in found.to_json()


def test_the_directory_holds_the_best_model(compared) -> None:
    found, out = compared
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "report.html",
        "results.json",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    model = gw.load(out)
    test = load("vowels").test
    assert model.network == found.best.name and model.task.classes == test.classes
    np.testing.assert_allclose(model.predict(test), found.chosen.predicted, rtol=1e-5, atol=1e-7)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"{100 * found.chosen.test['accuracy']:.1f} %" in card
    for word in ("gw.load", "CC BY 4.0", "370", "Limits"):
        assert word in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": ["lstn"]}, "no network is called 'lstn'"),
        ({"cells": ["gru_d"]}, "GRUD reads mask, delta besides the event"),
        ({"cells": []}, "no network was given"),
        ({"cells": "lstm"}, r"expected a list: \['lstm'\]"),
        ({"cells": ["rnn", "rnn"]}, "each name once"),
        ({"seeds": 0}, "seeds is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"budget": -5}, "budget is -5"),
        ({"budget": 1}, "budget of 1 parameters cannot be met by the network window"),
    ],
)
def test_bad_arguments_change_nothing(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        compare(out=tmp_path / "new" / "out", **options)
    with pytest.raises(DataError, match="no bundled data set"):
        compare("nothing", out=tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_there_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(experiment_module, "perform_all")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ArgumentError, match="exists and is not empty"):
        compare(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_midway_it_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    """Neither where its result was to stand nor where temporary files do."""
    out = tmp_path / "out"
    arguments = ["compare", "vowels", "--out", str(out), "--epochs", "500", "--budget", "1500"]
    arguments += ["--cells", "rnn", "--seeds", "1"]
    started = subprocess.Popen(
        [sys.executable, "-m", "gatewright", *arguments],
        # Whoever started the tests may ignore it, and children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    children: list[int] = []
    deadline = time.monotonic() + 60
    while not children and time.monotonic() < deadline:
        time.sleep(0.2)
        children = children_of(started.pid)
    time.sleep(1.0)
    started.send_signal(how)
    said = started.communicate(timeout=60)
    assert started.returncode == (130 if how == signal.SIGINT else -how), said
    assert "Traceback" not in said[1]
    deadline = time.monotonic() + 60  # nobody listens to them: they end by themselves
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert children and not any(map(alive, children))
    assert list(tmp_path.iterdir()) == []


def children_of(process: int) -> list[int]:
    """The processes that this one has started, by number."""
    everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [one for one in everyone if state_and_parent(one)[1] == str(process)]


def alive(process: int) -> bool:
    return state_and_parent(process)[0] not in ("", "Z")


def state_and_parent(process: int) -> tuple[str, str]:
    try:
        said = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return said[0], said[1]


def test_the_vowels_are_learned(compared) -> None:
    """Four epochs of few parameters are no result, but far from chance, which is 11 %."""
    found, _ = compared
    assert all(min(entry.test(found.metric)) > 0.3 for entry in found.networks)
