"""The substitute for `libdevice` in Triton's interpreter, which lacks it: torch's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton.language as tl
from triton.runtime.interpreter import TensorHandle


def _elementwise(function: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    def call(*operands: Any) -> Any:
        result = function(*(torch.from_numpy(o.handle.data.copy()) for o in operands))
        kind = tl.block_type(operands[0].dtype, list(result.shape))
        return tl.tensor(TensorHandle(result.numpy(), operands[0].dtype), kind)

    return call


tanh, exp, expm1 = map(_elementwise, (torch.tanh, torch.exp, torch.expm1))
log, log1p, sqrt = map(_elementwise, (torch.log, torch.log1p, torch.sqrt))
sin, cos, erf = map(_elementwise, (torch.sin, torch.cos, torch.erf))


@_elementwise
def pow(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Raise a to the power of b."""
    return torch.pow(a, b)
