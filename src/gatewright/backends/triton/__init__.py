"""Kernels for NVIDIA GPUs, emitted as Triton's language; see README.md.

Triton comes with torch's builds for CUDA. It is imported when a run first gets here.
"""

from __future__ import annotations

import os

import torch

from gatewright.backends.conditions import why_not_now, why_not_read
from gatewright.backends.run import Result, Run

NUMBERS = (torch.float32, torch.bfloat16, torch.float16)


def why_not(run: Run) -> str | None:
    """Give the reason why the kernels cannot run a run, or None."""
    like = next(iter(run.states.values()))
    if (reason := _why_no_device(like)) is not None:
        return reason
    if like.dtype not in NUMBERS and like.device.type == "cuda":
        known = "float32, bfloat16 and float16"
        return f"the kernels are for {known}, and the tensors are {like.dtype}"
    if torch.compiler.is_compiling():
        return "torch is tracing the layer, for which these kernels are no operator yet"
    if not sum(run.rows):
        return "there is nothing to run"
    reason = why_not_now(like.device.type) or why_not_read(run.tensors(), like.device)
    if reason is not None:
        return reason
    from gatewright.backends.triton.loop import unsupported_graph

    return unsupported_graph(run.graph, tuple(run.names), tuple(sorted(run.hold)))


def _why_no_device(like: torch.Tensor) -> str | None:
    """Give the reason why there is no device to run kernels on, or None."""
    if like.device.type != "cuda":
        if like.device.type != "cpu" or os.environ.get("TRITON_INTERPRET") != "1":
            return f"the kernels are for NVIDIA GPUs, and the tensors are on {like.device}"
    elif torch.version.hip is not None:
        return "the kernels are for NVIDIA GPUs, and this one is AMD's"
    elif torch.cuda.get_device_capability(like.device) < (8, 0):
        return "the kernels are for compute capability 8.0 (Ampere) and later"
    try:
        import triton  # noqa: F401
    except ImportError:
        return "Triton is not installed; it comes with torch's builds for CUDA"
    return None


def run(run: Run) -> Result:
    """Run a graph over a sequence."""
    from gatewright.backends.triton.autograd import run as run_kernels

    return run_kernels(run)
