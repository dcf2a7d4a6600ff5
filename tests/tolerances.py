"""Tolerances: one table for all tests, by dtype, and comparisons that use it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

#: The greatest difference, absolute or relative.
EXACT = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 3e-2}

#: For two sums of the same terms in another order.
SAME = {torch.float64: 1e-12, torch.float32: 1e-6}


def close(
    actual: Any, expected: Any, what: str = "", table: dict[torch.dtype, float] = EXACT
) -> None:
    """Fail if two tensors, or structures of tensors, differ in structure, shape or values."""
    if isinstance(expected, PackedSequence):
        assert isinstance(actual, PackedSequence), what
        assert torch.equal(actual.batch_sizes, expected.batch_sizes), what
        close(actual.data, expected.data, what, table)
        for own, theirs in zip(actual[2:], expected[2:], strict=True):
            assert (own is None) == (theirs is None) and (own is None or torch.equal(own, theirs))
        return
    if isinstance(expected, Tensor):
        assert isinstance(actual, Tensor), f"{what}: {type(actual).__name__}"
        limit = table[expected.dtype]
        torch.testing.assert_close(
            actual, expected, atol=limit, rtol=limit, equal_nan=True, msg=lambda m: f"{what}: {m}"
        )
        return
    if isinstance(expected, dict):
        assert list(actual) == list(expected), what
        for key in expected:
            close(actual[key], expected[key], f"{what} {key}", table)
        return
    assert isinstance(expected, tuple | list), type(expected)
    assert type(actual) is type(expected) and len(actual) == len(expected), what
    for index, (own, theirs) in enumerate(zip(actual, expected, strict=True)):
        close(own, theirs, f"{what}[{index}]", table)


def tensors(structure: Any) -> list[Tensor]:
    """All tensors of a structure, in order."""
    if isinstance(structure, Tensor):
        return [structure]
    if isinstance(structure, PackedSequence):
        return [structure.data]
    return [tensor for part in structure if part is not None for tensor in tensors(part)]


def random_loss(structure: Any, seed: int = 0) -> Tensor:
    """A loss in which every element of every tensor has a random weight of its own."""
    draw = torch.Generator().manual_seed(seed)
    parts = [
        (tensor * torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype)).sum()
        for tensor in tensors(structure)
    ]
    return torch.stack(parts).sum()


def gradients(structure: Any, leaves: list[Tensor], seed: int = 0) -> list[Tensor]:
    """The gradients of `random_loss`; zeros for a leaf that does not reach it."""
    loss = random_loss(structure, seed)
    if not loss.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(leaf) if grad is None else grad
        for leaf, grad in zip(leaves, grads, strict=True)
    ]
