"""The kernels of a run: in two parts, or in one loop (`../../schedule/fused.py`)."""

from __future__ import annotations

import torch

from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.llvm.precision import numbers_of
from gatewright.backends.llvm.threads import threads
from gatewright.backends.run import Run
from gatewright.schedule.loop import ScheduleOptions
from gatewright.schedule.tiling import FUSED_BYTES, FUSED_ROWS


def kernels_of(run: Run, dtype: torch.dtype) -> Kernels:
    """Return the kernels that run a `Run` with the products of a dtype."""
    options = ScheduleOptions.of(run.names, run.hold, run.needs_input_gradients())
    numbers = numbers_of(dtype)
    built = kernels(run.graph, options, numbers)
    if torch.is_grad_enabled() or sum(run.rows) < FUSED_ROWS * threads() * len(run.rows):
        return built
    plans = [built.plans[f"{part}_inference"] for part in built.parts]
    matrices = sum(plan.multiplications(run.sizes) for plan in plans)
    if matrices * numbers.bytes // numbers.columns > FUSED_BYTES:
        return built
    return kernels(run.graph, options._replace(fused=True), numbers)
