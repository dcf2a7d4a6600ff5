"""Send training data to a worker process through its input, without pickle.

They are never in a file, so that nothing stays behind, however this ends. The test part is
never sent: no process that trains can see it.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings, Series, Tagged, Text

KINDS = {kind.__name__: kind for kind in (Recordings, Series, Tagged, Text)}


def send_data(data: Any, stream: BinaryIO) -> None:
    """Write an object of a data type: a line of JSON, then its arrays one after the other."""
    arrays: list[NDArray[Any]] = []

    def pack(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return {"dtype": value.dtype.str, "shape": value.shape}
        if isinstance(value, np.timedelta64):
            return {"dtype": value.dtype.str, "timedelta": int(value.astype(np.int64))}
        if isinstance(value, tuple):
            return [pack(item) for item in value]
        return value

    packed = {field.name: pack(getattr(data, field.name)) for field in fields(data)}
    header = {"kind": type(data).__name__, "fields": packed}
    stream.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        stream.write(_as_bytes(np.ascontiguousarray(array)))
    stream.flush()


def receive_data(stream: BinaryIO) -> Any:
    """Read what `send_data` wrote.

    Raises:
        EOFError: if the stream ends before the data do.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the data ended before they began")
    header = json.loads(line)

    def unpack(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(unpack(item) for item in value)
        if isinstance(value, dict) and "shape" in value:
            array = np.empty(value["shape"], value["dtype"])
            if stream.readinto(_as_bytes(array)) < array.nbytes:  # type: ignore[attr-defined]
                raise EOFError("the data ended early")
            return array
        if isinstance(value, dict):
            return np.array(value["timedelta"]).astype(value["dtype"])[()]
        return value

    values = {name: unpack(value) for name, value in header["fields"].items()}
    return KINDS[header["kind"]](**values)


def _as_bytes(array: NDArray[Any]) -> memoryview:
    """The memory of an array of any type, to write it or read into it without a copy."""
    return array.reshape(-1).view(np.uint8).data
