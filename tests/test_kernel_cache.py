"""The disk cache of built kernels: it is read, damage is detected, failures do no harm."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gatewright as gw
from gatewright.backends.llvm import build, cache, library

BUILDING = """
import sys, torch
import gatewright as gw
from gatewright.backends.llvm import build
if "forbidden" in sys.argv:
    build.object_code = lambda module: sys.exit("it was built again")
torch.set_num_threads(1)
torch.manual_seed(0)
layer = gw.Recurrent("elman_rnn", 2, 3, backend="llvm", dtype=torch.float64)
output, _ = layer(torch.ones(3, 2, 2, dtype=torch.float64))
output.sum().backward()
print([weight.grad.sum().item() for weight in layer.parameters()])
"""


#: Object code of kernels that were built before, by the text of their modules.
REMEMBERED: dict[str, bytes] = {}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The modules that are built, with empty caches in memory and on the disk."""
    for bits in (32, 64):
        library.shared(
            build.numbers(bits)
        )  # the kernels that all cells share are in memory already
    modules: list[Any] = []
    original = build.object_code

    def object_code(module: Any) -> bytes:
        modules.append(module)
        source = str(module)
        if source not in REMEMBERED:  # counted as built, without the time
            REMEMBERED[source] = original(module)
        return REMEMBERED[source]

    monkeypatch.setattr(build, "object_code", object_code)
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "of" / "kernels"))
    library.kernels.cache_clear()
    cache.report_once.cache_clear()
    yield modules
    library.kernels.cache_clear()
    cache.report_once.cache_clear()


def run_once() -> torch.Tensor:
    """The gradient of an input, with no kernels of the cell in memory."""
    library.kernels.cache_clear()
    torch.manual_seed(0)
    layer = gw.Recurrent("elman_rnn", 2, 3, backend="llvm", dtype=torch.float64)
    x = torch.ones(3, 2, 2, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(layer(x)[0].sum(), x)[0]


def entries(tmp_path: Path) -> list[Path]:
    return sorted(one for one in (tmp_path / "of" / "kernels").iterdir() if one.is_file())


def test_an_entry_is_written_and_read(built: list[Any], tmp_path: Path):
    first = run_once()
    assert len(built) == 1 and len(entries(tmp_path)) == 1
    assert torch.equal(run_once(), first)
    assert len(built) == 1


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "changed", "only a digest", "another code", "garbage"]
)
def test_a_damaged_entry_is_built_again(damage: str, built: list[Any], tmp_path: Path):
    first = run_once()
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    middle = len(whole) // 2
    changed = bytes([whole[middle] ^ 1])
    entry.write_bytes(
        {
            "empty": b"",
            "cut": whole[:middle],
            "changed": whole[:middle] + changed + whole[middle + 1 :],
            "only a digest": whole[:32],
            "another code": hashlib.sha256(b"code").digest() + b"code",
            "garbage": b"not a kernel" * 1000,
        }[damage]
    )
    assert torch.equal(run_once(), first)
    assert len(built) == 2
    assert torch.equal(run_once(), first)
    assert len(built) == 2 and entry.read_bytes() == whole


def test_a_directory_that_cannot_be_made_does_no_harm(
    built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "file" / "kernels"))
    assert torch.equal(run_once(), run_once())
    assert len(built) == 2


def test_an_empty_name_disables_the_cache(
    built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GATEWRIGHT_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert torch.equal(run_once(), run_once())
    assert len(built) == 2 and not list(tmp_path.iterdir())


def test_another_cell_or_number_type_is_another_entry(built: list[Any], tmp_path: Path):
    run_once()
    for cell, dtype in (("elman_rnn", torch.float32), ("gru", torch.float64)):
        layer = gw.Recurrent(cell, 2, 3, backend="llvm", dtype=dtype)
        layer(torch.ones(3, 2, 2, dtype=dtype))
    assert len(built) == len(entries(tmp_path)) == 3


@pytest.mark.slow(instead="test_an_entry_is_written_and_read")
@pytest.mark.usefixtures("forked_python")
def test_several_processes_build_at_once(tmp_path: Path):
    environment = {**os.environ, "GATEWRIGHT_CACHE": str(tmp_path)}

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BUILDING, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    running = [start() for _ in range(2)]
    printed = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 2
    assert len(printed) == 1
    folders = sorted(path.is_dir() for path in tmp_path.iterdir())
    assert folders == [False, False, True]  # the cell's kernels, the shared ones, and the secret
    last = start("forbidden")
    assert last.communicate(timeout=120)[0] in printed and last.returncode == 0


# Code that another user could have written does not run.
posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes are POSIX")


@posix
def test_only_the_user_can_read_the_directory_and_its_files(built: list[Any], tmp_path: Path):
    run_once()
    base = tmp_path / "of" / "kernels"
    assert base.stat().st_mode & 0o777 == 0o700
    for path in (one for one in base.rglob("*") if one.is_file()):
        assert path.stat().st_mode & 0o777 == 0o600
    assert (base / "secret").stat().st_mode & 0o777 == 0o700


@posix
@pytest.mark.parametrize("where", ["", "secret/key"])
def test_a_directory_that_others_may_write_is_not_used(
    where: str, built: list[Any], tmp_path: Path
):
    first = run_once()
    (tmp_path / "of" / "kernels" / where).chmod(0o777)
    with pytest.warns(RuntimeWarning, match="is open to others"):
        assert torch.equal(run_once(), first)
    assert torch.equal(run_once(), first)  # without a second warning
    assert len(built) == 3


@posix
def test_an_entry_that_is_a_link_or_open_to_others_is_built_again(built: list[Any], tmp_path: Path):
    run_once()
    (entry,) = entries(tmp_path)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    run_once()
    assert len(built) == 2 and not entry.is_symlink()
    entry.chmod(0o644)
    run_once()
    assert len(built) == 3 and entry.stat().st_mode & 0o777 == 0o600
    run_once()
    assert len(built) == 3


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="needs to be root")
def test_a_directory_of_another_user_is_not_used(built: list[Any], tmp_path: Path):
    run_once()
    os.chown(tmp_path / "of" / "kernels", 12345, 12345)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        run_once()
    assert len(built) == 2


@posix
def test_a_fifo_is_not_waited_for(built: list[Any], tmp_path: Path):
    run_once()
    (entry,) = entries(tmp_path)
    entry.unlink()
    os.mkfifo(entry, 0o600)
    run_once()
    assert len(built) == 2 and entry.is_file()


def test_an_entry_under_another_name_or_secret_is_built_again(built: list[Any], tmp_path: Path):
    run_once()
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    assert cache.read(entry.name) == whole[32:]
    other = entry.with_name("0" * 64)
    other.write_bytes(whole)
    other.chmod(0o600)
    assert cache.read(other.name) is None
    (entry.parent / "secret" / "key").write_bytes(bytes(32))
    assert cache.read(entry.name) is None


def test_the_least_recently_used_entries_are_removed_first(
    built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cache, "MOST_BYTES", 4000)
    monkeypatch.setattr(cache, "LEFT_BYTES", 2500)
    cache.write("first", bytes(1000))
    base = tmp_path / "of" / "kernels"
    (base / "second.0123").write_bytes(bytes(100))
    for time_of_use, name in enumerate(("first", "second.0123")):
        os.utime(base / name, (time_of_use, time_of_use))
    assert cache.read("first") is not None  # which marks it as used
    for name in ("second", "third"):
        cache.write(name, bytes(1000))
        os.utime(base / name, (time.time() - 7200,) * 2)
    assert [one.name for one in entries(tmp_path)] == ["first", "second", "third"]
    cache.write("fourth", bytes(1000))
    assert [one.name for one in entries(tmp_path)] == ["first", "fourth"]


HOMELESS = """
import os, sys, warnings
os.environ.pop("HOME", None)
for name in ("GATEWRIGHT_CACHE", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
import pwd
def unknown(number):
    raise KeyError(number)
pwd.getpwuid = unknown
import torch
import gatewright as gw
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    layer = gw.GRU(3, 4)
    layer(torch.zeros(5, 2, 3))[0].sum().backward()
    layer.stepper().step(torch.zeros(3))
    layer.explain(torch.zeros(5, 2, 3))
messages = [str(w.message) for w in caught if w.category is RuntimeWarning]
assert len(messages) == 1 and "no home directory" in messages[0], messages
"""


@pytest.mark.slow(instead="test_a_directory_that_cannot_be_made_does_no_harm")
@posix
def test_without_a_home_directory_there_is_one_warning():
    done = subprocess.run([sys.executable, "-c", HOMELESS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_state_of_the_cache(built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = tmp_path / "of" / "kernels"
    assert cache.state() == {"directory": str(base), "entries": 0, "bytes": 0, "reason": None}
    run_once()
    state = cache.state()
    assert state["entries"] == 1 and state["bytes"] == entries(tmp_path)[0].stat().st_size
    monkeypatch.setenv("GATEWRIGHT_CACHE", "")
    assert cache.state()["directory"] is None
