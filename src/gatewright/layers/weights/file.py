"""The file of a model's weights. Its header is read and compared before anything large is.

The format is safetensors: the length of the header in eight bytes, the header as JSON (the
dtype, the shape and the position of the bytes of each tensor), then the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor

from gatewright.errors import ModelError
from gatewright.schema import typed_fields

#: The largest header that safetensors itself reads, in bytes.
MAX_HEADER_BYTES = 100_000_000
#: Tensors named in a message, at most.
MAX_NAMES_SHOWN = 3
_ENTRY = {"dtype": str, "shape": tuple[int, ...], "data_offsets": tuple[int, int]}
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}


@dataclass(frozen=True)
class TensorShape:
    """The shape of one tensor, and whether it has floating-point numbers."""

    axes: tuple[int, ...]
    floating: bool

    @classmethod
    def of(cls, tensor: Tensor) -> TensorShape:
        """The shape of a tensor in memory."""
        return cls(tuple(tensor.shape), tensor.is_floating_point())

    def __str__(self) -> str:
        return f"{self.axes}" + ("" if self.floating else " of whole numbers")


def read_shapes(file: BinaryIO, size: int, path: Path) -> dict[str, TensorShape]:
    """The shapes of all tensors of a file of `size` bytes, from its header.

    Raises:
        ModelError: if it has no such header, or another size than the header says.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise ModelError(f"{path} is damaged: it has no header of safetensors")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} is damaged: its header is not an object")
    header.pop("__metadata__", None)
    entries = {
        name: typed_fields(entry, _ENTRY, f"{path}: {name}") for name, entry in header.items()
    }
    end = 8 + length + max([entry["data_offsets"][1] for entry in entries.values()], default=0)
    if end != size:
        raise ModelError(f"{path} is damaged: it has {size} bytes; its header says {end}")
    return {
        name: TensorShape(entry["shape"], entry["dtype"] in FLOATS)
        for name, entry in entries.items()
    }


def disagreement(
    stored: Mapping[str, TensorShape], expected: Mapping[str, TensorShape]
) -> str | None:
    """The first difference between stored tensors and those of a model, or None."""
    missing = [name for name in expected if name not in stored]
    if missing:
        return f"no {_listed(missing)}"
    unknown = [name for name in stored if name not in expected]
    if unknown:
        return f"{_listed(unknown)}, which the model does not have"
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
    return next((name for name, tensor in tensors.items() if bool(tensor.isnan().any())), None)


def _listed(names: list[str]) -> str:
    hidden = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {hidden} more" if hidden > 0 else "")
