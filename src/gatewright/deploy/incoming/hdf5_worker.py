"""The process that reads an HDF5 file: its content on the input, the cells' weights on the output.

The library of HDF5 may crash or run without end on a damaged file, so it runs in a process of its
own, which `keras_archive.py` starts and stops.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The place of a matrix or a bias of a recurrent layer.
WEIGHT = re.compile(r"(.*/)?cell/vars/\d+")


def read_cells(content: bytes) -> dict[str, NDArray[Any]]:
    """The weights of the recurrent layers by their places.

    Under `fault:PLACE` there is the reason why a weight was not read, and under `name:GROUP` the
    name of the layer that a group of weights belongs to.
    """
    import h5py

    results: dict[str, NDArray[Any]] = {}
    left = len(content)

    def visit(place: str, node: Any) -> None:
        nonlocal left
        if place.endswith("vars") and isinstance(node.attrs.get("name"), str):
            results[f"name:{place.removesuffix('/vars')}"] = np.array(node.attrs["name"])
        if not WEIGHT.fullmatch(place):
            return
        # Keras writes plain blocks of numbers; others may be huge, or in another file.
        plain = (
            isinstance(node, h5py.Dataset)
            and not (node.is_virtual or node.external or node.chunks)
            and node.dtype.kind == "f"
            and "dtype" not in node.attrs  # bfloat16, written as whole numbers
        )
        if not plain:
            results[f"fault:{place}"] = np.array("are no plain table of floating-point numbers")
        elif node.nbytes > left:
            fault = f"have {node.nbytes:,} bytes, and the file has {left:,} for them"
            results[f"fault:{place}"] = np.array(fault)
        else:
            left -= node.nbytes
            results[place] = node[()].astype(node.dtype.newbyteorder("="))

    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(visit)  # follows no links to other files
    return results


if __name__ == "__main__":
    weights: dict[str, Any] = read_cells(sys.stdin.buffer.read())
    np.savez(sys.stdout.buffer, **weights)
