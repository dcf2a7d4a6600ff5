"""Built kernels on the disk, so that a cell is built once for a machine.

An entry is named by all that it depends on, and begins with the digest of its content: one
that is cut or damaged is built again, never used. It is written beside and renamed, so that
several processes may build the same one at once.

The directory is `gatewright` in the user's cache directory, or what the environment variable
`GATEWRIGHT_CACHE` says; an empty value keeps nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from gatewright.backends.llvm.target import target
from gatewright.graph import Graph

DIGEST = 32


def directory() -> Path | None:
    """Where entries are kept, or None."""
    given = os.environ.get("GATEWRIGHT_CACHE")
    if given is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gatewright"


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
    for path in sorted([*here.glob("*.py"), *(here.parent.parent / "graph").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Taken now: the files may change while a process runs what they were.
sources()


def read(name: str) -> bytes | None:
    """The object code of an entry, or None where there is none, or a damaged one."""
    base = directory()
    if base is None:
        return None
    try:
        whole = (base / name).read_bytes()
    except OSError:
        return None
    digest, code = whole[:DIGEST], whole[DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def write(name: str, code: bytes) -> None:
    """Keep an entry. Where that is not possible (no space, no permission) none is kept."""
    base = directory()
    if base is None:
        return
    partial = base / f"{name}.{secrets.token_hex(4)}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(hashlib.sha256(code).digest() + code)
        partial.replace(base / name)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
