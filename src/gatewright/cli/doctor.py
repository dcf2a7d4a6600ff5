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
    """Show versions, processor, kernels and cache, and run a short self-test.

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
    """A line each for versions, processor, kernels and cache."""
    from rich.table import Table

    from gatewright.escaping import terminal_text

    machine, kernels, cache = diagnosis.machine, diagnosis.kernels, diagnosis.cache
    versions = [f"{name} {version}" for name, version in machine["versions"].items() if version]
    target = f"cannot be built: {kernels.get('reason')}"
    if "reason" not in kernels:
        target = "{triple}, {cpu}, vectors of {vector_bits} bits".format_map(kernels)
    lines = {
        "versions": f"python {machine['python']}, {', '.join(versions)}",
        "processor": f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        "graphics": ", ".join(diagnosis.gpus) or "none",
        "kernels": target,
    }
    if cache:
        size = f"{cache['entries']} entries, {cache['bytes'] / 1e6:.1f} MB"
        reason = f"; not used: {cache['reason']}" if cache["reason"] else ""
        lines["cache"] = f"{cache['directory']}: {size}{reason}"
    table = Table(show_header=False, box=None)
    for name, line in lines.items():
        table.add_row(name, terminal_text(line))
    return table


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
