"""The errors of a backend: all results and gradients of a run, next to the reference's in float64.

A result may be off by `MAX_ERROR_RATIO` times as much as that of the reference in the same
number type, and by the rounding of the type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewright.backends.choose import run_on
from gatewright.backends.run import Run
from gatewright.graph import Graph
from gatewright.proving.runs import checked_runs, leaves_of, on_device

CPU = torch.device("cpu")
#: The largest allowed error, as a multiple of the reference's in the same number type.
MAX_ERROR_RATIO = 4.0
#: Errors, relative by norm, that are always allowed: rounding of the number type.
ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 8e-3}


@dataclass(frozen=True, slots=True)
class RunComparison:
    """The largest error of a run.

    Attributes:
        run: The kind of the run, and its sizes.
        error: The error as a share of what is allowed: up to 1 is right.
        worst: The result or gradient that has it.
    """

    run: str
    error: float
    worst: str

    @property
    def is_right(self) -> bool:
        return self.error <= 1.0


def compare(
    graph: Graph, dtype: torch.dtype, device: torch.device, backend: str = "triton"
) -> Iterator[RunComparison]:
    """Compare a backend with the reference on all runs of a cell, one after another.

    Raises:
        BackendError: if the backend cannot run the cell.
        SizeError: if the cell has no sizes near those that are compared.
    """
    for case in checked_runs(graph, dtype):
        ours = results(backend, on_device(case.run, device, dtype, case.leaves))
        theirs = results("reference", on_device(case.run, CPU, dtype, case.leaves))
        truth = results("reference", on_device(case.run, CPU, torch.float64, case.leaves))
        yield RunComparison(case.name, *largest_error(ours, theirs, truth, dtype))


def results(backend: str, run: Run) -> dict[str, Tensor]:
    """Compute all values of a run and its gradients, in float64 on the CPU.

    Every value has a random upstream gradient.
    """
    leaves = leaves_of(run)
    with torch.set_grad_enabled(bool(leaves)):
        result = run_on(backend, run)
    values = {"output": result.output}
    values |= {f"state {name}": state for name, state in result.states.items()}
    values |= {f"value {name}": value for name, value in result.values.items()}
    draw = torch.Generator().manual_seed(1)
    upstream = {
        name: torch.randn(value.shape, generator=draw, dtype=torch.float64).to(value)
        for name, value in values.items()
        if value.is_floating_point()
    }
    reached = [name for name in upstream if values[name].requires_grad]
    if leaves:
        gradients = torch.autograd.grad(
            [values[name] for name in reached],
            list(leaves.values()),
            [upstream[name] for name in reached],
            allow_unused=True,
        )
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            values[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return {name: value.detach().to(CPU, torch.float64) for name, value in values.items()}


def largest_error(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> tuple[float, str]:
    """The largest error as a share of what is allowed, and the name of the value that has it.

    Args:
        ours: The values of the backend, in float64 on the CPU.
        theirs: Those of the reference in the number type.
        truth: Those of the reference in float64.
    """
    # By kind: a gradient that happens to be almost 0 is the rounding of a sum of larger numbers.
    norms: dict[str, float] = {}
    for name, expected in truth.items():
        kind = name.split()[0]
        norm = float(expected[expected.isfinite()].norm())
        norms[kind] = max(norms.get(kind, 1e-12), norm)
    largest, worst = 0.0, ""
    for name, expected in truth.items():
        finite, norm = expected.isfinite(), norms[name.split()[0]]
        # Numbers that overflow in the number type, in the reference too, have no error.
        held = finite & theirs[name].isfinite()
        error, allowed = (
            float((values[name] - expected)[held].norm()) / norm for values in (ours, theirs)
        )
        share = error / (MAX_ERROR_RATIO * allowed + ROUNDING[dtype])
        # Infinities and NaN have to be the same.
        if not ours[name][~finite].isclose(expected[~finite], equal_nan=True).all():
            share = float("inf")
        if not share <= largest:  # NaN counts as an error too
            largest, worst = share if share == share else float("inf"), name
    return largest, worst
