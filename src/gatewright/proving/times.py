"""The times of kernels next to those of the backend that "auto" would choose without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from gatewright.backends.choose import BACKENDS
from gatewright.backends.triton.record import Times
from gatewright.bench.cases import Case, Size, make_case
from gatewright.bench.contender import verify
from gatewright.bench.on_device import case_on, on_backend, to_the_end
from gatewright.bench.timing import in_turns, ratio
from gatewright.language.cell import Cell
from gatewright.proving.exactness import MAX_ERROR_RATIO, ROUNDING
from gatewright.proving.runs import fitting

#: (B, T, I, H): few rows and units, as many as are usual, many units, many rows. Few steps, since
#: each of them takes the same time.
SIZES: tuple[Size, ...] = (
    (16, 32, 64, 64),
    (64, 32, 256, 256),
    (64, 16, 1024, 1024),
    (1024, 16, 128, 128),
)
#: Seconds of each pair of runs; five pairs are timed in any case.
SECONDS = 0.15


def times_of(name: str, cell: Cell, dtype: str, device: torch.device) -> Iterator[Times]:
    """Time the kernels of a cell, size by size.

    Args:
        name: Its name among the cells that ship, which have layers of their own; else any other.

    Raises:
        BackendError: if they compute something else than the reference at one of the sizes.
    """
    for b, t, i, h in SIZES:
        sizes = fitting(cell.graph, i, h)
        size = b, t, sizes["input"], sizes["hidden"]
        columns = {}
        for training in (False, True):
            case = make_case(name, cell, size, training=training, backend="reference", dtype=dtype)
            rival, column = _timed(case_on(case, device))
            columns[training] = column
        yield Times(size, rival, columns[False], columns[True])


def compile_for(name: str, cell: Cell, dtype: str, device: torch.device) -> None:
    """Run the kernels of all sizes once: Triton keeps what it has compiled on the disk."""
    for b, _, i, h in SIZES:
        sizes = fitting(cell.graph, i, h)
        for training in (False, True):
            # The number of steps is no part of a kernel.
            size = b, 3, sizes["input"], sizes["hidden"]
            case = make_case(name, cell, size, training=training, backend="reference", dtype=dtype)
            on_backend(case_on(case, device), "triton").run()


def _timed(case: Case) -> tuple[str, tuple[float, float, float]]:
    """Verify the kernels on one case and time them: the rival, and how much longer it takes."""
    device, rival = case.gradient.device, _rival(case)
    tolerance = MAX_ERROR_RATIO * 10 * ROUNDING[case.gradient.dtype]
    reference, ours, theirs = (on_backend(case, name) for name in ("reference", "triton", rival))
    # With the factors of products as they are; by default cuDNN rounds them, and is timed so.
    rounds, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        for contender, backend in ((ours, "triton"), (theirs, rival)):
            verify(case, reference, contender, f"the backend {backend}", tolerance)
    finally:
        torch.backends.cudnn.allow_tf32 = rounds
    pairs = in_turns(to_the_end(ours.run, device), to_the_end(theirs.run, device), SECONDS)
    estimate = ratio(pairs)
    return rival, (estimate.value, estimate.low, estimate.high)


def _rival(case: Case) -> str:
    """The backend that "auto" chooses for a case without the kernels."""
    inputs, states = list(case.inputs.values()), list(case.states.values())
    hx = tuple(states) if len(states) > 1 else states[0]
    further: dict[str, Any] = dict(zip(list(case.inputs)[1:], inputs[1:], strict=True))
    (run,) = case.layer.runs(inputs[0], hx, **further)
    return next(
        name
        for name, backend in BACKENDS.items()
        if name != "triton" and backend.by_name(run) is None and backend.why_not(run) is None
    )
