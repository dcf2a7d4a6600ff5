"""The memory of the checked build: between guard zones, and NaN until it is written.

A kernel that reads a number that nobody wrote computes NaN; one that writes outside of its buffer
changes a guard zone. Kernels are the same in both builds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from gatewright.errors import KernelError

#: Bytes in front of and behind each buffer. A multiple of 256, so that buffers are aligned as
#: torch aligns them: Triton compiles other code for others.
ZONE = 16384
#: Each byte of a guard zone: NaN in every type of numbers, and -1 as an index. It is not the NaN
#: that arithmetic makes.
PATTERN = 0xFF


def guarded(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocate a tensor between guard zones, full of NaN."""
    size = torch.empty(shape, dtype=dtype, device="meta").nbytes
    memory = torch.full((size + 2 * ZONE,), PATTERN, dtype=torch.uint8, device=device)
    return memory[ZONE : ZONE + size].view(dtype).view(shape)


class GuardZones:
    """The tensors of one launch, all between guard zones that are examined after it."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def placed(self, tensors: Mapping[str, Tensor], written: Collection[str]) -> list[Tensor]:
        """Return the tensors of a launch: those that are only read as copies in guarded memory.

        Args:
            written: Those whose new numbers are read after the launch; `guarded` allocated them.
        """
        for name, tensor in tensors.items():
            self.tensors[name] = tensor
            if name not in written:
                copy = guarded(tensor.shape, tensor.dtype, tensor.device)
                self.tensors[name] = copy.copy_(tensor.detach())
        return list(self.tensors.values())

    def check(self, kernel: str) -> None:
        """Refuse a launch that has written outside of its buffers.

        Raises:
            KernelError: with the kernel and the buffers.
        """
        changed = [name for name, tensor in self.tensors.items() if not _has_zones(tensor)]
        if changed:
            raise KernelError(f"{kernel} wrote outside of {', '.join(changed)}")


def _has_zones(tensor: Tensor) -> bool:
    """Tell if a tensor's memory begins and ends with guard zones."""
    memory = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    memory = memory.set_(tensor.untyped_storage())
    if len(memory) < 2 * ZONE:
        return False
    return bool((memory[:ZONE] == PATTERN).all() and (memory[-ZONE:] == PATTERN).all())
