"""A training that was ended at any moment and resumed gives the bytes of an uninterrupted one.

`GATEWRIGHT_EXAMPLES=200 pytest tests/test_resume.py` ends and kills more often.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

import gatewright as gw
from example_count import example_count
from gatewright import files
from gatewright.designs.design import Design
from gatewright.errors import (
    AlreadyFinished,
    ArgumentError,
    ModelError,
    Suspended,
    TrainingError,
)
from gatewright.layers.saving import sealed
from gatewright.training import checkpoint, experiment, record, run
from gatewright.training.checkpoint import (
    JobKeeper,
    read_checkpoint,
    read_outcome,
    write_checkpoint,
)
from gatewright.training.job import Outcome, TrainingJob
from gatewright.training.processes.pool import perform_all
from gatewright.training.record import Decisions, RunRecord
from gatewright.training.run import OpenRun
from gatewright.training.session import Session, seconds_of
from gatewright.training.train import compare, train
from in_process import perform_here, training_here, without_baselines
from resumed import (
    KINDS,
    killed_while_performing,
    measured_alike,
    perform_part,
    small_job,
    without_times,
)
from tables import write_tables

STOPS, KILLS = example_count(1), example_count(4)
SMALL: dict[str, Any] = {
    "cell": "rnn",
    "hidden_size": 4,
    "epochs": 2,
    "seeds": 2,
    "budget": "quick",
    "progress": False,
}

#: Tries two designs first.
CHOOSES = {**SMALL, "cell": "gru", "budget": "normal", "seeds": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tables(folder)
    return folder


# The loop.
@pytest.mark.parametrize("name", KINDS)
def test_a_training_that_is_ended_after_any_step_goes_on_to_the_bit(
    name: str, folder: Path, tmp_path: Path
) -> None:
    job, data = small_job(folder, name, epochs=2)
    assert perform_part(job, data, tmp_path / "whole")
    expected = read_outcome(tmp_path / "whole", job)
    generator = random.Random(name)
    for stop in range(STOPS):
        path, steps = tmp_path / str(stop), generator.randrange(1, 6)
        assert not perform_part(job, data, path, steps=steps, every=7)
        while not perform_part(job, data, path, steps=generator.randrange(8, 40), every=7):
            assert read_checkpoint(path)["kind"] == "state"
        assert measured_alike(read_outcome(path, job), expected)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_training_that_is_killed_at_any_moment_goes_on_to_the_bit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SPACING", 0.0)
    generator = random.Random(0)
    kills = 0
    for name in cycle(KINDS):
        if kills >= KILLS:
            break
        job, data = small_job(folder, name, epochs=2)
        whole, path = tmp_path / f"{name}.whole", tmp_path / f"{name}.{kills}"
        if not whole.exists():
            assert perform_part(job, data, whole)
        every = generator.choice([None, 1, 3, 10])
        limit = 0.3  # seconds; longer after each kill, so that the slowest come to their end
        while not killed_while_performing(
            job, data, path, generator.uniform(0.0, limit), every=every
        ):
            kills, limit = kills + 1, 1.3 * limit
            assert not path.exists() or read_checkpoint(path)["job"] == job.key
        assert measured_alike(read_outcome(path, job), read_outcome(whole, job))


def test_patience_ends_a_training_that_was_ended_in_its_last_epoch(
    folder: Path, tmp_path: Path
) -> None:
    job, data = small_job(folder, "classes.csv")
    recipe = replace(job.recipe, epochs=50, patience=1, keep_from=0.0, learning_rate=1e-9)
    job = replace(job, recipe=recipe)
    perform_part(job, data, tmp_path / "whole")
    expected = read_outcome(tmp_path / "whole", job)
    assert expected is not None and expected.history.stopped == "no better for 1 epochs"
    batches = job.task.batches(job.parts(data)[0])
    steps = recipe.steps_per_epoch(batches) * len(expected.history.train_loss)
    for end in (steps - 1, steps):  # inside the last epoch, and right after its last step
        path = tmp_path / str(end)
        perform_part(job, data, path, steps=end)
        perform_part(job, data, path)
        assert measured_alike(read_outcome(path, job), expected)


# A checkpoint that cannot be used.
@pytest.fixture(scope="module")
def begun(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingJob, Any, Path]:
    """A job that was ended after a step, its data, and its checkpoint."""
    job, data = small_job(folder, "classes.csv")
    path = tmp_path_factory.mktemp("begun") / "job"
    assert not perform_part(job, data, path, steps=2)
    return job, data, path


def rewritten(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A change of a checkpoint's content, with a checksum that is right again."""

    def damage(path: Path) -> None:
        content = read_checkpoint(path)
        change(content)
        write_checkpoint(path, content)

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def edit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"batches\\": 2', b'\\"batches\\": 1'))
    assert path.read_bytes() != content


def foreign(path: Path) -> None:
    path.write_bytes(write_tensors({"weight": torch.ones(3)}))


def wider(content: dict[str, Any]) -> None:
    name = next(iter(content["state"]["model"]))
    content["state"]["model"][name] = torch.ones(3, 3, 3)


def without_a_weight(content: dict[str, Any]) -> None:
    content["state"]["best_model"].popitem()


def moments(content: dict[str, Any]) -> None:
    content["state"]["optimizer"]["0"]["exp_avg"] = torch.ones(99)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "is damaged: it has .* bytes; its header says"),
        (flip, "its checksum differs"),
        (edit, "its checksum differs"),
        (foreign, "is damaged: "),
        (lambda path: path.write_bytes(b""), "no header of safetensors"),
        (rewritten(wider), r"state.model has .* shape \(3, 3, 3\)"),
        (rewritten(without_a_weight), "state.best_model has no "),
        (rewritten(moments), r"state.optimizer.0.exp_avg is tensor.*; expected a tensor"),
        (rewritten(lambda c: c["state"].update(batches="two")), "state.batches is 'two'"),
        (rewritten(lambda c: c["state"].pop("noise", c["state"].pop("items"))), "items is missing"),
        (rewritten(lambda c: c["state"]["history"].update(x=1)), "state.history has the field 'x'"),
        (rewritten(lambda c: c["state"].update(carried="h")), "state.carried is 'h'"),
        (rewritten(lambda c: c["state"]["schedule"].pop("last_epoch")), "state.schedule"),
        (rewritten(lambda c: c["state"]["groups"].append({})), "state.groups"),
        (rewritten(lambda c: c["state"]["generators"].pop("order")), "state.generators has no or"),
        (rewritten(lambda c: c.update(kind="other")), "its kind is unknown"),
        (rewritten(lambda c: c.update(job="other")), "it is of another training"),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_kept(
    damage: Callable[[Path], None],
    message: str,
    begun: tuple[TrainingJob, Any, Path],
    tmp_path: Path,
) -> None:
    job, data, path = begun
    copy = tmp_path / "job"
    shutil.copy(path, copy)
    damage(copy)
    before = copy.read_bytes()
    with pytest.raises(ModelError, match=f"{message}.*Remove this file"):
        perform_part(job, data, copy)
    assert copy.read_bytes() == before


@pytest.mark.parametrize("name", KINDS)
def test_a_job_has_the_same_digest_in_the_process_that_trains(name: str, folder: Path) -> None:
    """A checkpoint is written there, and found again here by this digest."""
    job, _ = small_job(folder, name)
    sent = json.loads(json.dumps(job.to_json()))
    assert TrainingJob.from_json(sent).key == job.key


def test_an_outcome_of_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    job, _ = small_job(folder, "classes.csv")
    path = tmp_path / "job"
    write_checkpoint(path, {"kind": "outcome", "job": job.key, "history": {}, "weights": {}})
    with pytest.raises(ModelError, match=r"history.train_loss is missing"):
        read_outcome(path, job)


def test_a_checkpoint_of_another_format_names_the_version_that_reads_it(
    begun: tuple[TrainingJob, Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(begun[2], tmp_path / "job")
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    with pytest.raises(ModelError, match=r"has version 1 .* resume with gatewright \d"):
        read_checkpoint(tmp_path / "job")


def test_a_checkpoint_is_safetensors_and_json(begun: tuple[TrainingJob, Any, Path]) -> None:
    content = begun[2].read_bytes()
    tensors = read_tensors(content)
    assert "state.generators.torch" in tensors
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    stored = json.loads(header["__metadata__"]["checkpoint"])
    assert stored["content"]["state"]["batches"] == 2
    assert stored["gatewright"] == metadata.version("gatewright")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "No space left on device; .* still there. Make room there and resume"),
        (errno.EROFS, "Read-only file system; .* still there. Make it writable and resume"),
    ],
)
def test_a_disk_that_takes_no_more_leaves_the_last_checkpoint(
    code: int,
    words: str,
    begun: tuple[TrainingJob, Any, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, data, path = begun
    copy = tmp_path / "job"
    shutil.copy(path, copy)

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(TrainingError, match=words):
            perform_part(job, data, copy, steps=1)
    assert copy.read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["job"]


def test_a_directory_that_vanished_is_not_made_again(
    begun: tuple[TrainingJob, Any, Path], tmp_path: Path
) -> None:
    job, data, _ = begun
    words = r"cannot write the checkpoint .*gone.* No such file .*Put the directory back and resume"
    with pytest.raises(TrainingError, match=words):
        perform_part(job, data, tmp_path / "gone" / "job", steps=1)
    assert not (tmp_path / "gone").exists()


def test_a_run_whose_folder_became_a_file_reports_the_first_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(*args: Any, **options: Any) -> list[Outcome]:
        shutil.rmtree(tmp_path / "out" / "unfinished")
        (tmp_path / "out" / "unfinished").write_text("a file")
        raise TrainingError("cannot write the checkpoint")

    monkeypatch.setattr(experiment, "perform_all", perform)
    with pytest.raises(TrainingError, match="cannot write the checkpoint"):
        train(folder / "classes.csv", out=tmp_path / "out", **SMALL)
    assert (tmp_path / "out" / "unfinished").read_text() == "a file"


def test_checkpoints_are_spaced_by_their_cost(
    begun: tuple[TrainingJob, Any, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class State:
        history = checkpoint.History()

        def state_dict(self) -> dict[str, Any]:
            return {}

    clock = [100.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    written: list[float] = []

    def write(path: Path, content: Any) -> None:
        written.append(clock[0])
        clock[0] += 0.5  # what it takes

    monkeypatch.setattr(checkpoint, "write_checkpoint", write)
    keeper, state = JobKeeper(tmp_path / "job", begun[0]), State()
    for second in range(101, 160):
        clock[0] = max(clock[0], float(second))
        keeper.after_epoch(state)  # type: ignore[arg-type]
    # The first after 50 × 0.02 s, the others 50 × 0.5 s after the one before.
    assert written == [102.0, 128.0, 154.0]


# A run, in this process.
def ends_after(count: int) -> Callable[..., list[Outcome]]:
    """Ctrl-C after `count` trainings, before the next one."""

    def performed(jobs: Sequence[TrainingJob], data: Any, **options: Any) -> list[Outcome]:
        perform_here(jobs[:count], data, **options)
        raise KeyboardInterrupt

    return performed


@contextmanager
def quick() -> Iterator[None]:
    with training_here(), without_baselines():
        yield


def end_early(data: Any, out: Path, **options: Any) -> None:
    """A run of which one training is done."""
    with quick(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "perform_all", ends_after(1))
        with pytest.raises(KeyboardInterrupt):
            train(data, out=out, **{**SMALL, **options})


def files_of(out: Path) -> dict[str, Any]:
    """The bytes of a model, and its results without times."""
    results = json.loads((out / "results.json").read_text())
    names = ("config.json", "model.safetensors")
    return {"results": without_times(results), **{n: (out / n).read_bytes() for n in names}}


def test_a_run_goes_on_with_what_is_left_to_the_same_files(folder: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out", folder / "classes.csv"
    end_early(data, out)
    assert {path.name for path in out.iterdir()} == {"unfinished"}
    assert not any(path.is_dir() for path in (out / "unfinished").iterdir())
    performed: list[int] = []

    def counted(jobs: Sequence[TrainingJob], data: Any, **options: Any) -> list[Outcome]:
        there = options["run"].folder
        performed.extend(job.seed for job in jobs if not list(there.glob(f"*{job.key}*")))
        return perform_here(jobs, data, **options)

    with quick(), pytest.MonkeyPatch.context() as patch:
        whole = train(data, out=tmp_path / "whole", **SMALL)
        patch.setattr(experiment, "perform_all", counted)
        lines: list[str] = []
        resumed = train(data, out=out, resume=True, say=lines.append, **SMALL)
    assert performed == [1] and f"resuming the run in {out}" in lines
    assert files_of(out) == files_of(tmp_path / "whole")
    assert resumed.verdict() == whole.verdict() and not (out / "unfinished").exists()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for arguments in ((data, out), (out, None)):
        with pytest.raises(AlreadyFinished, match="is finished"):
            train(arguments[0], out=arguments[1], resume=True, **SMALL)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_result_that_cannot_be_written_keeps_the_trainings(folder: Path, tmp_path: Path) -> None:
    def refused(*arguments: Any) -> None:
        raise ArgumentError("cannot write: Read-only file system")

    out, data = tmp_path / "out", folder / "classes.csv"
    hint = f". The trainings are kept. Resume with: gatewright train --resume {out}"
    with quick():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experiment, "write_report", refused)
            with pytest.raises(ArgumentError, match=re.escape(hint)):
                train(data, out=out, **SMALL)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experiment, "perform_all", perform_here)
            train(out, resume=True, progress=False)
    assert (out / "report.html").exists() and not (out / "unfinished").exists()


@pytest.mark.parametrize(("stage", "is_model"), [(0, False), (1, False), (2, True)])
def test_the_choice_of_a_design_and_the_advice_go_on_too(
    stage: int, is_model: bool, folder: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    """Ended among the short trainings to choose by, the trainings, or those for advice."""
    calls = 0

    def performed(jobs: Sequence[TrainingJob], data: Any, **options: Any) -> list[Outcome]:
        nonlocal calls
        calls += 1
        if calls > stage:
            return ends_after(1)(jobs, data, **options)
        return perform_here(jobs, data, **options)

    out = tmp_path / "out"
    with quick():
        with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(experiment, "perform_all", performed)
            train(folder / "tags.csv", out=out, **CHOOSES)
        assert calls == stage + 1 and (out / "unfinished").exists()
        assert (out / "config.json").exists() is is_model
        train(out, resume=True, progress=False)
    assert files_of(out) == chosen


@pytest.fixture(scope="module")
def chosen(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of a training that chose a design, and was not ended."""
    out = tmp_path_factory.mktemp("chosen") / "out"
    with quick():
        trained = train(folder / "tags.csv", out=out, **CHOOSES)
    assert "Chosen after 2 short trainings" in trained.notes[-1] and trained.advice
    return files_of(out)


def test_a_run_is_resumed_by_its_directory_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data and its settings are recorded, whatever the current directory is by then."""
    monkeypatch.chdir(folder)
    Path("mine.py").write_text(
        "import gatewright as gw\n"
        "class Mine(gw.Cell):\n"
        "    def step(self, x, h):\n"
        "        return gw.state(h=gw.tanh(gw.linear(x, h)))\n"
    )
    settings = {"cell": "mine.py:Mine", "design": Design(), "ignore": ["b"]}
    end_early("classes.csv", tmp_path / "out", **settings)
    monkeypatch.chdir(tmp_path)
    with quick():
        with pytest.raises(ArgumentError, match="epochs was 2, and is now 3"):
            train("out", resume=True, epochs=3)
        resumed = train("out", resume=True, progress=False)
        whole = train(
            folder / "classes.csv",
            out="whole",
            **{**SMALL, **settings, "cell": str(folder / "mine.py") + ":Mine"},
        )
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert resumed.best.name == whole.best.name == "Mine"


def test_the_settings_that_mean_nothing_are_those_of_the_functions() -> None:
    """Defaults of a function that are not None; `train` fills in the others from the table."""
    outside = {"out", "resume", "checkpoint_every", "time_limit", "log", "progress", "say"}
    for name, function in (("train", train), ("compare", compare)):
        parameters = inspect.signature(function).parameters
        defaults = {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
        known = record.DEFAULTS[name]
        assert known.keys() <= {*defaults, "cells"}
        for key, value in defaults.items():
            if key not in outside and value is not None:
                assert known[key] == value, key


def test_what_ctrl_c_kept_is_replaced_by_the_whole_run(folder: Path, tmp_path: Path) -> None:
    def cut_short(jobs: Sequence[TrainingJob], data: Any, **options: Any) -> list[Outcome]:
        return perform_here(jobs[:1], data, **options)

    out, data = tmp_path / "out", folder / "classes.csv"
    with quick(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "perform_all", cut_short)
        cut = train(data, out=out, **SMALL)
    first = files_of(out)
    assert gw.load(out).network == "rnn"
    assert cut.to_resume.endswith(f"Resume with: gatewright train --resume {out}")
    with quick():
        with pytest.raises(ArgumentError, match=r"holds an unfinished training. Resume with"):
            train(data, out=out, **SMALL)
        train(data, out=out, resume=True, **SMALL)
        train(data, out=tmp_path / "whole", **SMALL)
    assert files_of(out) == files_of(tmp_path / "whole") != first


@pytest.mark.parametrize("written", range(4))
def test_a_model_that_was_half_written_is_none_and_is_written_again(
    written: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, names = folder / "classes.csv", tmp_path / "out", []

    def write_file(path: Path, content: bytes, **options: Any) -> None:
        if len(names) == written:
            raise RuntimeError("the power is cut")
        names.append(path.name)
        files.write_file(path, content, **options)

    options = {**SMALL, "epochs": 1, "seeds": 1}
    with quick():
        with monkeypatch.context() as patch:
            patch.setattr(experiment, "write_file", write_file)
            with pytest.raises(RuntimeError, match="the power is cut"):
                train(data, out=out, **options)
        with pytest.raises(ModelError, match="holds an unfinished training, and no model yet"):
            gw.load(out)
        train(out, resume=True, progress=False)
    assert names == ["results.json", "README.md", "model.safetensors"][:written]
    assert gw.load(out).network == "rnn" and not (out / "unfinished").exists()


def test_other_data_settings_or_versions_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, data = tmp_path / "out", folder / "classes.csv"
    end_early(data, out)
    before = {path.name: path.read_bytes() for path in (out / "unfinished").iterdir()}
    changed = tmp_path / "classes.csv"
    text = data.read_text()
    changed.write_text(text[: text.rindex("\n", 0, -1)] + "\ns29,0.5,0.5,c\n")

    longer = tmp_path / "longer.csv"
    longer.write_text(text + "".join(f"s{k},0.5,0.5,a\n" for k in range(30, 40)))

    def more() -> object:
        return train(longer, out=out, resume=True, **SMALL)

    def again(**options: Any) -> object:
        return train(data, out=out, resume=True, **{**SMALL, **options})

    cases: list[tuple[str, Callable[[], object]]] = [
        ("epochs was 2, and is now 3", lambda: again(epochs=3)),
        ('cells was ."rnn"., and is now ."lstm".', lambda: again(cell="lstm")),
        (
            "the data are not those .*: the .* have other values, columns or classes",
            lambda: train(changed, out=out, resume=True, **SMALL),
        ),
        ("there were .* to learn from, and there are now", lambda: more()),
        ("of train, not of compare", lambda: compare(data, out=out, resume=True, cells=["rnn"])),
        ("is a run of train", lambda: compare(out, resume=True)),
        ("no unfinished training; expected .* DIR", lambda: train(tmp_path, resume=True)),
        (r"classes\.csv is a file; expected .* DIR", lambda: train(data, resume=True)),
    ]
    with quick():
        for message, call in cases:
            with pytest.raises(ArgumentError, match=message):
                call()
        monkeypatch.setattr(record, "versions", lambda: {"gatewright": "9.9", "torch": "2.6"})
        with pytest.raises(ArgumentError, match=r"gatewright .*, and this is 9.9.*torch .* 2\.6"):
            again()
    with pytest.raises(ModelError, match="holds an unfinished training, and no model yet"):
        gw.load(out)
    assert {path.name: path.read_bytes() for path in (out / "unfinished").iterdir()} == before


@pytest.mark.parametrize("was_there", [False, True])
def test_a_run_that_kept_nothing_leaves_nothing(
    was_there: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if was_there:
        (tmp_path / "out").mkdir()
    monkeypatch.setattr(experiment, "perform_all", ends_after(0))
    with pytest.raises(KeyboardInterrupt):
        train(folder / "classes.csv", out=tmp_path / "out", **SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["out"] * was_there


def test_data_in_memory_are_given_again(folder: Path, tmp_path: Path) -> None:
    data = gw.read(folder / "classes.csv")
    end_early(data, tmp_path / "out")
    with quick():
        with pytest.raises(ArgumentError, match=r"the data of the run in .* objects of Python"):
            train(tmp_path / "out", resume=True)
        resumed = train(data, out=tmp_path / "out", resume=True, **SMALL)
    assert resumed.model is not None and (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("file", ["classes.csv", "hours.csv"])
def test_data_that_were_moved_are_given_again(file: str, folder: Path, tmp_path: Path) -> None:
    """Under another name too: the content counts, and the next resumption finds them there."""
    out, before, after = (tmp_path / name for name in ("out", file, "new/moved.csv"))
    lines: list[str] = []
    shutil.copy(folder / file, before)
    end_early(before, out)
    after.parent.mkdir()
    before.rename(after)
    with quick():
        with pytest.raises(ArgumentError, match=rf"no file .*{file} any more.* new path: "):
            train(out, resume=True)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(experiment, "perform_all", ends_after(0))
            train(after, out=out, resume=True, say=lines.append, **SMALL)
        assert lines[-1] == f"note: the data are now {after}, as they were in {before}"
        train(out, resume=True, **{**SMALL, "progress": False})
        train(folder / file, out=tmp_path / "whole", **SMALL)
    weights = [path / "model.safetensors" for path in (out, tmp_path / "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("file", ["gru-seed0-0123456789abcdef.safetensors", "notes.txt"])
def test_a_folder_without_its_record_is_named_and_kept(file: str, tmp_path: Path) -> None:
    rest = tmp_path / "out" / "unfinished" / file
    rest.parent.mkdir(parents=True)
    rest.write_text("mine")
    message = r"unfinished has no run\.json, the record .* remove the folder unfinished"
    with pytest.raises(ModelError, match=message):
        gw.load(tmp_path / "out")
    for options in ({}, {"resume": True}):
        with pytest.raises(ArgumentError, match=message):
            train("vowels", out=tmp_path / "out", progress=False, **options)
    with pytest.raises(ArgumentError, match=message):
        train(tmp_path / "out", resume=True)
    assert rest.read_text() == "mine"


def test_what_a_kill_left_behind_a_finished_model_is_removed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with quick():
        train(folder / "classes.csv", out=out, **{**SMALL, "epochs": 1, "seeds": 1})
    (out / "unfinished").mkdir()
    (out / "unfinished" / "rnn-seed0-0.safetensors").write_bytes(b"")
    with pytest.raises(AlreadyFinished):
        train(out, resume=True)
    assert not (out / "unfinished").exists() and gw.load(out).network == "rnn"


def test_a_first_run_may_ask_to_resume(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with quick():
        train(folder / "classes.csv", out=tmp_path / "out", resume=True, say=lines.append, **SMALL)
    assert f"nothing to resume in {tmp_path / 'out'}: a new run begins there" in lines
    gw.load(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: {**values, "settings": {}}, "its checksum differs. Begin the run again"),
        (lambda values: sealed({**values, "command": 3}), "command is 3; .*Begin the run again"),
        (lambda values: sealed({**values, "version": 9}), "has version 9; this gatewright reads 2"),
        (lambda values: {"format": "other"}, "no run of gatewright. Begin the run again"),
        (lambda values: [], "no run of gatewright"),
    ],
)
def test_a_damaged_record_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    decisions = Decisions(1, 1, 1.0, [2], [], {}, None, [], [])
    stored = RunRecord("train", "vowels", {"cells": ["rnn"]}, *["0"] * 4, decisions)
    file = tmp_path / "unfinished" / "run.json"
    file.parent.mkdir()
    file.write_bytes(stored.to_bytes())
    assert RunRecord.read(file) == stored
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(ModelError, match=message):
        train(tmp_path, resume=True)
    file.write_text("{")
    with pytest.raises(ModelError, match=r"cannot be read: .* Begin the run again"):
        train(tmp_path, resume=True)


@pytest.mark.skipif(files.fcntl is None, reason="there are no locks on this system")
def test_a_run_has_one_process_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    end_early(folder / "classes.csv", out)
    monkeypatch.setattr(run, "PATIENCE_S", 0.0)
    with quick():
        with (
            files.locked(out / "unfinished"),
            pytest.raises(ArgumentError, match="is in use: another process trains there"),
        ):
            train(out, resume=True, progress=False)
        train(out, resume=True, progress=False)


def test_arguments_of_long_runs_are_checked(tmp_path: Path) -> None:
    for options, message in (
        ({"checkpoint_every": 0, "out": tmp_path / "x"}, "checkpoint_every is 0"),
        ({"checkpoint_every": 5}, "checkpoint_every is 5; give out="),
        ({"time_limit": "2h"}, "time_limit is 2h; give out="),
        ({"time_limit": "soon", "out": tmp_path / "x"}, "the time limit is 'soon'; expected"),
        ({"log": "csv"}, "log is csv; give out="),
        ({"log": ["cvs"], "out": tmp_path / "x"}, "did you mean csv"),
    ):
        with pytest.raises(ArgumentError, match=message):
            train("vowels", **options)  # type: ignore[arg-type]
    assert [seconds_of(text) for text in ("90s", "1.5m", "2h", "1d", 0.5)] == [
        90.0,
        90.0,
        7200.0,
        86400.0,
        30.0,
    ]


def test_the_time_limit_ends_a_run_before_it_measures() -> None:
    session = Session(deadline=0.0)
    with pytest.raises(Suspended):
        session.check_time()
    Session(deadline=None).check_time()


def test_jobs_that_are_done_start_no_process(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, data = small_job(folder, "classes.csv")
    directory = OpenRun(tmp_path, "train", None)
    directory.folder.mkdir()
    perform_part(job, data, directory.file_of(job))
    monkeypatch.delattr("gatewright.training.processes.pool.subprocess.Popen")
    ended: list[str] = []
    (outcome,) = perform_all(
        [job], data, run=directory, on_end=lambda job, history: ended.append(job.key)
    )
    assert ended == [job.key] and isinstance(next(iter(outcome.weights.values())), Tensor)
