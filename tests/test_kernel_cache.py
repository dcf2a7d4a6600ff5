"""Built kernels on the disk: read back, never trusted when damaged, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gatewright as gw
from gatewright.backends.llvm import build, library

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
print([one.grad.sum().item() for one in layer.parameters()])
"""


#: Kernels that were built here before, by what they were built from.
REMEMBERED: dict[str, bytes] = {}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is built of a cell, with an empty cache in memory and on the disk."""
    for bits in (32, 64):
        library.shared(bits)  # what all cells share is in memory already
    found: list[Any] = []
    original = build.object_code

    def object_code(module: Any) -> bytes:
        found.append(module)
        source = str(module)
        if source not in REMEMBERED:  # it is counted as built again; that takes no time
            REMEMBERED[source] = original(module)
        return REMEMBERED[source]

    monkeypatch.setattr(build, "object_code", object_code)
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "of" / "kernels"))
    library.kernels.cache_clear()
    yield found
    library.kernels.cache_clear()


def run_once() -> torch.Tensor:
    """The gradient of an input; the kernels in memory are forgotten before."""
    library.kernels.cache_clear()
    torch.manual_seed(0)
    layer = gw.Recurrent("elman_rnn", 2, 3, backend="llvm", dtype=torch.float64)
    x = torch.ones(3, 2, 2, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(layer(x)[0].sum(), x)[0]


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "of" / "kernels").iterdir())


def test_an_entry_is_written_and_read(built: list[Any], tmp_path: Path):
    first = run_once()
    assert len(built) == 1 and len(entries(tmp_path)) == 1
    assert torch.equal(run_once(), first)
    assert len(built) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "only a digest", "garbage"])
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
            "garbage": b"not a kernel" * 1000,
        }[damage]
    )
    assert torch.equal(run_once(), first)
    assert len(built) == 2
    assert torch.equal(run_once(), first)
    assert len(built) == 2 and entry.read_bytes() == whole


def test_a_directory_that_cannot_be_is_fine(
    built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "file" / "kernels"))
    assert torch.equal(run_once(), run_once())
    assert len(built) == 2


def test_nothing_is_kept_where_an_empty_name_says_so(
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


def test_several_processes_build_at_once(tmp_path: Path):
    environment = {**os.environ, "GATEWRIGHT_CACHE": str(tmp_path)}

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BUILDING, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    running = [start() for _ in range(2)]
    printed = {one.communicate(timeout=120)[0] for one in running}
    assert [one.returncode for one in running] == [0] * 2
    assert len(printed) == 1
    assert len(list(tmp_path.iterdir())) == 2  # the cell's, and what all cells share
    last = start("forbidden")
    assert last.communicate(timeout=120)[0] in printed and last.returncode == 0
