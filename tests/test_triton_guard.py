"""The checked build of the kernels for GPUs: memory full of NaN, between guard zones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gatewright as gw
import triton_stand_in
from gatewright.backends import triton
from gatewright.backends.triton import loop
from gatewright.backends.triton.guard import PATTERN, ZONE, guarded
from gatewright.errors import KernelError


def changed(monkeypatch: pytest.MonkeyPatch, right: str, wrong: str) -> None:
    """Run kernels in the checked build, with a change of their text."""

    def built(name: str, text: str) -> Any:
        assert right in text
        return triton_stand_in.built(name, text.replace(right, wrong))

    monkeypatch.setattr(triton, "why_no_device", lambda device: None)
    monkeypatch.setattr(loop, "checked", lambda: True)
    monkeypatch.setattr(loop, "built", built)
    # A GPU does not refuse an access outside of a buffer, so the stand-in must not either.
    monkeypatch.setattr(triton_stand_in, "Buffer", Unbounded)


class Unbounded(triton_stand_in.Buffer):
    """A buffer with the memory around it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
        super().__init__(memory[tensor.storage_offset() :])


def train() -> list[torch.Tensor]:
    layer = gw.Recurrent("mgu", 3, 5, backend="triton")
    x = torch.randn(4, 3, 3, requires_grad=True)
    output, h = layer(x, lengths=[4, 2, 0])
    return [output, h, *torch.autograd.grad(output.sum(), [x, *layer.parameters()])]


def test_right_kernels_pass(monkeypatch: pytest.MonkeyPatch):
    changed(monkeypatch, "tl.store", "tl.store")
    assert all(bool(value.isfinite().all()) for value in train())


def test_a_write_behind_a_buffer_is_reported(monkeypatch: pytest.MonkeyPatch):
    """The store of a value is not masked by the units that there are, or by the rows that run."""
    changed(monkeypatch, "has5 = u5 < 5", "has5 = u5 < 6")
    with pytest.raises(KernelError, match="kernel of MGU wrote outside of "):
        train()


def test_a_number_that_nobody_wrote_is_nan(monkeypatch: pytest.MonkeyPatch):
    changed(monkeypatch, "tl.store", "tl.store")
    monkeypatch.setattr(triton_stand_in.LANGUAGE, "store", lambda pointer, value, mask: None)
    output, h, *_ = train()
    assert output[:2, :2].isnan().all() and h[0, 0].isnan().all()


def test_memory_between_guard_zones():
    memory = guarded((2, 3), torch.float32, torch.device("cpu"))
    assert memory.isnan().all() and memory.is_contiguous() and memory.storage_offset() * 4 == ZONE
    assert guarded((0, 3), torch.int64, torch.device("cpu")).shape == (0, 3)
    assert (guarded((2,), torch.int32, torch.device("cpu")) == -1).all() and PATTERN == 255
