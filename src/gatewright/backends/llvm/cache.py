"""Built kernels on the disk, so that a cell is built once for a machine.

The name of an entry is a digest of everything that it depends on (`digest.py`). An entry is
machine code, so it is used only if this user wrote it: the directory and its files must belong
to the user, nobody else may write to them, and an entry begins with a code (HMAC) of its name
and content under a secret that only the user can read. An entry that is cut, damaged or planted
is built again. Files are written under another name and renamed, so that several processes may
build the same entry at once.

The directory is that of `cache_directory.py`. The least recently used entries are removed when
all together have more than `MOST_BYTES`.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import shutil
import stat
import time
from pathlib import Path

from gatewright.backends.cache_directory import directory, report_once

#: Bytes of an entry's code, and of the secret.
DIGEST = 32
#: The limit of the bytes of all entries, and the bytes that eviction leaves.
MOST_BYTES, LEFT_BYTES = 256 * 2**20, 192 * 2**20
#: Seconds before an entry's time of last use is written again.
USE_INTERVAL = 3600.0
#: Seconds after which the file of an unfinished writer is removed.
STALE = 3600.0
SECRET = Path("secret", "key")


class Unsafe(Exception):
    """A directory or file that somebody else could have written."""


def read(name: str) -> bytes | None:
    """Return the object code of an entry, or None where there is none that can be trusted."""
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
        entry = _read_own(base / name)
    except (Unsafe, OSError):  # the caller builds it again and replaces it
        return None
    digest, code = entry[:DIGEST], entry[DIGEST:]
    if len(secret) != DIGEST or not hmac.compare_digest(_seal(secret, name, code), digest):
        return None
    _mark_used(base / name)
    return code


def write(name: str, code: bytes) -> None:
    """Write an entry, unless that is not possible (no space, no permission)."""
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
    """Describe the cache: directory, entries, bytes, and the reason why it is not used, or None."""
    base = directory()
    if base is None:
        return {"directory": None, "entries": 0, "bytes": 0, "reason": "no directory"}
    reason: str | None = None
    sizes: list[int] = []
    try:
        if base.exists():
            _check_directory(base)
            sizes = [status.st_size for _, status in _entries(base)]
        parent = next(path for path in (base, *base.absolute().parents) if path.exists())
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
    """Remove files of unfinished writers, and the least recently used entries over the limit."""
    entries = sorted(_entries(base), key=lambda entry: entry[1].st_mtime)
    total = sum(status.st_size for _, status in entries)
    goal = LEFT_BYTES if total > MOST_BYTES else total
    for path, status in entries:
        unfinished = "." in path.name and time.time() - status.st_mtime > STALE
        if unfinished or total > goal:
            path.unlink(missing_ok=True)
            total -= status.st_size


def _entries(base: Path) -> list[tuple[Path, os.stat_result]]:
    """List the files of the directory, finished or not, without those that are just removed."""
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
    """Return the user's secret, which is drawn at the first use.

    It has a directory of its own, since renaming one fails if another process was faster and
    the target is a directory that is not empty.
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
    """Write a file that only this user can read or write, completely or not at all."""
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
    """Read a file of this user that nobody else can write or read.

    Raises:
        Unsafe: if it is no such file.
        OSError: if it cannot be read.
    """
    # No links are followed, and opening a pipe does not wait for its writer.
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
    """Refuse a file of another user, or one that gives others one of these permissions."""
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
