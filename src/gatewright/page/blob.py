"""The numbers of a model in one piece, as the page reads them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


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

    def text(self) -> str:
        """All numbers as base64 of little-endian float32."""
        return base64.b64encode(b"".join(self._pieces)).decode()


def floats(values: Any) -> str:
    """An array as base64 of little-endian float32.

    >>> floats([1.0, 2.0])
    'AACAPwAAAEA='
    """
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()
