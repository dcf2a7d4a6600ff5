"""Integers and loops of the emitted code, built and run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

from gatewright.backends.llvm import build
from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import Function, Numbers

FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    "blocks": lambda a, b: (a + (b - 1)) // b,
    "constants on the left": lambda a, b: 3 + 2 * a - (100 - b),
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b + a,
}
NUMBERS = Numbers(32, 4)


def run(emit: Callable[[Function, ir.Value, Index, Index], None], a: int, b: int) -> list[int]:
    """Run a function (address of eight integers, a, b) and return the integers."""
    module = ir.Module("test")
    f = Function(module, "f", [POINTER, INDEX, INDEX], NUMBERS)
    address, first, second = f.arguments
    f.trusted(address)
    emit(f, address, first, second)
    f.b.ret_void()
    library = build.Library(build.object_code(module))
    out = np.zeros(8, np.int64)
    build.KERNEL(library.function("f"))(out.ctypes.data, a, b)
    return [int(number) for number in out]


def put(f: Function, address: ir.Value, position: Index | int, value: ir.Value) -> None:
    f.b.store(value, f.trusted(f.address(address, position, INDEX)))


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("a", "b"), [(0, 1), (7, 16), (16, 16), (33, 16), (1000, 3)])
def test_operators_compute_as_in_python(name: str, a: int, b: int):
    formula = FORMULAS[name]
    values = run(lambda f, out, x, y: put(f, out, 0, formula(x, y)), a, b)
    assert values[0] == formula(a, b)


@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 2), (3, 2), (-1, 0)])
def test_comparisons_are_signed(a: int, b: int):
    def emit(f: Function, out: ir.Value, x: Index, y: Index) -> None:
        flags = [x < y, x <= y, x > y, x >= y, x == y, x != y]
        for position, flag in enumerate(flags):
            put(f, out, position, f.select(flag, 1, 0))
        put(f, out, 6, f.minimum(x, y))
        put(f, out, 7, f.maximum(x, y))

    flags = [a < b, a <= b, a > b, a >= b, a == b, a != b]
    assert run(emit, a, b) == [*map(int, flags), min(a, b), max(a, b)]


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("end", [0, 2, 3, 10])
def test_a_loop_carries_values_and_says_where_it_ends(step: int, end: int):
    def emit(f: Function, out: ir.Value, begin: Index, limit: Index) -> None:
        with f.loop(begin, limit, step, [f.index(0), f.index(1)]) as k:
            total, count = map(f.index, k.values)
            k.update([total + k, count + 1])
        for position, value in enumerate([*k.results, k.end]):
            put(f, out, position, value)

    begins = [k for k in range(0, end, step) if k + step <= end]
    assert run(emit, 0, end)[:3] == [sum(begins), 1 + len(begins), len(begins) * step]


def test_values_that_a_loop_does_not_update_stay():
    def emit(f: Function, out: ir.Value, begin: Index, end: Index) -> None:
        with f.loop(begin, end, 1, [f.index(7)]) as k:
            pass
        put(f, out, 0, k.results[0])

    assert run(emit, 0, 5)[0] == 7


@pytest.mark.parametrize(("end", "length"), [(10, 4), (8, 4), (3, 4), (0, 4)])
def test_chunks_cover_a_range(end: int, length: int):
    def emit(f: Function, out: ir.Value, limit: Index, size: Index) -> None:
        with f.chunks(f.index(0), limit, size) as (begin, until):
            # Mark each chunk at its number by its length.
            put(f, out, begin // size, until - begin)

    lengths = [min(begin + length, end) - begin for begin in range(0, end, length)]
    assert run(emit, end, length)[: len(lengths) + 1] == [*lengths, 0]


def test_an_index_is_no_key():
    f = Function(ir.Module("test"), "f", [], NUMBERS)
    with pytest.raises(TypeError, match="unhashable"):
        hash(f.index(1))
