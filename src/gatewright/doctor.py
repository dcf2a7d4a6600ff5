"""A report on this installation: versions, processor, kernels, cache and a self-test."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from typing import Any

from gatewright.bench.machine import machine
from gatewright.processes import module_command, module_environment
from gatewright.self_test import LAYERS, Check

#: Time limit of the self-test in seconds; it takes a few.
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings of `diagnose`.

    Attributes:
        machine: Processor, cores, system and versions.
        kernels: The target that kernels are built for; with `reason` where they cannot be built.
        cache: The directory of built kernels, their number, and the reason if it is not used.
        gpus: The graphics processors that torch sees.
        checks: The results of the self-test.
    """

    machine: dict[str, Any]
    kernels: dict[str, Any]
    cache: dict[str, Any]
    gpus: list[str]
    checks: list[Check]

    @property
    def healthy(self) -> bool:
        """True if every check of the self-test passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps({**asdict(self), "healthy": self.healthy}, indent=1)


def diagnose() -> Diagnosis:
    """Examine this installation and run the self-test, which takes a few seconds.

    >>> diagnose().healthy                                              # doctest: +SKIP
    True
    """
    import torch

    gpus = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
    kernels, cache = _kernels()
    return Diagnosis(machine(), kernels, cache, gpus, run_checks())


def _kernels() -> tuple[dict[str, Any], dict[str, Any]]:
    """The target of the kernels, and their cache."""
    try:
        from gatewright.backends.llvm import cache
        from gatewright.backends.llvm.target import target
        from gatewright.backends.llvm.threads import openmp
    except (ImportError, OSError) as error:  # llvmlite is missing, or its library does not load
        return {"reason": f"{type(error).__name__}: {error}"}, {}
    goal = target()
    return {
        "triple": goal.triple,
        "cpu": goal.cpu,
        "vector_bits": goal.bits,
        "registers": goal.registers,
        "fused": goal.fused,
        "threads_shared": openmp(),
    }, cache.state()


def run_checks() -> list[Check]:
    """Run the self-test in a process of its own, with the checked build of the kernels."""
    try:
        process = subprocess.run(
            module_command("gatewright.self_test"),
            env=module_environment(GATEWRIGHT_CHECKED="1"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        reason = f"it did not end within {PATIENCE:.0f} seconds"
        return [Check("self-test", False, reason=reason)]
    checks = [Check(**json.loads(line)) for line in process.stdout.splitlines()]
    if process.returncode or len(checks) < len(LAYERS):
        checks.append(Check("self-test", False, reason=_ending(process)))
    return checks


def _ending(process: subprocess.CompletedProcess[str]) -> str:
    """The way in which the process of the self-test ended."""
    code = process.returncode
    ending = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    lines = process.stderr.strip().splitlines()
    return f"its process {ending}" + (f": {lines[-1]}" if lines else "")
