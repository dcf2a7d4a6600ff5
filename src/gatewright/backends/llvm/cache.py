"""Built kernels on the disk, so that a cell is built once for a machine.

An entry is named by all that it depends on. It is machine code, so it is used only if this user
wrote it: the directory and its files must belong to the user, nobody else may write to them, and
an entry begins with a code (HMAC) of its name and content under a secret that only the user can
read. An entry that is cut, damaged or planted is built again. Files are written beside and
renamed, so that several processes may build the same entry at once.

The directory is `gatewright` in the user's cache directory, or the value of the environment
variable `GATEWRIGHT_CACHE`; an empty value keeps nothing. The entries that were not used for the
longest time go when there are more than `MOST_BYTES`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import stat
import time
import warnings
from collections.abc import Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from gatewright.backends.llvm.target import target
from gatewright.graph import Graph

#: Bytes of an entry's code, and of the secret.
DIGEST = 32
#: Bytes that all entries may have together, and that eviction leaves.
MOST_BYTES, KEPT_BYTES = 256 * 2**20, 192 * 2**20
#: An entry's time of last use is written at most this often, in seconds.
USE_INTERVAL = 3600.0
#: What an unfinished writer left is removed after so many seconds.
STALE = 3600.0
SECRET = Path("secret", "key")


class Unsafe(Exception):
    """A directory or file that somebody else could have written."""


def directory() -> Path | None:
    """The directory of the entries, or None."""
    name = os.environ.get("GATEWRIGHT_CACHE")
    if name is not None:
        return Path(name) if name else None
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "gatewright"
    except RuntimeError:  # HOME is unset and the user id has no entry
        report_once(
            "kernels are built again in every process: this user has no home directory. Set "
            "GATEWRIGHT_CACHE to a directory of your own"
        )
        return None


@cache
def report_once(message: str) -> None:
    """Warn of a cache that is not used, once in a process."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def key(graph: Graph | None, *details: object) -> str:
    """The name of an entry; without a graph, of what all cells share."""
    stored = graph.equations.to_json() if graph is not None else {}
    for name in ("name", "about", "origin"):
        stored.pop(name, None)
    weights = sorted(graph.weights) if graph is not None else []
    everything = [stored, weights, [str(one) for one in details], host(), sources()]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


@cache
def host() -> Sequence[str]:
    """The processor and the versions that code is built for and with."""
    versions = [llvmlite.__version__, str(llvm.llvm_version_info)]
    return (*map(str, astuple(target())), *versions)


@cache
def sources() -> str:
    """A digest of the code that writes kernels: another version of it writes others."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    package = here.parent.parent
    operations = package / "language" / "operations.py"
    folders = (here, package / "graph", package / "schedule")
    files = [path for folder in folders for path in folder.glob("*.py")]
    for path in sorted([*files, here.parent / "order.py", operations]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Taken now: the files may change while a process runs what they were.
sources()


def read(name: str) -> bytes | None:
    """The object code of an entry, or None where there is none that can be trusted."""
    base = directory()
    if base is None:
        return None
    try:
        _check_directory(base)
        secret = _read_own(base / SECRET)
    except Unsafe as error:
        report_once(_unsafe(base, error))
        return None
    except OSError:
        return None
    try:
        whole = _read_own(base / name)
    except (Unsafe, OSError):  # it is built again, and then replaced
        return None
    digest, code = whole[:DIGEST], whole[DIGEST:]
    if len(secret) != DIGEST or not hmac.compare_digest(_seal(secret, name, code), digest):
        return None
    _mark_used(base / name)
    return code


def write(name: str, code: bytes) -> None:
    """Keep an entry. Where that is not possible (no space, no permission) none is kept."""
    base = directory()
    if base is None:
        return
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_directory(base)
        _write_own(base / name, _seal(_secret(base), name, code) + code)
        evict(base)
    except Unsafe as error:
        report_once(_unsafe(base, error))
    except OSError:
        pass


def state() -> dict[str, str | int | None]:
    """The cache as it is: directory, entries, bytes, and the reason why it is not used, or None."""
    base = directory()
    if base is None:
        return {"directory": None, "entries": 0, "bytes": 0, "reason": "no directory"}
    reason: str | None = None
    sizes: list[int] = []
    try:
        if base.exists():
            _check_directory(base)
            sizes = [status.st_size for _, status in _entries(base)]
        parent = next(one for one in (base, *base.absolute().parents) if one.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            reason = "it cannot be written"
    except Unsafe as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    return {
        "directory": str(base),
        "entries": len(sizes),
        "bytes": sum(sizes),
        "reason": reason,
    }


def evict(base: Path) -> None:
    """Remove what unfinished writers left, and the entries unused for longest beyond the limit."""
    entries = sorted(_entries(base), key=lambda entry: entry[1].st_mtime)
    total = sum(status.st_size for _, status in entries)
    goal = KEPT_BYTES if total > MOST_BYTES else total
    for path, status in entries:
        unfinished = "." in path.name and time.time() - status.st_mtime > STALE
        if unfinished or total > goal:
            path.unlink(missing_ok=True)
            total -= status.st_size


def _entries(base: Path) -> list[tuple[Path, os.stat_result]]:
    """The files of the directory, finished or not; one that has just gone is left out."""
    entries = []
    with os.scandir(base) as items:
        for item in items:
            with contextlib.suppress(FileNotFoundError):
                if item.is_file(follow_symlinks=False):
                    entries.append((base / item.name, item.stat(follow_symlinks=False)))
    return entries


def _seal(secret: bytes, name: str, code: bytes) -> bytes:
    return hmac.digest(secret, name.encode() + b"\0" + code, "sha256")


def _secret(base: Path) -> bytes:
    """The user's secret, drawn at the first need.

    It comes in a directory of its own, since the rename of one that is not empty fails where
    another process was faster.
    """
    if not (base / SECRET).exists():
        partial = base / f"secret.{secrets.token_hex(4)}"
        partial.mkdir(mode=0o700)
        _write_own(partial / SECRET.name, secrets.token_bytes(DIGEST))
        try:
            partial.rename(base / SECRET.parent)
        except OSError:
            shutil.rmtree(partial)
    secret = _read_own(base / SECRET)
    if len(secret) != DIGEST:
        raise Unsafe(f"{base / SECRET} is damaged")
    return secret


def _mark_used(path: Path) -> None:
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > USE_INTERVAL:
            os.utime(path)


def _write_own(path: Path, content: bytes) -> None:
    """Write a file that only this user can read or write, whole or not at all."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(partial, flags, 0o600), "wb") as file:
            file.write(content)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _read_own(path: Path) -> bytes:
    """The content of a file of this user's that nobody else can write or read.

    Raises:
        Unsafe: if it is none.
        OSError: if it cannot be read.
    """
    # Not through a link, and without waiting for the writer of a pipe.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unsafe(f"{path} is no regular file")
        _check_owner(path, status, 0o077)
        return file.read()


def _check_directory(base: Path) -> None:
    status = base.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(base)
    _check_owner(base, status, 0o022)


def _check_owner(path: Path, status: os.stat_result, others: int) -> None:
    """Refuse what belongs to somebody else, or gives others one of these permissions."""
    if os.name == "nt":  # the user's profile is protected by its access lists
        return
    if status.st_uid != os.geteuid():
        raise Unsafe(f"{path} belongs to another user")
    if status.st_mode & others:
        raise Unsafe(f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):o})")


def _unsafe(base: Path, error: Unsafe) -> str:
    return (
        f"the kernel cache {base} is not used, since {error}: what others can write could run as "
        "code. Remove it (or chmod -R go= it), or set GATEWRIGHT_CACHE to a directory of your own"
    )
