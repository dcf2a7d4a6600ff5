"""The comparison: fair, chosen on validation, and written completely or not at all."""

from __future__ import annotations

import copy
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
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import gatewright as gw
from gatewright import files
from gatewright.data import Recordings, load, load_vowels, read
from gatewright.errors import ArgumentError, DataError, TrainingError
from gatewright.tasks.classify import Classify
from gatewright.tasks.padding import pad
from gatewright.tasks.registry import baselines_for
from gatewright.tasks.task import Batch
from gatewright.tasks.training_ranges import TrainingRanges, numbered
from gatewright.training import experiment as experiment_module
from gatewright.training import plan as plan_module
from gatewright.training import source as source_module
from gatewright.training.history import BY_HAND, Epoch
from gatewright.training.job import TrainingJob, build_model, perform
from gatewright.training.loop import LoopState, disturb, run_loop
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS, TOLERANCE, count_parameters, solve_hidden_size
from gatewright.training.optimizers import Adam, AdamW
from gatewright.training.processes import pool
from gatewright.training.processes.pool import WorkerPool, perform_all
from gatewright.training.recipe import RECIPES, VOWELS
from gatewright.training.run import OpenRun
from gatewright.training.train import compare
from gatewright.training.window import WindowNetwork
from in_process import perform_here, training_here

SMALL = replace(VOWELS, parameters=1500, epochs=3, learning_rate=1e-2, weight_decay=0.01)
VOWEL_DATA = load_vowels().train
SPEAKERS = Classify.of(VOWEL_DATA)


def small_job(network: str = "rnn", *, seed: int = 0, hidden_size: int = 7) -> TrainingJob:
    return TrainingJob(SPEAKERS, network, hidden_size, seed, SMALL)


def model_of(name: str, task: Classify, hidden_size: int) -> Model:
    return build_model(task, name, NETWORKS[name], hidden_size, SMALL)


def letters(channels: int, classes: str) -> Classify:
    """A task whose classes are single letters."""
    seen = TrainingRanges.of_values([np.zeros((2, channels))], numbered(channels))
    return Classify(classes=tuple(classes), seen=seen)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory):
    """A small but complete comparison: (comparison, its directory)."""
    out = tmp_path_factory.mktemp("compared") / "new" / "run"
    with training_here():
        comparison = compare(
            "vowels",
            out=out,
            cells=["window", "lstm"],
            seeds=2,
            epochs=4,
            parameters=1500,
            progress=False,
        )
    return comparison, out


# The networks and their budget.
@pytest.mark.parametrize("budget", [2_000, 10_000])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_meets_the_budget(name: str, budget: int) -> None:
    def build(size: int) -> nn.Module:
        return model_of(name, SPEAKERS, size)

    size = solve_hidden_size(name, build, budget)
    count = count_parameters(build(size))
    assert abs(count - budget) <= TOLERANCE * budget
    for other in (size - 1, size + 1):
        assert abs(count_parameters(build(other)) - budget) >= abs(count - budget)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_recipe_of_the_vowels_is_met_within_three_percent(name: str) -> None:
    def build(size: int) -> nn.Module:
        return model_of(name, SPEAKERS, size)

    budget = RECIPES["vowels"].parameters
    size = solve_hidden_size(name, build, budget)
    assert abs(count_parameters(build(size)) - budget) <= 0.03 * budget


def test_solving_does_not_touch_the_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    solve_hidden_size("lstm", lambda size: model_of("lstm", letters(3, "ab"), size), 1000)
    assert torch.equal(torch.rand(2), expected)


def test_the_window_network_is_the_mean_over_windows_of_five_steps() -> None:
    window = WindowNetwork(3, 4)
    x, length = torch.randn(9, 2, 3), [9, 2]
    expected = []
    for row, steps in enumerate(length):
        seen = []
        for step in range(steps):
            reads = [min(max(step + offset, 0), steps - 1) for offset in range(-2, 3)]
            seen.append(torch.relu(window.hidden(torch.cat([x[t, row] for t in reads]))))
        expected.append(torch.stack(seen).mean(0))
    torch.testing.assert_close(window.mean(x, torch.tensor(length)), torch.stack(expected))


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_and_other_rows_change_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = model_of(name, letters(3, "abcd"), 5).double().eval()
    x, lengths = torch.randn(9, 3, 3, dtype=torch.float64), torch.tensor([4, 9, 1])
    for row, length in enumerate(lengths):
        x[length:, row] = math.nan
    x.requires_grad_()
    target = torch.zeros_like(lengths)
    together, _ = model(Batch(x, lengths, target))
    for row, length in enumerate(lengths):
        own = slice(row, row + 1)
        separate, _ = model(Batch(x[:length, own], lengths[own], target[own]))
        torch.testing.assert_close(together[own], separate, rtol=0, atol=1e-12)
    together.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# The loop.
def test_training_learns_and_keeps_a_late_epoch() -> None:
    job = replace(small_job("gru"), recipe=replace(SMALL, epochs=12))
    model, history = perform(job, VOWEL_DATA)
    assert history.train_loss[-1] < history.train_loss[0] / 1.5
    assert history.best_epoch >= 9 and len(history.validation_loss) == 12
    assert history.validation_loss[history.best_epoch] == min(history.validation_loss[9:])
    # The weights in the model are those of the kept epoch, not of the last.
    _, validation = job.parts(VOWEL_DATA)
    labels = torch.from_numpy(validation.labels)
    loss = nn.functional.nll_loss(torch.tensor(model.predict(validation)).log(), labels)
    assert loss.item() == pytest.approx(history.validation_loss[history.best_epoch], rel=1e-5)


def test_a_seed_fixes_everything_and_another_changes_it() -> None:
    first, again, other = (perform(small_job(seed=seed), VOWEL_DATA)[1] for seed in (4, 4, 5))
    assert first.train_loss == again.train_loss
    assert first.validation_loss == again.validation_loss
    assert first.train_loss != other.train_loss


def test_networks_of_one_seed_see_the_same_batches_and_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, list[torch.Tensor]] = {}

    def recording(name: str):
        def seeing(z, recipe, generator, share):
            seen.setdefault(name, []).append(disturb(z, recipe, generator, share))
            return seen[name][-1]

        return seeing

    for name in ("rnn", "lstm"):
        monkeypatch.setattr("gatewright.training.loop.disturb", recording(name))
        perform(small_job(name), VOWEL_DATA)
    assert len(seen["rnn"]) == len(seen["lstm"]) == 3 * 8
    assert all(torch.equal(a, b) for a, b in zip(seen["rnn"], seen["lstm"], strict=True))


def test_scaling_knows_only_the_recordings_to_learn_from() -> None:
    job = small_job()
    training, validation = job.parts(VOWEL_DATA)
    assert len(training) == 216 and len(validation) == 54
    values = np.concatenate(training.sequences)
    model = job.model(training)
    np.testing.assert_allclose(model.mean, values.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.scale, values.std(0), rtol=1e-4)
    x, lengths = pad(training.sequences)
    z = model.encode(x)
    inside = torch.cat([z[: int(length), row] for row, length in enumerate(lengths)])
    assert inside.mean(0).abs().max() < 1e-4 and (inside.std(0) - 1).abs().max() < 1e-3


def test_a_constant_channel_is_scaled_to_finite_values() -> None:
    model = model_of("rnn", letters(2, "ab"), 3)
    sequences = (np.array([[1, 5], [2, 5], [4, 5]], np.float32),)
    model.fit_scaling(Recordings(sequences, np.array([0]), ("a", "b")))
    assert np.isfinite(model.predict([np.array([[3, 5]], np.float32)])).all()


def test_a_loss_that_is_not_finite_stops_and_names_its_step() -> None:
    training, validation = small_job().parts(load_vowels().train)
    model = small_job("gru").model(training)
    training.sequences[100][0] = math.nan
    with pytest.raises(TrainingError, match=r"loss of gru is nan with seed 2 in epoch 1, step \d"):
        run_loop(LoopState(model, SMALL, 8, seed=2), training, validation)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_loop_that_continues_after_an_epoch_equals_an_uninterrupted_one(epochs: int) -> None:
    recipe = replace(SMALL, epochs=6, dropout=0.4, keep_from=0.0, patience=4)
    job = replace(small_job("gru", seed=3), recipe=recipe)
    training, validation = job.parts(VOWEL_DATA)

    def new_state(seed: int) -> LoopState:
        torch.manual_seed(seed)
        steps = recipe.steps_per_epoch(SPEAKERS.batches(training))
        return LoopState(job.model(training), recipe, steps, seed=seed)

    saved: list[bytes] = []

    def save(state: LoopState) -> None:
        file = io.BytesIO()
        torch.save(state.state_dict(), file)
        saved.append(file.getvalue())

    with torch.random.fork_rng(devices=[]):
        whole = new_state(3)
        run_loop(whole, training, validation, on_epoch=save)
        # Stopped after the epoch by another process, which knows nothing but the bytes.
        continued = new_state(99)
        torch.rand(5)
        continued.load_state_dict(torch.load(io.BytesIO(saved[epochs - 1]), weights_only=True))
        assert continued.epoch == epochs
        run_loop(continued, training, validation)
    assert len(saved) == whole.epoch == 6
    for name in ("train_loss", "validation_loss", "validation", "best_epoch", "stopped"):
        assert getattr(continued.history, name) == getattr(whole.history, name), name
    assert whole.history.train_loss[-1] != whole.history.train_loss[epochs]  # it went on learning
    assert continued.history.step_bytes == whole.history.step_bytes
    assert len(continued.step_seconds) == len(whole.step_seconds) == 6 * whole.steps_per_epoch
    pairs = [(continued.model.state_dict(), whole.model.state_dict())]
    pairs += [
        (continued.optimizer.state_dict()["state"][i], whole.optimizer.state_dict()["state"][i])
        for i in whole.optimizer.state_dict()["state"]
    ]
    for own, expected in pairs:
        assert all(torch.equal(own[name], expected[name]) for name in expected)
    assert torch.equal(continued.noise.get_state(), whole.noise.get_state())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)],
    ids=["adam", "adamw"],
)
def test_the_optimizers_are_those_of_torch(ours: Any, theirs: Any) -> None:
    """Bit for bit, also after a state is loaded."""
    weights = []
    for kind in (ours, theirs):
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 3)
        optimizer = kind(layer.parameters(), 0.01, weight_decay=0.1)
        for _ in range(6):
            optimizer.zero_grad()
            layer(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = kind(layer.parameters(), 0.5)
            optimizer.load_state_dict(state)
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
        assert len(optimizer.param_groups) == 2
        weights.append(layer.weight.detach())
    assert torch.equal(*weights)


def test_a_stop_by_hand_does_not_bind_the_loop_that_continues() -> None:
    job = small_job()
    training, validation = job.parts(VOWEL_DATA)
    state = LoopState(job.model(training), SMALL, 8, seed=0)
    run_loop(state, training, validation, stop=lambda: bool(state.step_seconds))
    assert state.history.stopped == BY_HAND and (state.epoch, state.history.best_epoch) == (1, 0)
    again = LoopState(job.model(training), SMALL, 8, seed=0)
    again.load_state_dict(state.state_dict())
    assert run_loop(again, training, validation).stopped == "" and again.epoch == 3


# Several processes.
@pytest.mark.slow(instead="test_a_process_that_dies_is_named_and_holds_the_run_until_then")
@pytest.mark.usefixtures("forked_python")
def test_it_does_not_matter_in_which_process_a_network_learns() -> None:
    jobs = [small_job(seed=seed) for seed in range(3)]
    epochs: list[tuple[int, int]] = []
    in_workers = perform_all(
        jobs,
        VOWEL_DATA,
        processes=2,
        on_epoch=lambda job, epoch: epochs.append((job.seed, epoch.number)),
    )
    # Side by side, so that only the order within each job is known.
    assert sorted(epochs, key=lambda pair: pair[0]) == [(s, e) for s in range(3) for e in (1, 2, 3)]
    for a, b, job in zip(perform_here(jobs, VOWEL_DATA), in_workers, jobs, strict=True):
        assert a.job == b.job == job
        assert a.history.train_loss == b.history.train_loss
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


@pytest.mark.slow(instead="test_a_loss_that_is_not_finite_stops_and_names_its_step")
@pytest.mark.usefixtures("forked_python")
def test_a_pool_keeps_its_processes_until_an_error_arrives_as_itself() -> None:
    job = small_job()
    bad = replace(job, recipe=replace(SMALL, learning_rate=math.inf))
    workers = WorkerPool()
    try:
        (first,) = perform_all([job], VOWEL_DATA, processes=1, pool=workers)
        assert workers.workers is not None
        (process,) = workers.workers.processes
        (again,) = perform_all([job], VOWEL_DATA, processes=1, pool=workers)
        assert workers.workers.processes == [process]
        for name, weight in first.weights.items():
            assert torch.equal(weight, again.weights[name])
        process.kill()  # between two lists of jobs
        process.wait()
        perform_all([job, small_job(seed=1)], VOWEL_DATA, processes=2, pool=workers)
        assert workers.workers is not None and process not in workers.workers.processes
        assert len(workers.workers.processes) == 2
        with pytest.raises(
            TrainingError, match="loss of rnn is nan with seed 0 in epoch 1, step 2"
        ):
            perform_all([bad, job], VOWEL_DATA, processes=1, pool=workers)
        assert workers.workers is None
    finally:
        workers.end()


@pytest.mark.skipif(files.fcntl is None, reason="SIGKILL and the lock are POSIX")
@pytest.mark.usefixtures("forked_python")
def test_a_process_that_dies_is_named_and_holds_the_run_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def remembered(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(pool.subprocess, "Popen", remembered)
    long = replace(small_job("lstm"), recipe=replace(SMALL, epochs=1000))
    run = OpenRun(tmp_path, "train", None)
    run.folder.mkdir()
    run.lock = os.open(run.folder, os.O_RDONLY)
    files.fcntl.flock(run.lock, files.fcntl.LOCK_EX)

    def kill(job: TrainingJob, epoch: Epoch) -> None:
        if started[0].poll() is None and run.lock is not None:
            os.close(run.lock)  # as the end of the first process does
            run.lock = None
            with files.locked(run.folder) as is_free:
                assert is_free is False
            started[0].kill()

    message = r"trained lstm with seed 0 was ended by signal 9: .* Resume with: gatewright train"
    with pytest.raises(TrainingError, match=message):
        perform_all([long], VOWEL_DATA, on_epoch=kill, run=run)
    with files.locked(run.folder) as is_free:
        assert is_free


# A complete comparison.
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

    def after_all(*arguments, **options):
        nonlocal closed
        outcomes = perform_here(*arguments, **options)
        closed = False
        return outcomes

    first = baselines_for(SPEAKERS)[:1]  # the others are slow
    monkeypatch.setattr(plan_module, "baselines_for", lambda task: first)
    monkeypatch.setattr(source_module, "read", lambda data: replace(read("vowels"), test=sealed))
    monkeypatch.setattr(experiment_module, "perform_all", after_all)
    compare(
        out=tmp_path / "out", cells=["window"], seeds=1, epochs=1, parameters=1500, progress=False
    )
    assert not closed


def test_the_comparison_has_rows_metrics_and_times(compared) -> None:
    comparison, _ = compared
    assert [entry.name for entry in comparison.networks] == ["window", "lstm"]
    assert comparison.sizes["training"] == "216 sequences"
    assert comparison.sizes["test"] == "370 sequences"
    for entry in comparison.networks:
        assert [trial.seed for trial in entry.trials] == [0, 1]
        assert abs(entry.parameters - 1500) <= 150
        assert entry.seconds > 0
        for trial in entry.trials:
            right = trial.predicted.argmax(-1) == load("vowels").test.labels
            assert trial.test["accuracy"] == pytest.approx(right.mean())
            assert trial.history.step_seconds > 0 and trial.history.step_bytes > 1000
    metric = comparison.metric
    means = {entry.name: np.mean(entry.validation(metric)) for entry in comparison.networks}
    assert means[comparison.best.name] == max(means.values())
    assert sum(map(sum, comparison.shown["confusion"])) == 370
    table = comparison.table()
    # A row for each network and baseline, and one for the mean of the best network's seeds.
    assert table.row_count == 6 and "opened once" in str(table.caption)


def test_a_narrow_terminal_gets_fewer_columns_and_nothing_cut(compared) -> None:
    comparison, counts = compared[0], []
    for width in (160, 60, 45, 30):
        console = Console(width=width, file=io.StringIO())
        table = comparison.table(console=console)
        counts.append(len(table.columns))
        caption = str(table.caption)
        assert ("the terminal is narrow: " in caption) == (counts[-1] < 7)
        assert ("what a training step keeps" in caption) == (counts[-1] == 7)
        console.print(table)
        text = console.file.getvalue()
        assert "…" not in text and max(map(len, text.splitlines())) <= width
        assert all(comparison.row(entry)[1] in text for entry in comparison.entries)
    assert counts[0] == 7 and counts[-1] == 2 and counts == sorted(counts, reverse=True)


def test_the_results_in_json(compared) -> None:
    comparison, out = compared
    results = json.loads(comparison.to_json())
    assert results == json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["recipe"]["parameters"] == 1500 and results["recipe"]["epochs"] == 4
    assert [network["name"] for network in results["networks"]] == ["window", "lstm"]
    lstm = results["networks"][1]
    accuracies = [trial["test"]["accuracy"] for trial in lstm["trials"]]
    assert lstm["test"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    # "kept" is the stored name of the best epoch.
    history = lstm["trials"][0]["history"]
    assert history["validation_loss"][history["kept"]] == lstm["trials"][0]["validation_loss"]
    assert results["best"]["network"] == comparison.best.name
    assert str(out) not in comparison.to_json()


def test_the_directory_holds_the_best_model(compared) -> None:
    comparison, out = compared
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
    assert model.network == comparison.best.name and model.task.classes == test.classes
    # The model is the mean of the best network's seeds: the probabilities are averaged.
    expected = np.mean([trial.predicted for trial in comparison.best.trials], axis=0)
    np.testing.assert_allclose(model.predict(test), expected, rtol=1e-5, atol=1e-7)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"{100 * comparison.ensemble.test['accuracy']:.1f} %" in card
    right = expected.argmax(-1) == test.labels
    assert comparison.ensemble.test["accuracy"] == pytest.approx(right.mean())
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
        ({"parameters": -5}, "parameters is -5"),
        ({"parameters": 1}, "parameters is 1, which the network window cannot have"),
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


@pytest.mark.slow(instead="test_files.py::test_ctrl_c_leaves_nothing")
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_midway_it_leaves_only_its_checkpoints(tmp_path: Path, how: signal.Signals) -> None:
    """No other file, neither in the output directory nor among the temporary files."""
    out = tmp_path / "out"
    arguments = ["compare", "vowels", "--out", str(out), "--epochs", "500", "--parameters", "1500"]
    arguments += ["--cells", "rnn", "--seeds", "1"]
    started = subprocess.Popen(
        [sys.executable, "-m", "gatewright", *arguments],
        # The tests may run with SIGINT ignored, and children would inherit that.
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
    output, errors = started.communicate(timeout=60)
    assert started.returncode == (130 if how == signal.SIGINT else -how), output + errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 60  # the children end by themselves with their parent
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert children and not any(map(alive, children))
    if how == signal.SIGINT and not out.exists():
        return  # it ended before there was anything to keep
    assert list(tmp_path.iterdir()) == [out]
    assert [path.name for path in out.iterdir()] == ["unfinished"]
    names = {path.suffix for path in (out / "unfinished").iterdir()}
    assert {".json"} <= names <= {".json", ".safetensors"}


def children_of(process: int) -> list[int]:
    """The numbers of the processes that this process has started."""
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [number for number in numbers if state_and_parent(number)[1] == str(process)]


def alive(process: int) -> bool:
    return state_and_parent(process)[0] not in ("", "Z")


def state_and_parent(process: int) -> tuple[str, str]:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[1]


def test_the_vowels_are_learned(compared) -> None:
    """Four epochs of a small network are enough to be far above chance, which is 11 %."""
    comparison, _ = compared
    assert all(min(entry.test(comparison.metric)) > 0.3 for entry in comparison.networks)
