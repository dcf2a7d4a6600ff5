"""Weights of which each process holds a part: torch's DTensors, as `fully_shard` makes them.

In the call of a module that `fully_shard` was given, its weights are whole, plain tensors. At any
other time code that reads their numbers would read a part of them, and write to a copy.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from gatewright.errors import ArgumentError


def is_sharded(tensor: Tensor) -> bool:
    """Tell if a tensor is a DTensor. Their module is not imported for that: it takes 0.5 s."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def check_whole(weight: Tensor, name: str) -> None:
    """Refuse a weight of which this process holds a part only.

    Raises:
        ArgumentError: naming the weight and the ways to use it.
    """
    if is_sharded(weight):
        raise ArgumentError(
            f"the weight {name} is sharded: it is a DTensor, of which this process holds a part. "
            "Its numbers are whole in the call of the module that fully_shard was given, and "
            "between its unshard() and reshard(); initialise, change and freeze weights before "
            "fully_shard"
        )


def gathered(weight: Tensor) -> Tensor:
    """A weight as a whole, plain tensor. Where it is sharded, all processes have to call this."""
    return weight.full_tensor() if is_sharded(weight) else weight  # type: ignore[attr-defined]


def as_sharded(values: Tensor, weight: Tensor) -> Tensor:
    """Values that every process has as a whole, in the form of a weight; nothing is sent."""
    if not is_sharded(weight):
        return values
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(weight, DTensor)
    return distribute_tensor(values, weight.device_mesh, weight.placements, src_data_rank=None)


def write_rows(weight: Tensor, first: int, rows: Tensor) -> None:
    """Write rows of a weight, from the first on: each process those that it holds.

    A write that changes nothing is left out: it would make a pending backward pass fail.
    """
    last = first + len(rows)
    if not is_sharded(weight):
        part = weight[first:last]
        if not torch.equal(part, rows):
            part.copy_(rows)
        return
    values = torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device)
    written = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
    values[first:last], written[first:last] = rows, True
    weight.copy_(torch.where(as_sharded(written, weight), as_sharded(values, weight), weight))
