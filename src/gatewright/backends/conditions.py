"""The conditions under which kernels can run, on every backend that has some.

Each `why_not_*` function returns the reason why they cannot, or None.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

CPU = torch.device("cpu")


def why_not_now(device: str = "cpu") -> str | None:
    """Give the reason why no kernel for a kind of device can run at the moment, or None."""
    if is_autocast(device):
        return "autocast is on"
    return why_watched()


def is_autocast(device: str) -> bool:
    """Tell if autocast is on for a kind of device; torch has none for some, such as meta."""
    has_autocast = device == "cpu" or torch.amp.is_autocast_available(device)
    return has_autocast and torch.is_autocast_enabled(device)


def is_exporting() -> bool:
    """Tell if torch.export is recording; torch 2.6 cannot tell, and records operators."""
    return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()


def why_watched() -> str | None:
    """Give the reason why torch has to see each operation at the moment, or None."""
    if torch._C._get_tracing_state() is not None or torch._C._len_torch_dispatch_stack():
        return "torch is recording the operations of this run, and would not see what kernels do"
    return why_transformed()


def why_transformed() -> str | None:
    """Give the transform that torch applies to the operations of this moment, or None."""
    if torch._C._functorch.maybe_current_level() is not None:
        return "a transform of torch.func is at work"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation is at work"
    return None


def why_not_read(tensors: Iterable[Tensor], device: torch.device = CPU) -> str | None:
    """Give the reason why kernels cannot read all tensors at their addresses, or None."""
    tensors = list(tensors)
    for kind in {type(tensor) for tensor in tensors}:
        if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return f"a tensor is a {kind.__name__}, which has its numbers elsewhere"
    if not all([tensor.device == device for tensor in tensors]):
        return f"not all tensors are on {device}"
    if not all([torch._C._has_storage(tensor) and tensor.data_ptr() for tensor in tensors]):
        return "not all tensors have their numbers in memory"
    dtypes = {tensor.dtype for tensor in tensors} - {torch.bool}
    if len(dtypes) > 1:
        return f"tensors are {' and '.join(sorted(map(str, dtypes)))}"
    return None
