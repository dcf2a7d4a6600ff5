"""The source of some modules and of every module of ours that they import.

A digest of it changes with the code, so that nothing is used that other code has built or proven.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
#: One import from this package, over several lines where it is in parentheses.
IMPORT = re.compile(rb"^[ \t]*from gatewright\.([\w.]+) import (\([^)]*\)|[^\n(]*)", re.MULTILINE)


def sources_of(modules: Iterable[str]) -> dict[str, bytes]:
    """Read some modules and every module of ours that they import, by its path.

    The imports are read from the text, in some 2 ms for the kernels of a backend; to parse all
    modules would take 100 ms.

    Args:
        modules: Their names below `gatewright`, such as "backends.llvm.library".
    """
    sources: dict[str, bytes] = {}
    waiting = list(modules)
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


def digest_of(sources: Mapping[str, bytes]) -> str:
    """Return a digest of sources and their paths."""
    digest = hashlib.sha256()
    for name, source in sorted(sources.items()):
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


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
