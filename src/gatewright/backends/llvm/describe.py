"""The tiling of a run's kernels, for `layer.explain`."""

from __future__ import annotations

from gatewright.backends.llvm.precision import numbers_of
from gatewright.backends.llvm.target import target
from gatewright.backends.run import Run
from gatewright.schedule.loop import ScheduleOptions, schedule
from gatewright.schedule.tiling import Tiling


def describe(run: Run) -> list[str]:
    """One line for each nest of products that a forward run has."""
    work = schedule(run.graph, ScheduleOptions(tuple(run.names), tuple(sorted(run.hold))))
    parts = {"before the loop": work.before, "in the loop": work.loop}
    numbers, registers = numbers_of(next(iter(run.states.values())).dtype), target().registers
    factors = " of bfloat16 numbers" if numbers.pairs else ""
    return [
        f"products{factors} {name}: {Tiling.of(nest, registers)} of {numbers.lanes} units"
        for name, part in parts.items()
        if part is not None
        for nest in part.loop.nests
        if nest.sums
    ]
