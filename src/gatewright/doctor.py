"""A report on this installation: versions, extras, processor, GPUs, kernels, cache, self-test."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from gatewright.bench.machine import machine
from gatewright.processes import ending, module_command, module_environment
from gatewright.self_test import LAYERS, Check

#: Time limit of the self-test in seconds. It takes 3 seconds of an idle processor, the start of
#: torch included; a machine that is busy or runs an emulator may take minutes.
PATIENCE = 300.0
#: Extras for the work on Gatewright itself, which a report leaves out.
OWN_EXTRAS = {"coverage", "dev", "docs", "test"}
#: The environment variables that change what is built. A report is public: no token is among them.
SETTINGS = ("GATEWRIGHT_CACHE", "GATEWRIGHT_CHECKED", "GATEWRIGHT_CPU", "GATEWRIGHT_OPTIMISE")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings of `diagnose`.

    Attributes:
        machine: Processor, cores, system and versions.
        kernels: The target that kernels are built for; with `reason` where they cannot be built.
        cache: The directory of built kernels, their number, and the reason if it is not used.
        gpus: The graphics processors that torch sees.
        proofs: The record of `gatewright doctor --gpu`; see `_proofs`.
        checks: The results of the self-test.
        packages: The versions of the packages that every installation has; None where one is
            missing.
        extras: By the name of an extra: the versions of its packages; None where one is missing.
        cuda: The version of CUDA that torch was built for, or None.
        settings: The environment variables of `SETTINGS` that are set.
    """

    machine: dict[str, Any]
    kernels: dict[str, Any]
    cache: dict[str, Any]
    gpus: list[str]
    proofs: dict[str, Any]
    checks: list[Check]
    packages: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    cuda: str | None
    settings: dict[str, str]

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
    # The self-test is a process of its own, which imports torch while this one does.
    with ThreadPoolExecutor(1) as thread:
        checks = thread.submit(run_checks)
        import torch

        gpus = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
        kernels, cache = _kernels()
        packages = requirements(requires("gatewright") or [])
    return Diagnosis(
        machine=machine(),
        kernels=kernels,
        cache=cache,
        gpus=gpus,
        proofs=_proofs(),
        checks=checks.result(),
        packages=packages.pop(""),
        extras={name: packages[name] for name in sorted(packages.keys() - OWN_EXTRAS)},
        cuda=torch.version.cuda,
        settings={name: value for name, value in os.environ.items() if name in SETTINGS},
    )


def requirements(lines: list[str]) -> dict[str, dict[str, str | None]]:
    """The installed versions of required packages, by extra; `""` has those of all users.

    >>> requirements(["rich>=13", "nothing-like-it>=1; extra == 'tune'"])  # doctest: +ELLIPSIS
    {'': {'rich': '...'}, 'tune': {'nothing-like-it': None}}

    Args:
        lines: Requirements in the form of a package's metadata.
    """
    versions: dict[str, dict[str, str | None]] = {"": {}}
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        versions.setdefault(extra[1] if extra else "", {})[name] = _installed(name)
    return versions


def _installed(name: str) -> str | None:
    """The version of a package, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


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


def _proofs() -> dict[str, Any]:
    """The kernels for GPUs that are proven, by GPU, and the records that are ignored.

    Those of another card, driver or version are "outdated": they are proven again.
    """
    import torch

    from gatewright.backends.left_out import is_left_out

    if is_left_out("triton"):
        return {"proven": {}, "failed": [], "outdated": 0, "ignored": []}
    from gatewright.backends.triton import record

    here = {
        record.device_of(torch.device("cuda", number))
        for number in range(torch.cuda.device_count())
        if torch.version.hip is None
    }
    proven: dict[str, int] = {device.gpu: 0 for device in here}
    failed: list[str] = []
    outdated = 0
    whole, ignored = record.records()
    for proof, device in whole:
        if device not in here:
            outdated += 1
        elif proof.failure is not None:
            failed.append(f"{proof.cell} in {proof.dtype}: {proof.failure}")
        elif proof.is_complete:
            proven[device.gpu] += 1
    return {"proven": proven, "failed": failed, "outdated": outdated, "ignored": ignored}


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
        way = ending(process.returncode, process.stderr)
        checks.append(Check("self-test", False, reason=f"its process {way}"))
    return checks
