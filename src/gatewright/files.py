"""Write directories and files completely or not at all.

A trained model is a directory. Also after a crash, a full disk or a power cut it must have all
of its files, or not exist.

    write_directory("model", {"config.json": b"{}", "README.md": b"# A model"})

Only the standard library is used: every other module may import this one.
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

# A writer fills a hidden sibling and renames it. A killed writer leaves its sibling behind, but
# not its lock on it, which ends with the process: so the next writer sees that it may remove it.
_PARTIAL = re.compile(r"\..+\.partial-[0-9a-f]{12}", re.DOTALL)
# Where there are no such locks, a sibling is removed when it is older than this, in seconds.
_STALE_AFTER_S = 3600.0


def user_path(path: str | os.PathLike[str]) -> Path:
    """Check a path that the user gave.

    Raises:
        ArgumentError: if no file can have it: it is empty, or contains a zero byte; or if it begins
            with ~, which only a shell replaces by the home directory.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"the path is a {type(path).__name__}; give a text or a Path")
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ArgumentError(f"the path is {text!r}; give the name of a file or directory")
    first, *rest = Path(text).parts or ("",)
    if rest and first.startswith("~") and not os.path.exists(first):
        raise ArgumentError(
            f"the path is {text!r}; only a shell reads ~ as the home directory: give "
            f"os.path.expanduser({text!r})"
        )
    return Path(text)


@contextmanager
def regular_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file to read; yield it and its size in bytes. Devices, pipes, directories are refused.

    Raises:
        OSError: if it cannot be opened, or is not a regular file.
    """
    # Opening a pipe would otherwise wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        yield file, status.st_size


def check_vacant(path: str | os.PathLike[str]) -> Path:
    """Return the path, resolved, if `write_directory` can write there; `ArgumentError` if not.

    A vacant path does not exist, or is an empty directory. Call this before a long computation,
    not after it.
    """
    user = user_path(path)
    try:
        target = Path(os.path.realpath(user))
        if target.is_dir():
            sweep(target)
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

    The files are written into a hidden sibling and flushed to the disk; then one rename gives the
    directory its name. `path` must be vacant (`check_vacant`).
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
                target.rmdir()  # Windows does not rename onto an empty directory
            os.rename(partial, target)
        _sync_directory(target.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another writer was faster
            raise ArgumentError(_occupied(path)) from error
        raise ArgumentError(_failed(path, error)) from error
    return target


def _check_place(target: Path) -> None:
    """Raise `ArgumentError` or `OSError` unless the target and its parents can be created."""
    # The nearest parent that exists decides whether the others can be created.
    parent = next(p for p in target.parents if p.exists())
    if not parent.is_dir():
        raise ArgumentError(
            f"cannot create {target}: {parent} is a file. "
            "Name a path whose parents are directories."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ArgumentError(f"cannot write in {parent}: no permission. Name another directory.")
    sweep(parent)
    # The permission may be there and writing still fail: a read-only disk, /proc.
    with _partial_directory(parent / target.name):
        pass


def check_new_file(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise `ArgumentError` unless `write_file` can write there; call it before the computation."""
    target = user_path(path).absolute()
    try:
        if target.is_dir():
            raise ArgumentError(f"{os.fspath(path)} is a directory; name a file")
        if target.exists() and not overwrite:
            raise ArgumentError(
                f"{os.fspath(path)} exists; name another file, or give overwrite=True"
            )
        _check_place(target)
    except OSError as error:
        raise ArgumentError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


def write_file(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = False) -> None:
    """Write one file, completely or not at all; an existing file stays unless `overwrite`.

    Missing parent directories are created.
    """
    check_new_file(path, overwrite=overwrite)
    target = Path(path).absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)
    except OSError as error:
        raise ArgumentError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write one file into a directory that exists; the file before it stays until this is complete.

    Raises:
        OSError: if it cannot be written; then the file before it is still there.
    """
    partial = _partial(path)
    try:
        with open(partial, "xb") as file, locked(partial):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        ArgumentError: if it cannot be removed, as on a disk that became read-only.
    """
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise ArgumentError(
            f"cannot remove {path}: {error.strerror or error}. Make its directory writable."
        ) from error


def _partial(target: Path) -> Path:
    """A path for a hidden sibling that no other writer uses."""
    return target.with_name(f".{target.name}.partial-{secrets.token_hex(6)}")


@contextmanager
def _partial_directory(target: Path) -> Iterator[Path]:
    """Yield a hidden sibling to be filled and renamed; remove it if it is there at the end."""
    lock: bool | None = False
    while lock is False:  # another writer may have removed it before we had our lock
        # Not tempfile.mkdtemp: its 0700 would stay on the finished directory.
        partial = _partial(target)
        partial.mkdir()
        with locked(partial) as lock:
            if lock is False:
                continue
            try:
                yield partial
            finally:  # also after Ctrl-C
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[bool | None]:
    """Hold a lock on a file or directory while it is written.

    Yields True if the lock was taken, False if not, None where there are no such locks.
    """
    with open_lock(path) as (lock, _):
        yield lock


@contextmanager
def open_lock(path: Path) -> Iterator[tuple[bool | None, int | None]]:
    """Hold a lock as `locked` does; yields its descriptor too.

    A process that inherits the descriptor holds the lock as well: it ends with the last of them.
    """
    if fcntl is None:
        yield None, None
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        yield False, None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock: bool | None = path.exists()
        except BlockingIOError:
            lock = False
        except OSError:  # some network file systems have no locks
            lock = None
        yield lock, descriptor
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove the hidden siblings of writers that are no longer alive."""
    try:
        names = os.listdir(directory)
    except PermissionError:  # the directory can be written but not listed
        return
    for name in names:
        if not _PARTIAL.fullmatch(name):
            continue
        sibling = directory / name
        with suppress(OSError), locked(sibling) as free:
            if free or (free is None and time.time() - sibling.stat().st_mtime > _STALE_AFTER_S):
                shutil.rmtree(sibling) if sibling.is_dir() else sibling.unlink()


def _sync_directory(path: Path) -> None:
    """Flush the directory's own entries, or a power cut may undo a rename."""
    if os.name == "nt":  # directories cannot be opened there
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # it can be written but not read; the files themselves are flushed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not sync directories; the files themselves are flushed.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _occupied(path: str | os.PathLike[str]) -> str:
    return (
        f"{os.fspath(path)} exists and is not empty; expected a new or empty directory. "
        "Name another directory, or move this one away."
    )


def _failed(path: str | os.PathLike[str], error: OSError) -> str:
    return (
        f"cannot write the directory {os.fspath(path)}: {error.strerror or error}. "
        "No files were left there; name a directory that can be written."
    )
