"""Built kernels: from a kernel's text to a function that can be launched."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from gatewright.backends.cache_directory import directory
from gatewright.backends.triton.tiles import Tiles

#: A kernel in memory: `kernel(grid, tiles, arguments)` runs it.
Kernel = Callable[[tuple[int, int], Tiles, Sequence[Any]], None]

#: One stage: with more, Triton loads rows of a product by copies through the first cache, which
#: may still hold the numbers from before another multiprocessor wrote new ones. Products and
#: sums may be one operation, as in torch.
OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}


def interpreted() -> bool:
    """Tell if Triton's interpreter was asked for, which runs programs on the CPU, in turn."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@lru_cache(maxsize=512)
def built(name: str, text: str) -> Kernel:
    """Return the kernel of a name in a text.

    It is compiled at its first launch; Triton keeps compiled kernels on the disk.
    """
    kernel = function(name, text)

    def launch(grid: tuple[int, int], tiles: Tiles, arguments: Sequence[Any]) -> None:
        options = {} if interpreted() else {**OPTIONS, "num_warps": tiles.warps}
        if tiles.parts > 1:  # programs wait for each other, so all of them must be running
            options["launch_cooperative_grid"] = True
        kernel[grid](*arguments, **options)

    return launch


def function(name: str, text: str) -> Any:
    """Return Triton's function of a name in a text, from a file, since Triton reads its source."""
    path = _file(name, text)
    namespace: dict[str, Any] = {"__name__": f"gatewright_{path.stem}", "libdevice": library()}
    exec(compile(text, str(path), "exec"), namespace)
    return namespace[name]


def _file(name: str, text: str) -> Path:
    base = directory()
    base = Path(_temporary()) if base is None else base / "triton"
    base.mkdir(parents=True, exist_ok=True)
    path = base / f"{name}_{hashlib.sha256(text.encode()).hexdigest()[:32]}.py"
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)  # atomically: another process may read it
    return path


@lru_cache(maxsize=1)
def _temporary() -> str:
    """Create a directory of this process, for texts that are not to be stored."""
    return tempfile.mkdtemp(prefix="gatewright-")


def library() -> Any:
    """Return the accurate functions that kernels call `libdevice`."""
    if interpreted():
        from gatewright.backends.triton import interpreter

        return interpreter
    from triton.language.extra.cuda import libdevice

    return libdevice


@lru_cache(maxsize=16)
def processors(device: torch.device) -> int:
    """Count the multiprocessors of a GPU; the interpreter is a single one."""
    if device.type == "cpu":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
