"""A directory is written whole or not at all, whenever its writer dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gatewright.errors import ArgumentError
from gatewright.files import check_vacant, write_directory

FILES = {"config.json": b"{}", "model.safetensors": b"\x00\xff" * 5000, "README.md": b"# A"}

# Dies by SIGKILL just before the N-th flush, or just before the rename.
KILLED_WRITER = """
import os, signal, sys
from gatewright.files import write_directory
path, at = sys.argv[1], sys.argv[2]
count = 0
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
real = os.fsync
def fsync(descriptor):
    global count
    if str(count) == at:
        die()
    count += 1
    real(descriptor)
os.fsync = fsync
if at == "rename":
    os.rename = die
write_directory(path, {"config.json": b"{}", "model.safetensors": b"\\0" * 9999, "README.md": b"#"})
"""


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_writes_every_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = write_directory(tmp_path / "new" / "model", FILES)
    assert {name: (target / name).read_bytes() for name in names(target)} == FILES
    assert names(tmp_path / "new") == ["model"]
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o777 & ~umask


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert names(write_directory(tmp_path / "model", FILES)) == sorted(FILES)


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArgumentError, match="exists and is not empty"):
        write_directory(tmp_path / "model", FILES)
    with pytest.raises(ArgumentError, match="is a file; expected a new or empty directory"):
        write_directory(tmp_path / "file", FILES)
    with pytest.raises(ArgumentError, match="is a file"):
        check_vacant(tmp_path / "file" / "below")
    assert names(tmp_path) == ["file", "model"]
    assert names(tmp_path / "model") == ["mine.txt"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a place where none can write")
def test_a_place_that_refuses_is_found_before_the_long_computation(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="/proc/nope"):
        check_vacant("/proc/nope/x")
    assert check_vacant(tmp_path / "a" / "b") and names(tmp_path) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\\b"])
def test_only_plain_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match="plain name"):
        write_directory(tmp_path / "model", {name: b""})
    assert names(tmp_path) == []


def test_a_failing_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArgumentError, match="No space left on device"):
        write_directory(tmp_path / "model", FILES)
    assert names(tmp_path) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_directory(tmp_path / "model", FILES)
    assert names(tmp_path) == []


def test_a_faster_writer_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def slow(source: Path, target: Path) -> None:
        Path(target).mkdir()
        (Path(target) / "theirs").write_text("theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow)
    with pytest.raises(ArgumentError, match="exists and is not empty"):
        write_directory(tmp_path / "model", FILES)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["theirs"]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("at", ["0", "1", "2", "3", "rename", "4"])
def test_a_killed_writer_leaves_nothing_or_a_whole_directory(tmp_path: Path, at: str) -> None:
    target = tmp_path / "model"
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(target), at])
    assert killed.returncode == -signal.SIGKILL
    # Flush 4 is the one after the rename.
    assert target.exists() == (at == "4")
    if target.exists():
        assert names(target) == sorted(FILES)
    else:
        assert write_directory(target, FILES) == target.resolve()


def test_the_remains_of_a_killed_writer_are_swept_when_old(tmp_path: Path) -> None:
    old, young = tmp_path / ".model.partial-0", tmp_path / ".model.partial-1"
    other = tmp_path / ".another.partial-2"
    for left in (old, young, other):
        left.mkdir()
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    write_directory(tmp_path / "model", FILES)
    assert names(tmp_path) == [".another.partial-2", ".model.partial-1", "model"]
