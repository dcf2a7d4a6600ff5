"""Start Python processes that run our modules, safe from files in the current directory.

Only the standard library is used, as in `files`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The folder that this package was imported from: a checkout's `src`, or site-packages.
ROOT = str(Path(__file__).resolve().parents[1])


def module_command(module: str) -> list[str]:
    """The command that runs one of our modules.

    `-P` keeps the current directory off the path: a user's `json.py` or `torch.py` there would
    run in place of the real one.
    """
    return [sys.executable, "-P", "-m", module]


def module_environment(**variables: str) -> dict[str, str]:
    """The environment for `module_command`, in which Python imports this very package.

    Empty entries of PYTHONPATH are left out: Python takes them for the current directory.
    """
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([ROOT, *filter(None, others)])
    return {**os.environ, "PYTHONPATH": path, **variables}


def ending(code: int, errors: str) -> str:
    """The way in which a process ended, with the last line of its error stream.

    >>> ending(-11, ""), ending(1, "Traceback:\\nImportError: torch")
    ('was ended by signal 11', 'ended with code 1: ImportError: torch')
    """
    way = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    lines = errors.strip().splitlines()
    return way + (f": {lines[-1]}" if lines else "")


@contextmanager
def without_current_directory() -> Iterator[None]:
    """Keep the current directory off the path of the Python processes started inside.

    For processes of multiprocessing, whose command we do not write.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
