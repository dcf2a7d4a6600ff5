"""Let the environment choose anew for which processor, and how, kernels are built."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def forget_kernels() -> None:
    """Read `GATEWRIGHT_OPTIMISE` and `GATEWRIGHT_CPU` again for the next kernel.

    The kernels until then are on the disk.
    """
    for module, cached in (
        ("target", "target"),
        ("digest", "host"),
        ("library", "shared"),
        ("library", "kernels"),
        ("stepping", "step_kernel"),
    ):
        loaded = sys.modules.get(f"gatewright.backends.llvm.{module}")
        if loaded is not None:
            getattr(loaded, cached).cache_clear()


@contextmanager
def unoptimised() -> Iterator[None]:
    """Build the kernels of a block without optimisation, also in files that test optimised ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWRIGHT_OPTIMISE", "0")
        forget_kernels()
        yield
    forget_kernels()
