"""The names of built kernels in the cache: digests of everything that a kernel depends on.

A kernel depends on the cell, the options, the machine, and the code that emits it. That code is
found by its imports, so a kernel that another version of Gatewright emitted is never run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple
from functools import cache

import llvmlite
import llvmlite.binding as llvm

from gatewright.backends.llvm.target import target
from gatewright.backends.sources import digest_of, sources_of
from gatewright.graph import Graph

#: Part of every name. Increase it if a kernel changes for a reason that is not in the source of
#: the emitters, such as an option of LLVM that is read from the environment.
EMITTER_VERSION = 1
#: The modules that assemble the functions of a kernel; all others that emit are imported by them.
EMITTERS = ("backends.llvm.library", "backends.llvm.step_kernel")


def key(graph: Graph | None, *details: object) -> str:
    """Return the name of an entry; without a graph, of the kernels that all cells share."""
    equations = graph.equations.content() if graph is not None else ""
    weights = sorted(graph.weights) if graph is not None else []
    code = [EMITTER_VERSION, digest_of_sources()]
    parts = [equations, weights, [str(detail) for detail in details], host(), code]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def host() -> Sequence[str]:
    """Return the processor and the versions that code is built for and with."""
    versions = [llvmlite.__version__, str(llvm.llvm_version_info)]
    return (*map(str, astuple(target())), *versions)


@cache
def digest_of_sources() -> str:
    """Return a digest of the source of all emitting code."""
    return digest_of(emitting_sources())


def emitting_sources() -> dict[str, bytes]:
    """Read the emitters and every module of ours that they import, by its path."""
    return sources_of(EMITTERS)


# Taken now: the files may change while a process runs the code that was in them.
digest_of_sources()
