"""The machine that figures are measured on, and processes that measure."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gatewright.errors import BackendError
from gatewright.processes import module_command, module_environment

#: Called with a text and the share of the measurement that is done, from 0 to 1.
Report = Callable[[str, float], None]

PACKAGES = ("gatewright", "torch", "llvmlite", "numpy", "onnxruntime", "jax", "torchrecurrent")


def silent(text: str, share: float) -> None:
    """Report nothing."""


def machine() -> dict[str, Any]:
    """Processor, cores, load and versions; an absent package has the version None."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), model)
    return {
        "cpu": model,
        "cores": len(cores()),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "date": datetime.now().isoformat(timespec="seconds"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cores() -> list[int]:
    """One processor of each core that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    first_of: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        key = siblings.read_text().strip() if siblings.exists() else str(cpu)
        first_of.setdefault(key, cpu)
    return list(first_of.values())


def can_stay() -> bool:
    """True where the system lets a process be bound to some of its cores."""
    return hasattr(os, "sched_setaffinity")


def stay_on(threads: int) -> None:
    """Bind this process to `threads` cores. Call it before JAX starts, which asks only once."""
    import torch

    if can_stay() and threads <= len(cores()):
        os.sched_setaffinity(0, cores()[:threads])
    torch.set_num_threads(threads)


def in_process(
    module: str, task: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """Run one of our modules in a new process, and yield the JSON objects that it prints.

    The module reads `task` from its standard input, see `task_of_process`.

    Raises:
        BackendError: if the process fails, with the last lines of its error stream.
    """
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            module_command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=module_environment(**(environment or {})),
        ) as process,
    ):
        assert process.stdin and process.stdout
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended; the reason is read below
                process.stdin.write(json.dumps(task))
                process.stdin.close()
            for line in process.stdout:
                yield json.loads(line)
        except BaseException:
            process.kill()
            raise
        if process.wait():
            errors.seek(0)
            ending = errors.read().strip()[-2000:]
            raise BackendError(f"{module} ended with {process.returncode}: {ending}")


def task_of_process() -> dict[str, Any]:
    """The task of this process, which `in_process` started."""
    return dict(json.load(sys.stdin))


def answer(**fields: Any) -> None:
    """Send one line to the process that started this one."""
    print(json.dumps(fields), flush=True)
