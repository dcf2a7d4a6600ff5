"""`gatewright doctor`: a report on this installation, for a bug report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gatewright.cli import options
from gatewright.cli.app import app

if TYPE_CHECKING:
    from rich.table import Table

    from gatewright.doctor import Diagnosis


@app.command()
def doctor(
    as_json: options.AsJson = False,
) -> None:
    """Show versions, extras, processor, GPUs, kernels and cache, and run a short self-test.

    The exit code is 1 where the self-test fails.
    """
    from gatewright.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        print(diagnosis.to_json())
    else:
        from rich.console import Console

        Console().print(_facts(diagnosis), _checks(diagnosis))
        print(
            "everything works" if diagnosis.healthy else "the self-test failed: please report this"
        )
    sys.exit(0 if diagnosis.healthy else 1)


def _facts(diagnosis: Diagnosis) -> Table:
    """A line each for versions, extras, processor, GPUs, kernels, cache and settings."""
    from rich.table import Table

    from gatewright.escaping import terminal_text

    machine, kernels, cache = diagnosis.machine, diagnosis.kernels, diagnosis.cache
    versions = [f"{name} {version or 'MISSING'}" for name, version in diagnosis.packages.items()]
    gpus = ", ".join(diagnosis.gpus) or "none"
    if not diagnosis.gpus:
        build = f"for CUDA {diagnosis.cuda}" if diagnosis.cuda else "without CUDA"
        gpus = f"none that torch sees; it was built {build}"
    target = f"cannot be built: {kernels.get('reason')}"
    if "reason" not in kernels:
        target = "{triple}, {cpu}, vectors of {vector_bits} bits".format_map(kernels)
    lines = {
        "versions": f"gatewright {machine['versions']['gatewright']}, python {machine['python']}, "
        f"{', '.join(versions)}",
        "extras": _extras(diagnosis.extras),
        "processor": f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        "GPUs": gpus,
        "kernels": target,
    }
    if cache:
        size = f"{cache['entries']} entries, {cache['bytes'] / 1e6:.1f} MB"
        reason = f"; not used: {cache['reason']}" if cache["reason"] else ""
        lines["cache"] = f"{cache['directory']}: {size}{reason}"
    if diagnosis.settings:
        pairs = (f"{name}={value}" for name, value in diagnosis.settings.items())
        lines["settings"] = ", ".join(pairs)
    table = Table(show_header=False, box=None)
    for name, line in lines.items():
        table.add_row(name, terminal_text(line))
    return table


def _extras(extras: dict[str, dict[str, str | None]]) -> str:
    """The extras that are installed, and what the others lack."""
    complete, lacking = [], []
    for extra, packages in extras.items():
        missing = [name for name, version in packages.items() if version is None]
        if missing:
            lacking.append(f"{extra} ({', '.join(missing)})")
        else:
            versions = (f"{name} {version}" for name, version in packages.items())
            complete.append(f"{extra} ({', '.join(versions)})")
    installed = ", ".join(complete) or "none"
    return f"{installed}; not installed: {', '.join(lacking)}" if lacking else installed


def _checks(diagnosis: Diagnosis) -> Table:
    """The self-test, with a line for each check."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from gatewright.escaping import terminal_text

    table = Table("self-test", "", "error", "seconds", box=SIMPLE_HEAD)
    for check in diagnosis.checks:
        error = "–" if check.error is None else f"{check.error:.1e}"
        outcome = "passed" if check.passed else f"FAILED: {check.reason}"
        table.add_row(check.name, terminal_text(outcome), error, f"{check.seconds:.1f}")
    return table
