"""Checks of tensors before anything reads their numbers: a wrong address would be a crash."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.storage import in_storage
from gatewright.errors import ArgumentError, SizeError, WrongTensor, WrongType
from gatewright.layers.weights.sharded import is_sharded


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
        if is_sharded(tensor):
            return (
                "is a DTensor, of which each process holds a part; give x.to_local(), this "
                "process's part, or x.full_tensor()"
            )
        if type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__ and _misreports(tensor):
            return (
                f"is a {type(tensor).__name__}, whose shape, strides or address are not those of "
                "its numbers; give x.as_subclass(torch.Tensor)"
            )
        return None
    if torch.compiler.is_compiling() or tensor.is_meta or tensor._is_zerotensor():
        return None
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return None
    if not in_storage(tensor):
        return (
            f"has storage of {tensor.untyped_storage().nbytes()} bytes for {tensor.numel()} "
            "numbers: it was freed or resized; give the tensor while it holds its numbers"
        )
    return None


def _misreports(tensor: Tensor) -> bool:
    """Tell if a subclass overrides what the checks, and then the kernels, ask a tensor for."""
    reported = _memory_layout(tensor)
    with torch._C.DisableTorchFunctionSubclass():
        return reported != _memory_layout(tensor.as_subclass(Tensor))


def _memory_layout(tensor: Tensor) -> tuple[Any, ...]:
    offset, address = tensor.storage_offset(), tensor.data_ptr()
    return (tensor.shape, tensor.size(), tensor.stride(), tensor.dtype, offset, address)


def check_readable(tensor: Any, role: str) -> None:
    """Refuse a value that is no tensor, or a tensor whose numbers cannot be read.

    Raises:
        ArgumentError: naming the role, the reason and the remedy.
    """
    if not isinstance(tensor, Tensor):
        raise WrongType(f"{role} is a {type(tensor).__name__}; give a tensor")
    if (reason := why_unreadable(tensor)) is not None:
        raise ArgumentError(f"{role} {reason}")


def as_weights(value: Any, like: Tensor, role: str) -> Tensor:
    """The tensor itself if it has the dtype of the weights and is on their device.

    Under autocast it is converted to their dtype.

    Raises:
        WrongTensor: naming both dtypes or devices.
    """
    check_readable(value, role)
    tensor: Tensor = value
    if tensor.device != like.device:
        raise WrongTensor(
            f"{role} is on {tensor.device} and the weights are on {like.device}; move one"
        )
    if tensor.dtype == like.dtype:
        return tensor
    if torch.is_autocast_enabled(tensor.device.type) and tensor.is_floating_point():
        return tensor.to(like.dtype)
    alternative = f" or layer.to({tensor.dtype})" if tensor.is_floating_point() else ""
    raise WrongTensor(
        f"{role} is {tensor.dtype} and the weights are {like.dtype}; "
        f"convert one, as in x.to({like.dtype}){alternative}"
    )


def check_packed(packed: PackedSequence, role: str = "the input") -> None:
    """Refuse a PackedSequence whose parts contradict each other, as those made by hand may.

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
            f"{role}'s batch_sizes are {_shortened(rows)}; expected numbers from 1 that never "
            f"grow; {remedy}"
        )
    if sum(rows) != len(packed.data):
        raise SizeError(
            f"{role}'s batch_sizes add up to {sum(rows)} steps, and its data has "
            f"{len(packed.data)}; {remedy}"
        )
    for name in ("sorted_indices", "unsorted_indices"):
        _check_order(getattr(packed, name), rows[0], f"{role}'s {name}", remedy)
    order, inverse = packed.sorted_indices, packed.unsorted_indices
    if (order is None) != (inverse is None) or (
        order is not None and not torch.equal(order[inverse], torch.arange(rows[0]).to(order))
    ):
        raise ArgumentError(f"{role}'s sorted_indices and unsorted_indices disagree; {remedy}")


def _check_order(order: Any, rows: int, title: str, remedy: str) -> None:
    """Refuse indices that do not name each row once."""
    if order is None:
        return
    check_readable(order, title)
    if order.dtype != torch.int64 or tuple(order.shape) != (rows,):
        raise ArgumentError(f"{title} are no {rows} whole numbers; {remedy}")
    if not torch.equal(order.cpu().sort().values, torch.arange(rows, device="cpu")):
        raise ArgumentError(f"{title} do not name each of {rows} rows once; {remedy}")


def _shortened(rows: list[int]) -> str:
    return str(rows) if len(rows) <= 8 else f"{str(rows[:8])[:-1]}, …]"
