"""The proof of kernels on a GPU, rehearsed without one: its processes, its record, the choice.

The kernels' text runs on `triton_stand_in.py`, in forks of this process.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gatewright as gw
import triton_stand_in
from gatewright import devices
from gatewright.backends import choose, triton
from gatewright.backends.choose import Backend
from gatewright.backends.triton import choice, loop, record
from gatewright.backends.triton.record import Device, Proof, Times
from gatewright.cells import CELLS
from gatewright.errors import ArgumentError, BackendError
from gatewright.files import locked
from gatewright.proving import crew, exactness, prove, runs, times, worker
from gatewright.training import choose_device as choosing
from test_cli import gatewright, refused

GPU = Device("Card 1", "9.0", 132, "12080", "12.8", "2.13.0", "3.9.0", "0" * 24)
FAST, SLOW = (3.0, 2.5, 3.5), (1.1, 0.9, 1.3)
TIMES = (
    Times((16, 32, 64, 64), "reference", FAST, FAST),
    Times((64, 32, 256, 256), "reference", SLOW, FAST),
)
ONE = {"device": "cpu", "dtypes": ["float32"]}


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache directory."""
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    record.read.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, cache: Path, forked_python: None) -> None:
    """Prove on the stand-in, at small sizes, in a fork of this process."""
    monkeypatch.setenv("GATEWRIGHT_CHECKED", "1")  # a fork has the build of this process
    monkeypatch.setattr(loop, "built", triton_stand_in.built)
    monkeypatch.setattr(triton, "why_no_device", lambda device: None)
    monkeypatch.setattr(runs, "SIZES", ((3, 5, 3),))
    monkeypatch.setattr(runs, "STEPS", 3)
    monkeypatch.setattr(times, "SIZES", ((2, 3, 4, 5),))
    monkeypatch.setattr(times, "SECONDS", 0.0)
    monkeypatch.setattr(sys.modules["gatewright.proving.prove"], "PROCESSES", 1)


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("triton/proofs/*/*.json"))


def test_right_kernels_are_proven_timed_and_recorded(small: None, cache: Path, monkeypatch):
    reports: list[tuple[str, float]] = []
    proofs = prove(["mgu"], **ONE, report=lambda text, share: reports.append((text, share)))
    (outcome,) = proofs.outcomes
    assert proofs.is_right and proofs.is_whole and outcome.proof and outcome.proof.is_complete
    assert outcome.proof.checks == 7 and 0 < outcome.proof.error < 1 and outcome.proof.worst
    assert outcome.proof.times[0].size == (2, 3, 4, 5) and outcome.proof.times[0].rival == "llvm"
    assert reports == [("comparing mgu, float32", 0.7), ("timing mgu, float32", 1.0)]
    (file,) = files(cache)
    stored = json.loads(file.read_text())
    assert stored["device"]["torch"] == torch.__version__ and len(stored["device"]["sources"]) == 24
    assert file.parent.stat().st_mode & 0o077 == 0
    # What is known is not done again.
    monkeypatch.setattr(crew, "WORKER", "no_such_module")
    (again,) = prove(["mgu"], **ONE).outcomes
    assert again.is_known and again.proof == outcome.proof
    assert "proven" in again.text


def test_a_wrong_kernel_is_refused_and_recorded(small: None, cache: Path, monkeypatch):
    def wrong(name: str, text: str) -> Any:
        return triton_stand_in.built(name, text.replace("libdevice.tanh", "libdevice.sin"))

    monkeypatch.setattr(loop, "built", wrong)
    done = gatewright("doctor", "--gpu", "--cells", "mgu", "--device", "cpu", "--no-progress")
    assert done.returncode == 1 and done.stdout.count("FAILED") == 3
    assert "please report" in done.stdout
    proof = record.read(record.device_of(torch.device("cpu")), CELLS["mgu"]().graph, "float32")
    assert proof is not None and "times what is allowed" in (proof.failure or "")
    assert "failed the proof" in (proof.why_not(1, 1, training=False) or "")
    # The next proof tries it again, and a right kernel takes its place.
    monkeypatch.setattr(loop, "built", triton_stand_in.built)
    assert prove(["mgu"], **ONE).is_right
    proof = record.read(record.device_of(torch.device("cpu")), CELLS["mgu"]().graph, "float32")
    assert proof is not None and proof.is_complete


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_an_error_of_a_thousandth_is_noticed(dtype: torch.dtype, small: None, monkeypatch):
    """TF32 has 10 bits: its products are off by about as much, and they are not allowed."""
    graph = CELLS["lstm"]().graph
    assert all(each.is_right for each in exactness.compare(graph, dtype, torch.device("cpu")))
    if dtype != torch.float32:
        return

    monkeypatch.setattr(torch, "rough_tanh", lambda a: a.tanh() * 1.001, raising=False)
    monkeypatch.setattr(
        loop,
        "built",
        lambda name, text: triton_stand_in.built(
            name, text.replace("libdevice.tanh", "libdevice.rough_tanh")
        ),
    )
    errors = [each.error for each in exactness.compare(graph, dtype, torch.device("cpu"))]
    assert min(errors) > 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fail() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


ENDS: dict[str, tuple[Callable[[], object], str]] = {
    "raises": (fail, "RuntimeError: CUDA error: an illegal memory access"),
    "dies": (die, "its process was ended by signal 11"),
    "exits": (lambda: os._exit(3), "its process ended with code 3"),
    "hangs": (lambda: time.sleep(60), "it did not end within 1 seconds"),
}


@pytest.mark.parametrize("way", ENDS)
def test_a_process_that_fails_leaves_the_others(way: str, small: None, monkeypatch):
    """The parent survives and reports it; the next cell has a new process."""
    end, reason = ENDS[way]
    parent = os.getpid()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        assert os.getpid() != parent
        print("a compiler prints this")  # which does not disturb the answers
        if request["name"] == "janet":
            end()
        return {"checks": 1} if not request["time"] else {"times": []}

    monkeypatch.setattr(worker, "answer", answer)
    # A fork runs the module anew, as a script; this is what it would run.
    monkeypatch.setattr(crew, "module_command", lambda name: [sys.executable, "-c", MAIN])
    monkeypatch.setattr(sys.modules["gatewright.proving.prove"], "CHECK_LIMIT", 1.0)
    first, second = prove(["janet", "mgu"], **ONE).outcomes
    assert first.proof is not None and reason in (first.proof.failure or "")
    assert second.proof is not None and second.proof.failure is None and second.proof.checks == 1


MAIN = "from gatewright.proving import worker; worker.main()"


def test_an_interruption_keeps_what_was_proven(small: None, cache: Path):
    def interrupt(text: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove(["mgu", "janet"], **ONE, report=interrupt)
    (file,) = files(cache)
    assert json.loads(file.read_text())["proof"]["checks"] == 7
    # It is not timed yet: the next proof goes on from there.
    proof = record.read(record.device_of(torch.device("cpu")), CELLS["mgu"]().graph, "float32")
    assert proof is not None and not proof.is_complete and proof.failure is None


def test_the_time_is_over(small: None, cache: Path):
    proofs = prove(["mgu"], **ONE, minutes=0.0)
    assert proofs.is_right and not proofs.is_whole and files(cache) == []
    assert proofs.outcomes[0].text == "not proven yet: the time was over"


def test_only_one_process_proves_at_a_time(small: None):
    own = record.prepare(record.device_of(torch.device("cpu")))
    with locked(own), pytest.raises(ArgumentError, match="another process is proving kernels"):
        prove(["mgu"], **ONE)


def test_a_record_that_cannot_be_written(small: None, cache: Path, monkeypatch):
    cache.write_text("a file in the place of the directory")
    refused(
        gatewright("doctor", "--gpu", "--device", "cpu", "--cells", "mgu"),
        "cannot write the record",
        "set GATEWRIGHT_CACHE",
    )
    cache.unlink()

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record, "replace_file", full)
    with pytest.raises(ArgumentError, match="No space left on device"):
        prove(["mgu"], **ONE)
    monkeypatch.setenv("GATEWRIGHT_CACHE", "")
    with pytest.raises(ArgumentError, match="GATEWRIGHT_CACHE is empty"):
        prove(["mgu"], **ONE)


def test_requests_that_cannot_be_met(monkeypatch: pytest.MonkeyPatch):
    if not torch.cuda.is_available():
        refused(gatewright("doctor", "--gpu"), "there is no GPU that torch can use")
        refused(gatewright("doctor", "--gpu", "--device", "cuda:1"), "this machine's: auto, cpu")
    refused(gatewright("doctor", "--gpu", "--device", "cpu"), "the kernels are for NVIDIA GPUs")
    refused(gatewright("doctor", "--cells", "mgu"), "--cells goes with --gpu")
    refused(gatewright("doctor", "--gpu", "--cells", "mgo"), "there is no cell 'mgo'", "mgu")
    with pytest.raises(ArgumentError, match="expected one of float32"):
        prove(["mgu"], dtypes=["float64"])
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "mps"])
    refused(gatewright("doctor", "--gpu"), "cannot be proven on mps")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "Triton is not installed" in str(triton.why_no_device(torch.device("cuda")))


# The record.
def proof_of(name: str, **fields: Any) -> tuple[gw.Cell, Proof]:
    cell = CELLS[name]()
    return cell, Proof(cell.equations.name, "float32", times=TIMES, **fields)


def damage(file: Path, way: str) -> None:
    """Damage a record."""
    text = file.read_text()
    stored = json.loads(text)
    if way == "cut":
        file.write_text(text[: len(text) // 2])
    elif way == "changed":
        file.write_text(text.replace("2.5", "9.5"))
    elif way == "empty":
        file.write_text("")
    elif way == "no text":
        file.write_bytes(b"\xff\x00" * 9)
    elif way == "version":
        file.write_text(json.dumps({**stored, "version": 0}))
    elif way == "open to others":
        file.parent.chmod(0o777)
    elif way == "a directory":
        file.unlink()
        file.mkdir()
    elif way == "another card":
        stored["device"]["gpu"] = "Card 2"
        own = {key: stored[key] for key in ("device", "graph", "proof")}
        file.write_text(json.dumps({**stored, "digest": record._digest(own)}))
    elif way == "types":
        stored["proof"]["times"] = [1]
        own = {key: stored[key] for key in ("device", "graph", "proof")}
        file.write_text(json.dumps({**stored, "digest": record._digest(own)}))


WAYS = (
    "cut", "changed", "empty", "no text", "version", "open to others", "a directory",
    "another card", "types",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_record_that_is_damaged_or_foreign_is_not_trusted(way: str, cache: Path):
    cell, proof = proof_of("mgu")
    record.write(GPU, cell.graph, proof)
    assert record.read(GPU, cell.graph, "float32") == proof
    damage(files(cache)[0], way)
    record.read.cache_clear()
    assert record.read(GPU, cell.graph, "float32") is None
    whole, ignored = record.records()
    assert (len(whole), len(ignored)) == ((1, 0) if way == "another card" else (0, 1))
    report = gatewright_doctor()
    assert report["proofs"]["outdated"] == len(whole) and report["proofs"]["ignored"] == ignored


def gatewright_doctor() -> Any:
    """The report of `doctor --json`, without its self-test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatewright.doctor.run_checks", list)
        return json.loads(gatewright("doctor", "--json").stdout)


def test_another_version_or_card_finds_nothing(cache: Path):
    cell, proof = proof_of("mgu")
    record.write(GPU, cell.graph, proof)
    for name in ("gpu", "capability", "driver", "cuda", "torch", "triton", "sources"):
        other = replace(GPU, **{name: "another"})
        assert record.read(other, cell.graph, "float32") is None
    assert record.read(replace(GPU, multiprocessors=14), cell.graph, "float32") is None
    assert record.read(GPU, cell.graph, "bfloat16") is None
    assert record.read(GPU, CELLS["janet"]().graph, "float32") is None


def test_the_smallest_size_that_is_large_enough_decides():
    _, proof = proof_of("mgu")
    assert proof.why_not(16, 64, training=False) is None
    assert proof.why_not(17, 64, training=True) is None
    assert "reference takes 1.10 times as long for a forward run" in str(
        proof.why_not(17, 64, training=False)
    )
    assert "not timed with 65 rows and 8 units: only up to 16 and 64, 64 and 256" in str(
        proof.why_not(65, 8, training=True)
    )


# The choice.
@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch, cache: Path) -> list[str]:
    """Pretend that the CPU is a GPU; the list has the kernels that were run."""
    launched: list[str] = []

    def built(name: str, text: str) -> Any:
        launched.append(name)
        return triton_stand_in.built(name, text)

    llvm, fused = choose.BACKENDS["llvm"], choose.BACKENDS["torch"]
    away = Backend(llvm.run, lambda run: "the kernels are for the CPU")
    monkeypatch.setitem(choose.BACKENDS, "llvm", away)
    monkeypatch.setitem(choose.BACKENDS, "torch", replace(fused, by_name=lambda run: None))
    monkeypatch.setattr("gatewright.layers.run_layers.can_stack", lambda name, device: True)
    monkeypatch.setattr(triton, "why_no_device", lambda device: None)
    monkeypatch.setattr(triton, "_on_gpu", lambda device: True)
    monkeypatch.setattr(choice, "device_of", lambda device: GPU)
    monkeypatch.setattr(loop, "built", built)
    return launched


def test_auto_takes_what_is_proven_and_faster(on_a_gpu: list[str]):
    layer, x = gw.Recurrent("mgu", 3, 5), torch.randn(4, 2, 3)
    text = layer.explain(x)
    assert "backend reference" in text
    assert (
        "not triton: its kernels are not proven on this GPU (Card 1): run gatewright doctor --gpu "
        "--cells mgu" in text
    )
    expected = layer(x)[0]
    assert on_a_gpu == []
    record.write(GPU, *proof_of("mgu"))
    text = layer.explain(x)
    assert "backend triton" in text and "not triton" not in text
    torch.testing.assert_close(layer(x)[0], expected)
    assert set(on_a_gpu) == {"inference", "training"}
    # No biases are the same proof; held values, and more rows than were timed, have none.
    assert "backend triton" in gw.Recurrent("mgu", 3, 5, bias=False).explain(x)
    on_a_gpu.clear()
    layer.trace(x, hold={"n": 0.0})
    assert on_a_gpu == []
    assert "not triton: its kernels are proven on this GPU, but were not timed with 65 rows" in (
        layer.explain(torch.randn(4, 65, 3))
    )
    with torch.no_grad():
        assert "backend reference" in layer.explain(torch.randn(4, 17, 3))


def test_kernels_that_failed_are_not_chosen(on_a_gpu: list[str]):
    record.write(GPU, *proof_of("mgu", failure="output: its error is 7 times what is allowed"))
    text = gw.Recurrent("mgu", 3, 5).explain(torch.randn(4, 2, 3))
    assert "not triton: its kernels failed the proof on this GPU: output: its error is 7" in text


def test_several_layers_go_to_torch_in_one_call(on_a_gpu: list[str]):
    record.write(GPU, *proof_of("lstm"))
    x = torch.randn(4, 2, 3)
    assert "backend triton" in gw.LSTM(3, 5).explain(x)
    both = gw.LSTM(3, 5, bidirectional=True)
    text = both.explain(x)
    assert text.count("backend torch") == 2
    assert "not triton: it runs one layer and direction at a time, and torch all in one" in text
    on_a_gpu.clear()  # `explain` runs layer by layer
    both(x)
    assert on_a_gpu == []
    deep = gw.PeepholeLSTM(3, 5, num_layers=2)
    record.write(GPU, *proof_of("peephole_lstm"))
    assert deep.explain(x).count("backend triton") == 2
    deep(x)
    assert on_a_gpu


class Own(gw.Cell):
    """A cell of this file."""

    scale: float = 1.0

    def step(self, x, h):
        h = self.scale * gw.tanh(gw.linear(x, h))
        return gw.state(h=h)


def test_the_command_names_the_cell(tmp_path: Path):
    python = "from gatewright.proving import prove; prove([layer.cell])"
    expected = {
        f"run gatewright doctor --gpu --cells {__file__}:Own": Own(),
        "run gatewright doctor --gpu --cells peephole_lstm": gw.PeepholeLSTM(3, 5).cell,
        python: Own(scale=2.0),
    }
    for command, cell in expected.items():
        assert choice.prove_command(cell.graph) == command
    assert choice.prove_command(gw.GRU(3, 5, reset="before").graph) == python
    loaded = gw.load(gw.save(gw.Recurrent(Own(scale=2.0), 3, 5), tmp_path / "layer"))
    assert choice.prove_command(loaded.graph) == python


def test_trainings_go_to_a_gpu_where_the_kernels_are_proven(
    on_a_gpu: list[str], monkeypatch: pytest.MonkeyPatch
):
    from test_devices import models, pretend

    pretend(monkeypatch, "cuda:0")
    device, remark = choosing.choose_device("auto", models("lstm", "mgu"))
    assert device.type == "cpu" and "MGU would run step by step" in remark
    assert "gatewright doctor --gpu" in remark
    record.write(GPU, *proof_of("mgu"))
    assert choosing.choose_device("auto", models("lstm", "mgu"))[0].type == "cuda"


def test_nothing_is_asked_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    def asked(*_: Any) -> None:
        raise AssertionError("the record was read")

    monkeypatch.setattr(choice, "read", asked)
    monkeypatch.setattr(choice, "device_of", asked)
    for backend in ("auto", "reference"):
        gw.Recurrent("mgu", 3, 5, backend=backend)(torch.randn(4, 2, 3))
    half = gw.Recurrent("mgu", 3, 5).half()  # which has no kernels
    half(torch.randn(4, 2, 3).half())
    assert "not triton: the kernels are for NVIDIA GPUs" in half.explain(
        torch.randn(4, 2, 3).half()
    )


def test_every_cell_that_ships_has_sizes_to_be_proven_at():
    for cell in (kind() for kind in CELLS.values()):
        for input_size, hidden_size, _ in runs.SIZES:
            assert runs.fitting(cell.graph, input_size, hidden_size)["hidden"] < hidden_size + 4


@pytest.mark.slow(instead="test_right_kernels_are_proven_timed_and_recorded")
def test_the_interpreter_of_triton_proves_a_cell(cache: Path):
    """In new processes, as a user does; without Triton there is a reason."""
    code = (
        "from gatewright.proving import prove, runs, times\n"
        "runs.SIZES, times.SIZES, times.SECONDS = ((3, 5, 3),), ((2, 3, 4, 5),), 0.0\n"
        "from gatewright.proving import crew\n"
        f"crew.module_command = lambda name: [{sys.executable!r}, '-W', 'ignore', '-c', MAIN]\n"
        "print(prove(['mgu'], device='cpu', dtypes=['float32']).is_right)\n"
    )
    child = (
        "from gatewright.proving import runs, times, worker\n"
        "runs.SIZES, times.SIZES, times.SECONDS = ((3, 5, 3),), ((2, 3, 4, 5),), 0.0\n"
        "worker.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"MAIN = {child!r}\n{code}"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        import triton  # noqa: F401
    except ImportError:
        assert "Triton is not installed" in done.stderr and issubclass(BackendError, Exception)
        return
    assert done.stdout == "True\n", done.stderr[-2000:]
