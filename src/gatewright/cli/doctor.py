"""`gatewright doctor`: a report on this installation, for a bug report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.errors import ArgumentError
from gatewright.names import comma_separated

if TYPE_CHECKING:
    from rich.table import Table

    from gatewright.doctor import Diagnosis
    from gatewright.proving import Proofs

#: Minutes for the proof of all cells.
MINUTES = 8.0


@command
def doctor(
    gpu: Annotated[
        bool,
        typer.Option(
            "--gpu",
            help="Prove the kernels for NVIDIA GPUs on the one of this machine: layers run on them "
            "where they are right and faster.",
        ),
    ] = False,
    cells: Annotated[str | None, options.cells_option("all that ship")] = None,
    device: options.Device = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Time for the proof; the next one goes on.", show_default=f"{MINUTES:g}"
        ),
    ] = None,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
) -> None:
    """Show versions, extras, processor, GPUs, kernels and cache, and run a short self-test.

    The exit code is 1 where the self-test or the proof of a kernel fails.
    """
    further = {"--cells": cells, "--device": device, "--minutes": minutes}
    if gpu:
        _prove(cells, device, minutes or MINUTES, progress and not as_json, as_json)
        return
    for option, value in further.items():
        if value is not None:
            raise ArgumentError(f"{option} goes with --gpu; give both")
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


def _prove(
    cells: str | None, device: str | None, minutes: float, progress: bool, as_json: bool
) -> None:
    """Prove kernels on a GPU, and print the results."""
    from gatewright.bench.run import progress_bar
    from gatewright.proving import prove

    names = None if cells is None else comma_separated(cells)
    with progress_bar(progress) as report:
        proofs = prove(names, device=device or "auto", minutes=minutes, report=report)
    if as_json:
        print(proofs.to_json())
    else:
        from rich.console import Console

        Console().print(_proven(proofs))
        if not proofs.is_whole:
            print("the time was over: run the same command again to go on")
        if not proofs.is_right:
            print("kernels that failed are not used: please report this")
        print("Python processes that start from now on use what is proven and faster")
    sys.exit(0 if proofs.is_right else 1)


def _proven(proofs: Proofs) -> Table:
    """The proofs, with a line for each cell and number type."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from gatewright.escaping import terminal_text

    title = f"{proofs.device.gpu}: times as long as our kernels, at B, T, I, H"
    table = Table(title=terminal_text(title), title_justify="left", box=SIMPLE_HEAD)
    for column in ("cell", "type", "", "error", "next to", "training", "forward"):
        table.add_column(column)
    for outcome in proofs.outcomes:
        proof, times = outcome.proof, () if outcome.proof is None else outcome.proof.times
        table.add_row(
            terminal_text(outcome.name),
            outcome.dtype,
            terminal_text(outcome.text),
            f"{100 * proof.error:.0f} %" if proof is not None and proof.checks else "–",
            times[0].rival if times else "–",
            ", ".join(f"{each.training[0]:.1f}" for each in times),
            ", ".join(f"{each.inference[0]:.1f}" for each in times),
        )
    sizes = dict.fromkeys(each.size for o in proofs.outcomes if o.proof for each in o.proof.times)
    if sizes:
        table.caption = "; ".join(", ".join(map(str, size)) for size in sizes)
    return table


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
        **_gpu_kernels(diagnosis),
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


def _gpu_kernels(diagnosis: Diagnosis) -> dict[str, str]:
    """A line about the kernels that are proven on the GPUs, where there is anything to report."""
    proofs = diagnosis.proofs
    parts = [f"{count} proven on {gpu}" for gpu, count in proofs["proven"].items()]
    parts += [f"FAILED: {failure}" for failure in proofs["failed"]]
    if proofs["outdated"]:
        parts.append(f"{proofs['outdated']} proven on another GPU or version, which do not count")
    parts += [f"ignored: {reason}" for reason in proofs["ignored"]]
    if not parts:
        return {}
    return {"GPU kernels": "; ".join([*parts, "gatewright doctor --gpu proves them"])}


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
