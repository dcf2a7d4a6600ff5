"""Kernels for the CPU, emitted as LLVM's language through llvmlite; see README.md.

The other modules of this folder are imported when a run first gets here, and llvmlite with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatewright.backends import forked  # noqa: F401  # its hook has to be set before a fork
from gatewright.backends.conditions import is_exporting, why_not_read, why_watched
from gatewright.backends.run import PreparedRun, Result, Run
from gatewright.backends.stream import Products, Stream
from gatewright.backends.weights import Share
from gatewright.graph import Graph
from gatewright.graph.lowering import of_text

NUMBERS = (torch.float32, torch.float64, torch.bfloat16)


def why_not(run: Run) -> str | None:
    """Give the reason why the kernels cannot run a run, or None."""
    like = next(iter(run.states.values()))
    if like.device.type != "cpu":
        return f"the kernels are for the CPU, and the tensors are on {like.device}"
    if like.dtype not in NUMBERS:
        return f"the kernels are for float32, float64 and bfloat16, and tensors are {like.dtype}"
    if torch.compiler.is_compiling():
        return _why_not_traced(run)
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return "autocast is on, in another type than bfloat16"
    if (reason := why_watched()) is not None:
        return reason
    if not sum(run.rows):
        return "there is nothing to run"
    if (reason := why_not_read(run.tensors())) is not None:
        return reason
    from gatewright.backends.llvm.library import unsupported_graph

    return unsupported_graph(run.graph, tuple(run.names), tuple(sorted(run.hold)))


def _why_not_traced(run: Run) -> str | None:
    """Give the reason why the kernels cannot be an operator in a traced program, or None."""
    if torch.is_autocast_enabled("cpu") or next(iter(run.states.values())).dtype == torch.bfloat16:
        return "torch is tracing the layer, in bfloat16"
    if is_exporting():
        return "torch is exporting the layer, for programs that do not know the kernels"
    if not sum(run.rows):
        return "there is nothing to run"
    if any(running != len(next(iter(run.states.values()))) for running in run.rows):
        return "torch is tracing the layer, and its sequences are of different lengths"
    return _unsupported_text(run.graph.text, tuple(run.names), tuple(sorted(run.hold)))


def _unsupported_text(text: str, names: tuple[str, ...], held: tuple[str, ...]) -> str | None:
    """Give the reason why kernels cannot run a stored cell, or None.

    torch's compiler calls this function while it traces, instead of tracing it.
    """
    from gatewright.backends.llvm import operators  # registered before torch traces a call
    from gatewright.backends.llvm.library import unsupported_graph

    assert operators.loops is not None
    if (reason := why_watched()) is not None:
        return reason
    return unsupported_graph(of_text(text), names, held)


# The effect of `torch.compiler.assume_constant_result`, which would import the whole compiler.
_unsupported_text._dynamo_marked_constant = True  # type: ignore[attr-defined]


def run(run: Run) -> Result:
    """Run a graph over a sequence."""
    from gatewright.backends.llvm.autograd import run as run_kernels

    return run_kernels(run)


def describe(run: Run) -> list[str]:
    """The tiling of the kernels of a run, line by line."""
    from gatewright.backends.llvm.describe import describe as describe_tiling

    return describe_tiling(run)


def prepare_call(
    run: Run,
    shares: Mapping[str, Share],
    weights: Mapping[str, Tensor],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> PreparedRun | None:
    """Prepare calls that repeat a run; see `choose.prepare_call`."""
    from gatewright.backends.llvm.fast_call import prepare

    return prepare(run, shares, weights, shapes)


def why_no_stream(graph: Graph) -> str | None:
    """Give the reason why the kernels cannot stream a graph, or None."""
    from gatewright.backends.llvm.stepping import unsupported_step

    return unsupported_step(graph)


def open_stream(
    graph: Graph,
    sizes: Sequence[Mapping[str, int]],
    rows: int,
    dtype: torch.dtype,
    products: Products = "plain",
) -> Stream:
    """Open a stream on kernels; see `choose.open_stream`."""
    from gatewright.backends.llvm.stepping import KernelStream

    return KernelStream(graph, sizes, rows, dtype, products)
