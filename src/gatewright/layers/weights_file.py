"""The file of a model's weights: its header is read, and compared, before anything large is.

The format is that of safetensors: the length of the header in eight bytes, the header as JSON
(for each tensor its dtype, its shape and where its bytes lie), then the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor

from gatewright.errors import ModelError
from gatewright.schema import typed_fields

#: The largest header that safetensors itself reads, in bytes.
MOST_HEADER = 100_000_000
#: Tensors that are named in a message.
NAMED = 3
_ENTRY = {"dtype": str, "shape": tuple[int, ...], "data_offsets": tuple[int, int]}
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}


@dataclass(frozen=True)
class Shape:
    """The form of one tensor: its axes, and whether it holds floating-point numbers."""

    axes: tuple[int, ...]
    floating: bool

    @classmethod
    def of(cls, tensor: Tensor) -> Shape:
        """The form of a tensor in memory."""
        return cls(tuple(tensor.shape), tensor.is_floating_point())

    def __str__(self) -> str:
        return f"{self.axes}" + ("" if self.floating else " of whole numbers")


def read_shapes(file: BinaryIO, size: int, path: Path) -> dict[str, Shape]:
    """The forms of all tensors of a file of `size` bytes, from its header.

    Raises:
        ModelError: if it has no such header, or another size than the header says.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(MOST_HEADER, size - 8):
        raise ModelError(f"{path} is damaged: it has no header of safetensors")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} is damaged: its header is no object")
    header.pop("__metadata__", None)
    entries = {name: typed_fields(one, _ENTRY, f"{path}: {name}") for name, one in header.items()}
    end = 8 + length + max([entry["data_offsets"][1] for entry in entries.values()], default=0)
    if end != size:
        raise ModelError(f"{path} is damaged: it has {size} bytes; its header says {end}")
    return {
        name: Shape(entry["shape"], entry["dtype"] in FLOATS) for name, entry in entries.items()
    }


def disagreement(stored: Mapping[str, Shape], expected: Mapping[str, Shape]) -> str | None:
    """The first way in which tensors differ from those of a model, or None."""
    missing = [name for name in expected if name not in stored]
    if missing:
        return f"no {_listed(missing)}"
    more = [name for name in stored if name not in expected]
    if more:
        return f"{_listed(more)}, which the model does not have"
    for name, shape in expected.items():
        if stored[name] != shape:
            return f"{name} has shape {stored[name]}; expected {shape}"
    return None


def parse_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a file's content, without NaN.

    Raises:
        ModelError: if it is damaged, or a number is NaN.
    """
    try:
        tensors: dict[str, Tensor] = read_tensors(content)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    name = with_nan(tensors)
    if name is not None:
        raise ModelError(
            f"{path} cannot be used: {name} holds NaN, so every answer would be NaN; train again"
        )
    return tensors


def with_nan(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds a NaN, or None."""
    names = (name for name, one in tensors.items() if bool(torch.isnan(one).any()))
    return next(names, None)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
