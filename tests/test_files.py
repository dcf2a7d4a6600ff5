"""A directory is written completely or not at all, whenever its writer dies."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gatewright import files
from gatewright.errors import ArgumentError
from gatewright.files import check_vacant, remove_file, write_directory, write_file

FILES = {"config.json": b"{}", "model.safetensors": b"\x00\xff" * 5000, "README.md": b"# A"}

# Dies by SIGKILL just before the N-th flush, or just before the rename.
KILLED_WRITER = """
import os, signal, sys
from gatewright.files import write_directory
path, place = sys.argv[1], sys.argv[2]
count = 0
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
real = os.fsync
def fsync(descriptor):
    global count
    if str(count) == place:
        die()
    count += 1
    real(descriptor)
os.fsync = fsync
if place == "rename":
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


def test_existing_files_stay_as_they_are(tmp_path: Path) -> None:
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


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a directory that nobody can write"
)
def test_a_directory_that_cannot_be_written_is_refused_before_the_long_computation(
    tmp_path: Path,
) -> None:
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
@pytest.mark.parametrize("place", ["0", "1", "2", "3", "rename", "4"])
def test_a_killed_writer_leaves_nothing_or_all_files(tmp_path: Path, place: str) -> None:
    target = tmp_path / "model"
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(target), place])
    assert killed.returncode == -signal.SIGKILL
    # Flush 4 is the one after the rename.
    assert target.exists() == (place == "4")
    if target.exists():
        assert names(target) == sorted(FILES)
    else:
        assert write_directory(target, FILES) == target.resolve()


@pytest.mark.skipif(os.name == "nt", reason="locks and signals are POSIX")
def test_the_remains_of_killed_writers_go_at_the_next_write(tmp_path: Path) -> None:
    """Files and directories, however recent."""
    for name, place in (("model", "2"), ("other", "0"), ("third[1]\n", "rename")):
        subprocess.run([sys.executable, "-c", KILLED_WRITER, str(tmp_path / name), place])
    (tmp_path / ".file.csv.partial-0123456789ab").write_text("half")
    mine = (".model.partial-mine", ".partial-0123456789ab", "x.partial-0123456789ab")
    for name in mine:
        (tmp_path / name).mkdir()
    # Each writer has removed the remains of the one before it.
    assert len(names(tmp_path)) == 2 + len(mine)
    check_vacant(tmp_path / "elsewhere")
    assert names(tmp_path) == sorted(mine)


@pytest.mark.skipif(os.name == "nt", reason="locks are POSIX")
def test_a_writer_at_work_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def meanwhile(source: Path, target: Path) -> None:
        if Path(target).name == "first":
            write_directory(tmp_path / "second", FILES)
        rename(source, target)

    monkeypatch.setattr(os, "rename", meanwhile)
    write_directory(tmp_path / "first", FILES)
    assert names(tmp_path) == ["first", "second"]


def test_without_locks_old_remains_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    old, young = tmp_path / ".model.partial-000000000000", tmp_path / ".model.partial-111111111111"
    for remains in (old, young):
        remains.mkdir()
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    write_directory(tmp_path / "model", FILES)
    assert names(tmp_path) == [young.name, "model"]


@pytest.mark.parametrize("path", ["", "\0x", "a" * 5000, "a/" + "b" * 300, 3, b"model"])
def test_a_path_that_no_file_can_have_is_refused(path: object, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"the path is|cannot write"):
        write_directory(path, FILES)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"the path is|cannot write"):
        write_file(path, b"")  # type: ignore[arg-type]
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
def test_a_parent_that_cannot_be_listed_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for an ordinary user; root may list everything."""
    parent = tmp_path / "unlisted"
    parent.mkdir()
    real_open = os.open

    def refuse(path: object, *_: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    def open_(path: object, *rest: int, **options: int) -> int:
        refused = Path(str(path)) == parent
        return refuse(path) if refused else real_open(path, *rest, **options)  # type: ignore

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "open", open_)
    target = write_directory(parent / "model", FILES)
    monkeypatch.undo()
    assert names(target) == sorted(FILES)


def test_a_file_is_removed_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text("")
    remove_file(path)
    assert not path.exists()
    remove_file(path)
    (tmp_path / "file").write_text("")
    remove_file(tmp_path / "file" / "config.json")

    def unlink(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(ArgumentError, match=r"cannot remove .*config.json: Read-only file system"):
        remove_file(path)
