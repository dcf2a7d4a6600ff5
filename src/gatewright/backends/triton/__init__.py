"""Kernels for NVIDIA GPUs, emitted as Triton's language; see README.md.

Triton comes with torch's builds for CUDA. It is imported when a run first gets here.
"""

from __future__ import annotations

import os

import torch

from gatewright.backends.conditions import why_not_now, why_not_read
from gatewright.backends.run import Result, Run
from gatewright.graph import Graph

NUMBERS = (torch.float32, torch.bfloat16, torch.float16)


def why_not(run: Run) -> str | None:
    """Give the reason why the kernels cannot run a run, or None."""
    like = next(iter(run.states.values()))
    if (reason := why_no_device(like.device)) is not None:
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


def why_no_device(device: torch.device) -> str | None:
    """Give the reason why kernels cannot run on a device, or None."""
    if device.type != "cuda":
        if device.type != "cpu" or os.environ.get("TRITON_INTERPRET") != "1":
            return f"the kernels are for NVIDIA GPUs, and the tensors are on {device}"
    elif torch.version.hip is not None:
        return "the kernels are for NVIDIA GPUs, and this one is AMD's"
    elif torch.cuda.get_device_capability(device) < (8, 0):
        return "the kernels are for compute capability 8.0 (Ampere) and later"
    try:
        import triton  # noqa: F401
    except ImportError:
        return "Triton is not installed; it comes with torch's builds for CUDA"
    return None


def why_by_name(run: Run) -> str | None:
    """Give the reason why "auto" does not choose the kernels for a run, or None.

    It chooses them where they are proven on this GPU, and faster there.
    """
    device = next(iter(run.states.values())).device
    if not _on_gpu(device):
        return 'the kernels run there only where backend="triton" asks for them'
    if torch.compiler.is_compiling():
        return "torch is compiling the layer"
    from gatewright.backends.triton.choice import why_not_chosen

    return why_not_chosen(run, device)


def _on_gpu(device: torch.device) -> bool:
    """Tell if tensors are really on a GPU: torch can record what tensors without numbers do."""
    return device.type == "cuda" and torch.cuda.is_initialized()


def is_fast(graph: Graph, device: torch.device) -> bool:
    """Tell if the kernels of a cell are proven on a device, and train faster at all timed sizes."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    from gatewright.backends.triton import choice

    return choice.is_fast(graph, device)


def run(run: Run) -> Result:
    """Run a graph over a sequence."""
    from gatewright.backends.triton.autograd import run as run_kernels

    return run_kernels(run)
