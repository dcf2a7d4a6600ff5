"""The tiling of a run's kernels, for `layer.explain`."""

from __future__ import annotations

from gatewright.backends.llvm.fusing import kernels_of
from gatewright.backends.llvm.target import target
from gatewright.backends.run import Run
from gatewright.schedule.tiling import Tiling

PLACES = {"before": "before the loop", "loop": "in the loop"}


def describe(run: Run) -> list[str]:
    """One line for each nest of products that a forward run has."""
    built = kernels_of(run, next(iter(run.states.values())).dtype)
    factors = " of bfloat16 numbers" if built.numbers.pairs else ""
    return [
        f"products{factors} {PLACES[name]}: {Tiling.of(nest, target().registers)} of "
        f"{built.numbers.lanes} units"
        for name, part in built.parts.items()
        for nest in part.loop.nests
        if nest.sums
    ]
