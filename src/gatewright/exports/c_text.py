"""Numbers, constants and loops as C writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def number(value: float) -> str:
    """A number of C, exact in float32."""
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def constant(name: str, values: Floats) -> Iterator[str]:
    """An array of numbers that never change."""
    flat = [number(float(value)) for value in values.ravel()]
    yield f"static const float {name}[{len(flat)}] = {{"
    for start in range(0, len(flat), 6):
        yield f"    {', '.join(flat[start : start + 6])},"
    yield "};"


def over(size: int | str, *lines: str, index: str = "k", kind: str = "int") -> Iterator[str]:
    """A loop of `index` from 0 to `size` - 1.

    Args:
        kind: The type of the index: `size_t` where a number of steps is multiplied.
    """
    yield f"for ({kind} {index} = 0; {index} < {size}; {index}++) {{"
    yield from indented(lines)
    yield "}"


def start_lines(target: str, start: Floats) -> Iterator[str]:
    """The lines that put a row of numbers at its start."""
    if np.all(start == start[0]):
        yield from over(start.size, f"{target}[k] = {number(float(start[0]))};")
        return
    yield "{"
    yield f"    static const float start[{start.size}] = {{"
    yield f"        {', '.join(number(float(value)) for value in start)}"
    yield "    };"
    yield from indented(over(start.size, f"{target}[k] = start[k];"))
    yield "}"


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Lines of an inner block."""
    return (f"    {line}" for line in lines)


def joined(lines: Iterable[str]) -> str:
    """Lines as a text."""
    return "\n".join(lines)
