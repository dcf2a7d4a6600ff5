"""The numbers that a run's kernels compute with, and runs in bfloat16.

In bfloat16 only the factors of products are rounded. States, sums and everything pointwise are in
float32. Under autocast tensors are in float32 already. Those of a layer in bfloat16 are widened and
rounded by the call list of a prepared run (`elements.py`), and by torch in other runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from gatewright.backends.llvm import build
from gatewright.backends.llvm.ir import Numbers
from gatewright.backends.run import Result, Run

LOW = torch.bfloat16


def is_low(dtype: torch.dtype) -> bool:
    """Tell if tensors of a dtype are multiplied in bfloat16 at the moment."""
    return dtype == LOW or (dtype == torch.float32 and torch.is_autocast_enabled("cpu"))


def numbers_of(dtype: torch.dtype) -> Numbers:
    """The numbers of kernels for tensors of a dtype, at the moment."""
    return build.numbers(64 if dtype == torch.float64 else 32, pairs=is_low(dtype))


def raised(run: Run) -> Run:
    """A run with its tensors in float32."""

    def in_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: t.float() for name, t in tensors.items()}

    return replace(
        run,
        weights=in_float32(run.weights),
        inputs=in_float32(run.inputs),
        states=in_float32(run.states),
        fresh=in_float32(run.fresh),
        hold=in_float32(run.hold),
        noises=[noise.float() for noise in run.noises],
    )


def lowered(result: Result, dtype: torch.dtype) -> Result:
    """A result with its tensors, other than those of booleans, in a dtype."""

    def low(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: t if t.dtype == torch.bool else t.to(dtype) for n, t in tensors.items()}

    return Result(result.output.to(dtype), low(result.states), low(result.values))
