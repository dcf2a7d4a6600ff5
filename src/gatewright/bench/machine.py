"""What figures were taken on, and a process of its own for what must have one."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gatewright.errors import BackendError
from gatewright.processes import module_command, module_environment

PACKAGES = ("gatewright", "torch", "llvmlite", "numpy", "onnxruntime", "jax", "torchrecurrent")


def machine() -> dict[str, Any]:
    """Processor, cores, load and versions; an absent package has the version None."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((one.split(":")[1].strip() for one in lines if "model name" in one), model)
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
    found: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        key = siblings.read_text().strip() if siblings.exists() else str(cpu)
        found.setdefault(key, cpu)
    return list(found.values())


def can_stay() -> bool:
    """Whether the system lets a process be held to some of its cores."""
    return hasattr(os, "sched_setaffinity")


def stay_on(threads: int) -> None:
    """Use so many cores and no more. Before JAX starts, since it asks only once."""
    import torch

    if can_stay() and threads <= len(cores()):
        os.sched_setaffinity(0, cores()[:threads])
    torch.set_num_threads(threads)


def in_process(
    module: str, task: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """What a module of ours prints, a JSON object a line, in a new process that reads the task.

    Raises:
        BackendError: if the process fails, with the end of what it said.
    """
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            module_command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=module_environment(**(environment or {})),
        ) as process,
    ):
        assert process.stdin and process.stdout
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and says why below
                process.stdin.write(json.dumps(task))
                process.stdin.close()
            for line in process.stdout:
                yield json.loads(line)
        except BaseException:
            process.kill()
            raise
        if process.wait():
            complaints.seek(0)
            said = complaints.read().strip()[-2000:]
            raise BackendError(f"{module} ended with {process.returncode}: {said}")


def task_of_process() -> dict[str, Any]:
    """The task that `in_process` gave to this process."""
    return dict(json.load(sys.stdin))


def answer(**fields: Any) -> None:
    """Hand one line to the process that started this one."""
    print(json.dumps(fields), flush=True)
