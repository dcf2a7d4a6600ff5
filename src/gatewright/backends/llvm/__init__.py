"""Kernels for the CPU, emitted as LLVM's language through llvmlite; see README.md.

llvmlite is imported when a task first gets here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gatewright.backends import forked  # noqa: F401  # its hook has to be set before a fork
from gatewright.backends.reference import Result, Run
from gatewright.graph import Graph

if TYPE_CHECKING:
    from gatewright.backends.llvm.fast_call import FastCall
    from gatewright.backends.stream import Stream
    from gatewright.backends.weights import Share

NUMBERS = (torch.float32, torch.float64)
CPU = torch.device("cpu")


def why_not(task: Run) -> str | None:
    """Why the kernels cannot run a task, or None."""
    like = next(iter(task.states.values()))
    if like.device.type != "cpu":
        return f"the kernels are for the CPU, and the tensors are on {like.device}"
    if like.dtype not in NUMBERS:
        return f"the kernels are for float32 and float64, and the tensors are {like.dtype}"
    if torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu"):
        return _why_not_traced(task)
    if (reason := why_not_now()) is not None:
        return reason
    if not sum(task.rows):
        return "there is nothing to run"
    groups = task.weights, task.inputs, task.states, task.fresh, task.hold
    given = [*task.noises, *[one for group in groups for one in group.values()]]
    if (reason := why_not_read(given)) is not None:
        return reason
    from gatewright.backends.llvm.library import cannot

    return cannot(task.graph, tuple(task.names), tuple(sorted(task.hold)))


def why_not_now(device: str = "cpu") -> str | None:
    """Why kernels for a kind of device can run nothing at the moment, or None."""
    if torch.is_autocast_enabled(device):
        return "autocast is on"
    return why_watched()


def why_watched() -> str | None:
    """Why all is to be done by operations that torch sees at the moment, or None."""
    if torch._C._get_tracing_state() is not None or torch._C._len_torch_dispatch_stack():
        return "torch is recording the operations of this run, and would not see what kernels do"
    if torch._C._functorch.maybe_current_level() is not None:
        return "a transform of torch.func is at work"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation is at work"
    return None


def why_not_read(given: Sequence[Tensor], device: torch.device = CPU) -> str | None:
    """Why kernels cannot read the numbers of all tensors where they lie in memory, or None."""
    for kind in {type(one) for one in given}:
        if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return f"a tensor is a {kind.__name__}, which has its numbers elsewhere"
    if not all([one.device == device for one in given]):
        return f"not all tensors are on {device}"
    if not all([torch._C._has_storage(one) and one.data_ptr() for one in given]):
        return "not all tensors have their numbers in memory"
    dtypes = {one.dtype for one in given} - {torch.bool}
    if len(dtypes) > 1:
        return f"tensors are {' and '.join(sorted(map(str, dtypes)))}"
    return None


def _why_not_traced(task: Run) -> str | None:
    """Why the kernels cannot be an operator in a program that torch traces, or None."""
    if torch.compiler.is_exporting():
        return "torch is exporting the layer, for programs that do not know the kernels"
    if not sum(task.rows):
        return "there is nothing to run"
    if any(running != len(next(iter(task.states.values()))) for running in task.rows):
        return "torch is tracing the layer, and its sequences are of different lengths"
    return _refused(task.graph.text, tuple(task.names), tuple(sorted(task.hold)))


def _refused(text: str, names: tuple[str, ...], held: tuple[str, ...]) -> str | None:
    """Why kernels cannot run a cell, or None; torch runs this while it traces, as it stands."""
    from gatewright.backends.llvm import operators  # known to torch before they are called
    from gatewright.backends.llvm.library import cannot
    from gatewright.graph.lowering import of_text

    assert operators.loops is not None
    if (reason := why_watched()) is not None:
        return reason
    return cannot(of_text(text), names, held)


# What `torch.compiler.assume_constant_result` does, which would import all of the compiler.
_refused._dynamo_marked_constant = True  # type: ignore[attr-defined]


def run(task: Run) -> Result:
    """Run a graph over a sequence."""
    from gatewright.backends.llvm.autograd import run as run_kernels

    return run_kernels(task)


def describe(run: Run) -> list[str]:
    """The tiling of the kernels of a run, line by line."""
    from gatewright.backends.llvm.describe import describe as describe_tiling

    return describe_tiling(run)


def prepare_call(
    task: Run,
    shares: Mapping[str, Share],
    weights: Mapping[str, Tensor],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> FastCall | None:
    """Runs like a task, or None where more than tensors would be new; see `fast_call.py`."""
    from gatewright.backends.llvm.fast_call import prepare

    return prepare(task, shares, weights, shapes)


def in_memory(tensor: Tensor) -> bool:
    """Check that all numbers of a tensor lie in its storage, which a user may free or resize."""
    if not tensor.numel():
        return True
    end = tensor.storage_offset() + extent(tensor.shape, tensor.stride())
    fits = tensor.untyped_storage().nbytes() >= end * tensor.element_size()
    return fits and tensor.data_ptr() != 0


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """The numbers from the first one of a tensor to its last one, both included."""
    if 0 in shape:
        return 0
    return 1 + sum([(n - 1) * stride for n, stride in zip(shape, strides, strict=True)])


def why_no_stream(graph: Graph) -> str | None:
    """Why the kernels cannot stream a graph, or None."""
    from gatewright.backends.llvm.stepping import cannot

    return cannot(graph)


def open_stream(
    graph: Graph, sizes: Sequence[Mapping[str, int]], rows: int, dtype: torch.dtype
) -> Stream:
    """A stream on kernels; see `backends/stream.py`."""
    from gatewright.backends.llvm.stepping import KernelStream

    return KernelStream(graph, sizes, rows, dtype)
