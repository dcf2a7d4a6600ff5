"""Kernels for the CPU, emitted as LLVM's language through llvmlite; see README.md.

llvmlite is imported when a task first gets here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from gatewright.backends.reference import Result, Run
from gatewright.graph import Graph

if TYPE_CHECKING:
    from gatewright.backends.streaming import Stream

NUMBERS = (torch.float32, torch.float64)


def why_not(task: Run) -> str | None:
    """Why the kernels cannot run a task, or None."""
    like = next(iter(task.states.values()))
    if like.device.type != "cpu":
        return f"the kernels are for the CPU, and the tensors are on {like.device}"
    if like.dtype not in NUMBERS:
        return f"the kernels are for float32 and float64, and the tensors are {like.dtype}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if torch.compiler.is_compiling():
        return "torch is tracing the layer"
    if torch._C._functorch.maybe_current_level() is not None:
        return "a transform of torch.func is at work"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation is at work"
    if not sum(task.rows):
        return "there is nothing to run"
    from gatewright.backends.llvm.library import cannot

    return cannot(task.graph, tuple(task.names), tuple(sorted(task.hold)))


def run(task: Run) -> Result:
    """Run a graph over a sequence."""
    from gatewright.backends.llvm.autograd import run as run_kernels

    return run_kernels(task)


def why_no_stream(graph: Graph) -> str | None:
    """Why the kernels cannot stream a graph, or None."""
    from gatewright.backends.llvm.stepping import cannot

    return cannot(graph)


def open_stream(
    graph: Graph, sizes: Sequence[Mapping[str, int]], rows: int, dtype: torch.dtype
) -> Stream:
    """A stream on kernels; see `backends/streaming.py`."""
    from gatewright.backends.llvm.stepping import KernelStream

    return KernelStream(graph, sizes, rows, dtype)
