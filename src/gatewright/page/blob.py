"""The numbers of a model in one piece, as the page reads them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

#: Numbers of a model that go out in float32; more are rounded to 24 bits, so that the page of the
#: default network of `prose`, 675,000 numbers, is below 3 MB.
MOST_WHOLE = 500_000


class Blob:
    """Tensors by name, one after the other in float32.

    >>> blob = Blob()
    >>> blob.add("bias", np.zeros(3))
    'bias'
    >>> blob.tensors, blob.text()
    ({'bias': {'at': 0, 'shape': [3]}}, 'AAAAAAAAAAAAAAAA')
    """

    def __init__(self) -> None:
        self.tensors: dict[str, dict[str, Any]] = {}
        self._pieces: list[bytes] = []
        self._length = 0

    def add(self, name: str, tensor: Any) -> str:
        """Append a tensor or array, and return its name; a name that is there stays as it is."""
        if name not in self.tensors:
            values = tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor
            values = np.ascontiguousarray(values, dtype="<f4")
            self.tensors[name] = {"at": self._length, "shape": list(np.shape(tensor))}
            self._pieces.append(values.tobytes())
            self._length += values.size
        return name

    @property
    def bytes_each(self) -> int:
        """The bytes of a number: 4 of float32, or its upper 3 where there are very many."""
        return 3 if self._length > MOST_WHOLE else 4

    def notes(self) -> list[str]:
        """The difference from the model itself, where there is one."""
        if self.bytes_each == 4:
            return []
        return [
            f"The {self._length:,} numbers of this model are rounded to 24 bits, so that the page "
            "stays small: what it shows differs from Python in the fifth digit."
        ]

    def text(self) -> str:
        """All numbers as base64 of little-endian float32, rounded to `bytes_each`."""
        content = b"".join(self._pieces)
        return base64.b64encode(content if self.bytes_each == 4 else upper_bytes(content)).decode()


def upper_bytes(content: bytes) -> bytes:
    """The upper three bytes of each float32, rounded to the nearest: an error of at most 2^-16.

    >>> upper_bytes(np.array([1.0, -2.5], "<f4").tobytes()).hex()
    '00803f0020c0'
    """
    bits = np.frombuffer(content, "<u4")
    rounded = bits + np.uint32(0x80)
    # The largest number of float32 stays finite.
    rounded = np.where((rounded & 0x7F800000) == 0x7F800000, bits, rounded)
    return rounded.astype("<u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()


def floats(values: Any) -> str:
    """An array as base64 of little-endian float32.

    >>> floats([1.0, 2.0])
    'AACAPwAAAEA='
    """
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()
