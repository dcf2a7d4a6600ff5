"""The choice of a backend: the one that was asked for by name, or the fastest that can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gatewright.backends import reference, torch_functions
from gatewright.backends.int8 import check_columns
from gatewright.backends.left_out import is_left_out
from gatewright.backends.recognise import FUNCTIONS, recognise
from gatewright.backends.reference_stream import ReferenceStream
from gatewright.backends.run import PreparedRun, Result, Run
from gatewright.backends.stream import Products, Stream
from gatewright.backends.weights import Share
from gatewright.errors import ArgumentError, BackendError
from gatewright.graph import Graph
from gatewright.names import did_you_mean

# Folders of kernels may be deleted. The other module has the same functions, as far as they are
# called for a backend that runs nothing; a type checker knows no such exchange.
if not is_left_out("llvm"):
    from gatewright.backends import llvm
else:
    from gatewright.backends import left_out as llvm  # type: ignore[no-redef]
if not is_left_out("triton"):
    from gatewright.backends import triton
else:
    from gatewright.backends import left_out as triton  # type: ignore[no-redef]

#: The last layer's output, and the last states of each layer and direction.
StackResult = tuple[Tensor, list[dict[str, Tensor]]]


@dataclass(frozen=True)
class Backend:
    """The functions of a backend.

    Attributes:
        run: Run a `Run`.
        why_not: Give the reason why the backend cannot run it, or None.
        by_name: Give the reason why it runs a `Run` only where it is asked for by name, or None
            if "auto" may choose it.
        describe: Give lines for `layer.explain` about the way in which it runs a `Run`.
        run_stack: Run all layers and directions in one call, if it can; see
            `torch_functions.run_stack`.
    """

    run: Callable[[Run], Result]
    why_not: Callable[[Run], str | None]
    by_name: Callable[[Run], str | None] = lambda run: None
    describe: Callable[[Run], list[str]] = lambda run: []
    run_stack: Callable[[Sequence[Run], float], StackResult] | None = None


#: The fastest first; the reference runs everything.
BACKENDS: dict[str, Backend] = {
    "llvm": Backend(llvm.run, llvm.why_not, describe=llvm.describe),
    "triton": Backend(triton.run, triton.why_not, triton.why_by_name),
    "torch": Backend(
        torch_functions.run,
        torch_functions.why_not,
        torch_functions.why_by_name,
        torch_functions.describe,
        torch_functions.run_stack,
    ),
    "reference": Backend(reference.run, reference.why_not, describe=reference.describe),
    "int8": Backend(
        partial(reference.run, int8=True),
        reference.why_not_int8,
        lambda run: 'its products are rounded to int8; backend="int8" asks for it',
    ),
}


def check_backend(name: str) -> str:
    """Return the name of a backend, or "auto".

    Raises:
        ArgumentError: if there is no such backend.
    """
    if not isinstance(name, str) or (name != "auto" and name not in BACKENDS):
        known = ", ".join(["auto", *BACKENDS])
        nearest = did_you_mean(str(name), BACKENDS)
        raise ArgumentError(f"backend={name!r} is not known; {nearest}give one of {known}")
    return name


def pick(name: str, run: Run, *, several: bool = False) -> str:
    """Return the backend of a name, or for "auto" the fastest that can run a run.

    Args:
        several: Whether it is one of several layers or directions. "auto" takes a backend for
            them that runs all in one call, if it can; the others are timed on one run.

    Raises:
        ArgumentError: if there is no such backend.
        BackendError: if the backend was asked for by name and cannot run it.
    """
    if check_backend(name) == "auto":  # `layer.backend` can be set to anything
        able = (
            key
            for key, backend in BACKENDS.items()
            if backend.by_name(run) is None and backend.why_not(run) is None
        )
        fastest = next(able)
        if several and fastest == "triton":
            return next((key for key in able if BACKENDS[key].run_stack is not None), fastest)
        return fastest
    reason = BACKENDS[name].why_not(run)
    if reason is not None:
        raise BackendError(f'backend="{name}" cannot run this: {reason}; backend="auto" can')
    return name


def is_fast_on(graph: Graph, gpu: torch.device) -> bool:
    """Tell if "auto" trains a cell on a GPU by more than one operation of torch after another."""
    return recognise(graph, FUNCTIONS) is not None or triton.is_fast(graph, gpu)


def run_on(name: str, run: Run) -> Result:
    """Run on the backend of a name, or on the fastest that can."""
    return BACKENDS[pick(name, run)].run(run)


def can_stack(name: str, device: torch.device) -> bool:
    """Tell if a backend that `pick` may choose runs all layers and directions in one call."""
    return name == "torch" or (name == "auto" and device.type != "cpu")


def run_stack_on(name: str, runs: Sequence[Run], dropout: float) -> StackResult | None:
    """Run all layers and directions in one call; None where the backend has no such call.

    Args:
        runs: As `torch_functions.run_stack` reads them.
        dropout: Probability at which outputs between layers are dropped.
    """
    chosen = {pick(name, run, several=True) for run in runs}
    together = BACKENDS[chosen.pop()].run_stack if len(chosen) == 1 else None
    return together(runs, dropout) if together is not None else None


def prepare_call(
    run: Run,
    shares: Mapping[str, Share],
    weights: Mapping[str, Tensor],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> PreparedRun | None:
    """Prepare calls that repeat a run on kernels for the CPU; see `llvm/fast_call.py`.

    Args:
        run: A run that `pick` gives to the backend "llvm".
        shares: The part that each of the graph's weights is of the layer's tensors, by path.
        weights: Those tensors, by name.
        shapes: The shapes of the output and of the last states, without their last axis.

    Returns:
        The prepared calls, or None where more than the numbers in tensors may change.
    """
    return llvm.prepare_call(run, shares, weights, shapes)


def open_stream(
    backend: str,
    graph: Graph,
    sizes: Sequence[Mapping[str, int]],
    rows: int,
    dtype: torch.dtype,
    *,
    products: Products = "plain",
) -> tuple[Stream, str | None]:
    """Open a stream on the backend of a name; also return the reason why it is not a faster one.

    Args:
        sizes: Numbers for "input" and "hidden" at each layer.
        products: "bfloat16" or "int8" where the factors of products are rounded; see
            `backends/int8.py`. The backend "int8" is that of whole sequences: here it is "auto".

    Raises:
        ArgumentError: if there is no such backend.
        BackendError: if the backend was asked for by name and cannot run the graph.
        SizeError: if the sums of a product in int8 could exceed 32 bits.
    """
    check_backend(backend)
    if products == "int8":
        for numbers in sizes:
            check_columns(graph, numbers)
    if backend == "reference":
        return ReferenceStream(graph, sizes, rows, dtype, products), None
    reason = llvm.why_no_stream(graph)
    if reason is None:
        return llvm.open_stream(graph, sizes, rows, dtype, products), None
    if backend == "llvm":
        raise BackendError(f'backend="llvm" cannot stream this: {reason}; backend="auto" can')
    return ReferenceStream(graph, sizes, rows, dtype, products), reason
