"""Directories that are written whole or not at all.

A trained model is a directory. Whoever finds it, also after a crash, a full
disk or a power cut, must find all of its files or none of them.

    write_directory("model", {"config.json": b"{}", "README.md": b"# A model"})

Standard library only: every other module may import this one.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from gatewright.errors import ArgumentError

# A killed writer can leave its unfinished sibling behind. The next writer of the
# same name sweeps it, once it is so old that nobody can still be at work on it.
_STALE_AFTER_S = 3600.0


def check_vacant(path: str | os.PathLike[str]) -> Path:
    """The path, resolved, if `write_directory` may write there; `ArgumentError` if not.

    Vacant is what does not exist, or is an empty directory. Call it before the
    long computation, not after it.
    """
    target = Path(os.path.realpath(path))
    try:
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
        _sweep(target)
        # Not tempfile.mkdtemp: its 0700 would stay on the finished directory.
        partial = _partial(target)
        partial.mkdir()
        try:
            for name, content in files.items():
                with open(partial / name, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _sync_directory(partial)
            if os.name == "nt" and target.is_dir():
                target.rmdir()  # Windows renames onto nothing, not even an empty directory
            os.rename(partial, target)
        except BaseException:  # Ctrl-C as well: nothing of ours stays behind
            shutil.rmtree(partial, ignore_errors=True)
            raise
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
    # A system may grant it and yet refuse: a disk that is read-only, /proc.
    trial = _partial(parent / target.name)
    trial.mkdir()
    trial.rmdir()


def check_new_file(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """`ArgumentError` unless `write_file` may write there; call it before the computation."""
    target = Path(path).absolute()
    if target.is_dir():
        raise ArgumentError(f"{os.fspath(path)} is a directory; name a file")
    if target.exists() and not overwrite:
        raise ArgumentError(f"{os.fspath(path)} exists; name another file, or say overwrite=True")
    try:
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
        with open(partial, "wb") as file:
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


def _sweep(target: Path) -> None:
    for left in target.parent.glob(f".{target.name}.partial-*"):
        try:
            if time.time() - left.stat().st_mtime > _STALE_AFTER_S:
                shutil.rmtree(left, ignore_errors=True)
        except OSError:  # gone meanwhile: that is what was wanted
            continue


def _sync_directory(path: Path) -> None:
    """Flush the directory's own entries, without which a rename may be lost with the power."""
    if os.name == "nt":  # directories cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
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
