"""Training data on their way to the processes that learn from them: one file, not pickled.

The test part is never in it: no process that trains can see it.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from gatewright.data import Recordings, Series, Tagged, Text

KINDS = {kind.__name__: kind for kind in (Recordings, Series, Tagged, Text)}


def hand_over(data: Any, path: Path) -> str:
    """Write one of the data types to a file; its path, for `receive`."""
    arrays: dict[str, NDArray[Any]] = {}

    def pack(name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            plain = value.view(np.int64) if value.dtype.kind in "mM" else value
            arrays[name] = np.ascontiguousarray(plain)
            return {"array": name, "dtype": value.dtype.str}
        if isinstance(value, np.timedelta64):
            return {"timedelta": int(value.astype(np.int64)), "dtype": value.dtype.str}
        if isinstance(value, tuple):
            return [pack(f"{name}.{at}", one) for at, one in enumerate(value)]
        return value

    packed = {field.name: pack(field.name, getattr(data, field.name)) for field in fields(data)}
    about = {"kind": type(data).__name__, "fields": json.dumps(packed)}
    save_file(arrays, path, metadata=about)
    return str(path)


def receive(path: str) -> Any:
    """What was handed over."""
    arrays = load_file(path)
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    about = header["__metadata__"]

    def unpack(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(unpack(one) for one in value)
        if isinstance(value, dict) and "array" in value:
            array = arrays[value["array"]]
            return array.view(value["dtype"]) if value["dtype"][1] in "mM" else array
        if isinstance(value, dict):
            return np.array(value["timedelta"]).astype(value["dtype"])[()]
        return value

    given = {name: unpack(value) for name, value in json.loads(about["fields"]).items()}
    return KINDS[about["kind"]](**given)
