"""Directories that are written whole or not at all.

A trained model is a directory. Whoever finds it, also after a crash, a full
disk or a power cut, must find all of its files or none of them.

    write_directory("model", {"config.json": b"{}", "README.md": b"# A model"})

Standard library only: every other module may import this one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gatewright.errors import ArgumentError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# A killed writer leaves its unfinished sibling behind. Writers hold a lock on theirs, which
# ends with them, so the next command that writes in the directory can tell and sweeps it.
_PARTIAL = re.compile(r"\..+\.partial-[0-9a-f]{12}", re.DOTALL)
# Where there are no such locks, one is swept when it is older than this.
_STALE_AFTER_S = 3600.0


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as the user gave it.

    Raises:
        ArgumentError: if no file can have it: it is empty, or holds a zero byte.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"the path is a {type(path).__name__}; give a text or a Path")
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ArgumentError(f"the path is {text!r}; give the name of a file or directory")
    return Path(text)


@contextmanager
def regular_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read and its size in bytes; a device, a pipe or a directory is refused.

    Raises:
        OSError: if it cannot be opened, or is no regular file.
    """
    # Without waiting for somebody to write into a pipe.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        yield file, status.st_size


def check_vacant(path: str | os.PathLike[str]) -> Path:
    """The path, resolved, if `write_directory` may write there; `ArgumentError` if not.

    Vacant is what does not exist, or is an empty directory. Call it before the
    long computation, not after it.
    """
    user = user_path(path)
    try:
        target = Path(os.path.realpath(user))
        if target.is_dir():
            if any(target.iterdir()):
                raise ArgumentError(_occupied(path))
        elif target.exists():
            raise ArgumentError(
                f"{os.fspath(path)} is a file; expected a new or empty directory. "
                "Name another directory."
            )
        _check_place(target)
    except OSError as error:
        raise ArgumentError(_failed(path, error)) from error
    return target


def write_directory(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write `files` (name to content) as the directory `path`, atomically.

    The files go into a hidden sibling, are flushed to the disk, and one rename
    makes them appear under their name. `path` must be vacant (`check_vacant`).
    Returns the resolved path.
    """
    for name in files:
        if name in ("", ".", "..") or name != os.path.basename(name) or "\\" in name:
            raise ArgumentError(
                f"file name {name!r} in a directory to write; expected a plain name "
                "without a folder in it"
            )
    target = check_vacant(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _partial_directory(target) as partial:
            for name, content in files.items():
                with open(partial / name, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _sync_directory(partial)
            if os.name == "nt" and target.is_dir():
                target.rmdir()  # Windows renames onto nothing, not even an empty directory
            os.rename(partial, target)
        _sync_directory(target.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # somebody was faster
            raise ArgumentError(_occupied(path)) from error
        raise ArgumentError(_failed(path, error)) from error
    return target


def _check_place(target: Path) -> None:
    """`ArgumentError` or `OSError` unless something can be made there, its parents too."""
    # The nearest parent that exists decides whether the others can be made.
    parent = next(p for p in target.parents if p.exists())
    if not parent.is_dir():
        raise ArgumentError(
            f"cannot make {target}: {parent} is a file. Name a path whose parents are directories."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ArgumentError(f"cannot write in {parent}: no permission. Name another directory.")
    _sweep(parent)
    # A system may grant it and yet refuse: a disk that is read-only, /proc.
    with _partial_directory(parent / target.name):
        pass


def check_new_file(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """`ArgumentError` unless `write_file` may write there; call it before the computation."""
    target = user_path(path).absolute()
    try:
        if target.is_dir():
            raise ArgumentError(f"{os.fspath(path)} is a directory; name a file")
        if target.exists() and not overwrite:
            raise ArgumentError(
                f"{os.fspath(path)} exists; name another file, or say overwrite=True"
            )
        _check_place(target)
    except OSError as error:
        raise ArgumentError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


def write_file(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = False) -> None:
    """Write one file, whole or not at all; what is there already stays unless `overwrite`.

    Directories above it are made where they are not there.
    """
    check_new_file(path, overwrite=overwrite)
    target = Path(path).absolute()
    partial = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file, _locked(partial):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise ArgumentError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    """A hidden sibling that nobody else writes to."""
    return target.with_name(f".{target.name}.partial-{secrets.token_hex(6)}")


@contextmanager
def _partial_directory(target: Path) -> Iterator[Path]:
    """A hidden sibling to fill and rename; what is still there at the end goes."""
    lock: bool | None = False
    while lock is False:  # a command that sweeps may have been faster than our lock
        # Not tempfile.mkdtemp: its 0700 would stay on the finished directory.
        partial = _partial(target)
        partial.mkdir()
        with _locked(partial) as lock:
            if lock is False:
                continue
            try:
                yield partial
            finally:  # Ctrl-C as well: nothing of ours stays behind
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Hold a lock on a file or directory while it is written.

    Yields whether it could be had; None where there are no such locks.
    """
    if fcntl is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock: bool | None = path.exists()
        except BlockingIOError:
            lock = False
        except OSError:  # some network file systems have none
            lock = None
        yield lock
    finally:
        os.close(descriptor)


def _sweep(directory: Path) -> None:
    """Remove what writers left that are no longer alive, whatever they were writing."""
    try:
        names = os.listdir(directory)
    except PermissionError:  # a directory that can be written and not listed
        return
    for name in names:
        if not _PARTIAL.fullmatch(name):
            continue
        left = directory / name
        with suppress(OSError), _locked(left) as free:
            if free or (free is None and time.time() - left.stat().st_mtime > _STALE_AFTER_S):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _sync_directory(path: Path) -> None:
    """Flush the directory's own entries, without which a rename may be lost with the power."""
    if os.name == "nt":  # directories cannot be opened there
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # it can be written and not read; the files are safe all the same
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not sync directories; the files are safe all the same.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _occupied(path: str | os.PathLike[str]) -> str:
    return (
        f"{os.fspath(path)} exists and is not empty; expected a new or empty directory. "
        "Name another one, or move this one away."
    )


def _failed(path: str | os.PathLike[str], error: OSError) -> str:
    return (
        f"cannot write the directory {os.fspath(path)}: {error.strerror or error}. "
        "Nothing was left there; name a directory that can be written."
    )
