"""How close is equal: one table for all tests, by dtype."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

#: The greatest difference, absolute or relative.
EXACT = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 3e-2}

#: Two ways to the same sum: where only the order of additions differs.
SAME = {torch.float64: 1e-12, torch.float32: 1e-6}


def close(
    actual: Any, expected: Any, what: str = "", table: dict[torch.dtype, float] = EXACT
) -> None:
    """Fail where two tensors, or structures of tensors, differ in form or in values."""
    if isinstance(expected, PackedSequence):
        assert isinstance(actual, PackedSequence), what
        assert torch.equal(actual.batch_sizes, expected.batch_sizes), what
        close(actual.data, expected.data, what, table)
        for one, other in zip(actual[2:], expected[2:], strict=True):
            assert (one is None) == (other is None) and (one is None or torch.equal(one, other))
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
    for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
        close(one, other, f"{what}[{index}]", table)


def tensors(found: Any) -> list[Tensor]:
    """All tensors of a structure, in order."""
    if isinstance(found, Tensor):
        return [found]
    if isinstance(found, PackedSequence):
        return [found.data]
    return [one for part in found if part is not None for one in tensors(part)]


def random_loss(found: Any, seed: int = 0) -> Tensor:
    """A loss that reads every element of every tensor with a weight of its own."""
    draw = torch.Generator().manual_seed(seed)
    parts = [
        (one * torch.randn(one.shape, generator=draw, dtype=one.dtype)).sum()
        for one in tensors(found)
    ]
    return torch.stack(parts).sum()


def gradients(found: Any, wanted: list[Tensor], seed: int = 0) -> list[Tensor]:
    """The gradients of `random_loss`; zero where nothing flows."""
    loss = random_loss(found, seed)
    if not loss.requires_grad:
        return [torch.zeros_like(one) for one in wanted]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(one) if grad is None else grad
        for one, grad in zip(wanted, grads, strict=True)
    ]
