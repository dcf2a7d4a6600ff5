"""The names of built kernels in the cache: digests of everything that a kernel depends on.

A kernel depends on the cell, the options, the machine, and the code that emits it. That code is
found by its imports, so a kernel that another version of Gatewright emitted is never run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from gatewright.backends.llvm.target import target
from gatewright.graph import Graph

#: Part of every name. Increase it if a kernel changes for a reason that is not in the source of
#: the emitters, such as an option of LLVM that is read from the environment.
EMITTER_VERSION = 1
#: The modules that assemble the functions of a kernel; all others that emit are imported by them.
EMITTERS = ("backends.llvm.library", "backends.llvm.step_kernel")
PACKAGE = Path(__file__).parents[2]
#: One import from this package, over several lines where it is in parentheses.
IMPORT = re.compile(rb"^[ \t]*from gatewright\.([\w.]+) import (\([^)]*\)|[^\n(]*)", re.MULTILINE)


def key(graph: Graph | None, *details: object) -> str:
    """Return the name of an entry; without a graph, of the kernels that all cells share."""
    stored = graph.equations.to_json() if graph is not None else {}
    for name in ("name", "about", "origin"):
        stored.pop(name, None)
    weights = sorted(graph.weights) if graph is not None else []
    code = [EMITTER_VERSION, digest_of_sources()]
    parts = [stored, weights, [str(detail) for detail in details], host(), code]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def host() -> Sequence[str]:
    """Return the processor and the versions that code is built for and with."""
    versions = [llvmlite.__version__, str(llvm.llvm_version_info)]
    return (*map(str, astuple(target())), *versions)


@cache
def digest_of_sources() -> str:
    """Return a digest of the source of all emitting code."""
    digest = hashlib.sha256()
    for name, source in sorted(emitting_sources().items()):
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def emitting_sources() -> dict[str, bytes]:
    """Read the emitters and every module of ours that they import, by its path.

    The imports are found in the text, in some 2 ms when this module is imported; to parse all
    modules would take 100 ms.
    """
    sources: dict[str, bytes] = {}
    waiting = list(EMITTERS)
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        assert path is not None, f"gatewright.{module} is imported and has no file"
        if path in sources:
            continue
        sources[path] = (PACKAGE / path).read_bytes()
        for match in IMPORT.findall(sources[path]):
            base, names = (part.decode() for part in match)
            inner: list[str] = []
            if (_file_of(base) or "").endswith("__init__.py"):
                # A name may be a module, or be defined in the package that it is imported from.
                inner = [f"{base}.{name}" for name in re.findall(r"\w+", names)]
            waiting += [module if _file_of(module) else base for module in inner] or [base]
    return sources


@cache
def _file_of(module: str) -> str | None:
    """Return the path of a module below `gatewright`, or None if there is none."""
    *folders, name = module.split(".")
    folder = "/".join(folders)
    if f"{name}.py" in _entries(folder):
        return f"{folder}/{name}.py" if folder else f"{name}.py"
    package = f"{folder}/{name}" if folder else name
    return f"{package}/__init__.py" if "__init__.py" in _entries(package) else None


@cache
def _entries(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(PACKAGE / folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


# Taken now: the files may change while a process runs the code that was in them.
digest_of_sources()
