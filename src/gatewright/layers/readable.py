"""Tensors that have no numbers where they say: found before anything reads their memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.conditions import in_memory
from gatewright.errors import ArgumentError, SizeError


def why_unreadable(tensor: Tensor) -> str | None:
    """The reason why a tensor's numbers cannot be read, with the remedy, or None.

    Tensors that torch only traces (compile, export, functorch, fake and meta ones) have no
    memory and need none.
    """
    if tensor.is_nested:
        return (
            "is a nested tensor; give a PackedSequence, as "
            "torch.nn.utils.rnn.pack_sequence(x.unbind(), enforce_sorted=False)"
        )
    if tensor.layout is not torch.strided:
        return f"is {tensor.layout}; give x.to_dense()"
    if tensor.is_quantized:
        return "is quantized; give x.dequantize()"
    if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
        return None
    if torch.compiler.is_compiling() or tensor.is_meta or tensor._is_zerotensor():
        return None
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return None
    storage = tensor.untyped_storage()
    if not in_memory(tensor):
        return (
            f"has storage of {storage.nbytes()} bytes for {tensor.numel()} numbers: it was freed "
            "or resized; give the tensor while it holds its numbers"
        )
    return None


def check_readable(tensor: Any, role: str) -> None:
    """Refuse what is no tensor, or one whose numbers cannot be read.

    Raises:
        ArgumentError: naming the role, the reason and the remedy.
    """
    if not isinstance(tensor, Tensor):
        raise ArgumentError(f"{role} is a {type(tensor).__name__}; give a tensor")
    if (reason := why_unreadable(tensor)) is not None:
        raise ArgumentError(f"{role} {reason}")


def check_packed(packed: PackedSequence, role: str = "the input") -> None:
    """Refuse a PackedSequence whose parts contradict each other; one made by hand may.

    Raises:
        ArgumentError, SizeError: naming the part that is wrong.
    """
    check_readable(packed.data, f"{role}'s packed data")
    sizes = packed.batch_sizes
    remedy = "make it with torch.nn.utils.rnn.pack_padded_sequence"
    if not isinstance(sizes, Tensor) or sizes.dim() != 1 or sizes.dtype != torch.int64:
        raise ArgumentError(f"{role}'s batch_sizes are no row of whole numbers; {remedy}")
    if torch.compiler.is_compiling():
        return
    check_readable(sizes, f"{role}'s batch_sizes")
    rows = sizes.tolist()
    if not rows or min(rows) < 1 or any(a < b for a, b in pairwise(rows)):
        raise ArgumentError(
            f"{role}'s batch_sizes are {_shown(rows)}; expected numbers from 1 that never grow; "
            f"{remedy}"
        )
    if sum(rows) != len(packed.data):
        raise SizeError(
            f"{role}'s batch_sizes add up to {sum(rows)} steps, and its data has "
            f"{len(packed.data)}; {remedy}"
        )
    for name in ("sorted_indices", "unsorted_indices"):
        _check_order(getattr(packed, name), rows[0], f"{role}'s {name}", remedy)
    order, back = packed.sorted_indices, packed.unsorted_indices
    if (order is None) != (back is None) or (
        order is not None and not torch.equal(order[back], torch.arange(rows[0]).to(order))
    ):
        raise ArgumentError(f"{role}'s sorted_indices and unsorted_indices disagree; {remedy}")


def _check_order(order: Any, rows: int, what: str, remedy: str) -> None:
    """Refuse indices that are no order of the rows."""
    if order is None:
        return
    check_readable(order, what)
    if order.dtype != torch.int64 or tuple(order.shape) != (rows,):
        raise ArgumentError(f"{what} are no {rows} whole numbers; {remedy}")
    if not torch.equal(order.cpu().sort().values, torch.arange(rows, device="cpu")):
        raise ArgumentError(f"{what} do not name each of {rows} rows once; {remedy}")


def _shown(rows: list[int]) -> str:
    return str(rows) if len(rows) <= 8 else f"{str(rows[:8])[:-1]}, …]"
