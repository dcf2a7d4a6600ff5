"""`gatewright doctor`: a report for a bug report, and a self-test that can fail."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from gatewright import doctor, self_test
from gatewright.self_test import LAYERS, check
from test_cli import gatewright


@pytest.mark.slow(instead="test_a_wrong_kernel_fails_the_self_test")
def test_the_report_names_everything_and_is_healthy():
    done = gatewright("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["healthy"]
    assert [each["name"] for each in report["checks"]] == list(LAYERS)
    assert all(each["passed"] and each["error"] < 1e-4 for each in report["checks"])
    assert report["machine"]["versions"]["torch"] and report["kernels"]["vector_bits"] >= 128
    assert set(report["cache"]) == {"directory", "entries", "bytes", "reason"}
    assert sum(each["seconds"] for each in report["checks"]) < 60  # 2 s of an idle processor


def test_a_wrong_kernel_fails_the_self_test(monkeypatch: pytest.MonkeyPatch):
    assert check("GRU").passed
    streamed = self_test._streamed
    monkeypatch.setattr(self_test, "_streamed", lambda layer, x: streamed(layer, x) + 0.01)
    failure = check("GRU")
    assert not failure.passed and "kernels and reference differ by" in (failure.reason or "")


def test_the_report_has_packages_extras_and_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "run_checks", lambda: [])
    monkeypatch.setenv("GATEWRIGHT_CPU", "avx2")
    monkeypatch.setenv("GATEWRIGHT_TOKEN", "a-secret-of-the-server")
    lines = ["torch>=2", "none-such>=1", "numpy>=1; extra == 'a'", 'none-such; extra == "b"']
    monkeypatch.setattr(doctor, "requires", lambda name: [*lines, "ruff>=0.9; extra == 'dev'"])
    report = json.loads(gatewright("doctor", "--json").stdout)
    assert report["packages"] == {"torch": version("torch"), "none-such": None}
    assert report["extras"] == {"a": {"numpy": version("numpy")}, "b": {"none-such": None}}
    assert report["settings"]["GATEWRIGHT_CPU"] == "avx2"
    printed = " ".join(gatewright("doctor").stdout.split())
    assert f"torch {version('torch')}, none-such MISSING" in printed
    assert f"a (numpy {version('numpy')}); not installed: b (none-such)" in printed
    assert "GATEWRIGHT_CPU=avx2" in printed
    # The report of a server's machine is public, and its token is not.
    assert "secret" not in printed and "secret" not in json.dumps(report)


def test_the_report_says_why_torch_sees_no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "run_checks", lambda: [])
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for cuda, words in ((None, "built without CUDA"), ("12.6", "built for CUDA 12.6")):
        monkeypatch.setattr("torch.version.cuda", cuda)
        printed = " ".join(gatewright("doctor").stdout.split())
        assert f"none that torch sees; it was {words}" in printed


PROGRAMS = {
    "pass": "its process ended with code 0",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "was ended by signal 11",
    "raise SystemExit('no torch')": "ended with code 1: no torch",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_self_test_that_dies_is_a_failure(program: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "module_command", lambda name: [sys.executable, "-c", program])
    done = gatewright("doctor")
    assert done.returncode == 1 and "FAILED" in done.stdout and "please report" in done.stdout
    (failure,) = doctor.run_checks()
    assert not failure.passed and PROGRAMS[program] in (failure.reason or "")


def test_a_self_test_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(doctor, "module_command", lambda name: hang)
    (failure,) = doctor.run_checks()
    assert failure.reason == "it did not end within 0 seconds"


def test_it_runs_in_the_checked_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    program = (
        "import json, os\n"
        "print(json.dumps({'name': os.environ['GATEWRIGHT_CHECKED'], 'passed': True}))\n"
    )
    monkeypatch.setattr(doctor, "module_command", lambda name: [sys.executable, "-c", program])
    monkeypatch.setattr(doctor, "LAYERS", {"one": None})
    assert [each.name for each in doctor.run_checks()] == ["1"]
