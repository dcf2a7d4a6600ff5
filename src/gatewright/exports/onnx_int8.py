"""Products in int8 in operators of ONNX: MatMulInteger, between roundings that ONNX has.

`backends/int8.py` has the arithmetic, which these operators repeat to the last integer.
DynamicQuantizeLinear would round to unsigned bytes, with one scale for all rows of a batch, and
ONNX Runtime's own int8 LSTM is no operator of ONNX, and there is none for other cells.

Codes are stored as unsigned bytes with 128 added, which the operator subtracts as zero points: on
processors with AVX2 and without VNNI, ONNX Runtime's product of unsigned and signed bytes adds up
pairs in 16 bits, which overflow and saturate. Its product of unsigned bytes is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from gatewright.backends.int8 import LARGEST_CODE, LEAST_PEAK, Int8Matrix
from gatewright.graph import Term

FLOAT, UINT8 = 1, 2  # of onnx.TensorProto
#: Added to a code, so that it is an unsigned byte.
OFFSET = 128


class Int8Products:
    """The products in int8 of a step; products of one source share its codes.

    Args:
        b: The `GraphBuilder` of the step.
        products: The products, and whether the source of each lies within -1 and 1.
    """

    def __init__(self, b: Any, products: Mapping[Term, bool]) -> None:
        self.b, self.products = b, products
        self.offset = b.constant(np.array(OFFSET, np.uint8), "offset")
        #: Of a source: its codes `(B, K)` and its steps `(B, 1)`.
        self.codes: dict[Term, tuple[str, str]] = {}

    def emit(self, term: Term, source: str, weight: Tensor, name: str) -> str:
        """Add a product `(B, heads * rows)` of a source `(B, K)`; `name` is its matrix's."""
        b, matrix = self.b, Int8Matrix.of(weight)
        if term.operands[0] not in self.codes:
            self.codes[term.operands[0]] = self._round(source, bounded=self.products[term])
        codes, step = self.codes[term.operands[0]]
        transposed = matrix.codes.transpose(-1, -2).numpy().astype(np.int16) + OFFSET
        operands = [b.constant(transposed.astype(np.uint8), name), self.offset, self.offset]
        if matrix.codes.dim() == 2:
            sums = b.node("MatMulInteger", codes, *operands)
        else:
            heads, rows, columns = matrix.codes.shape
            parts = b.node("Reshape", codes, b.integers(-1, heads, 1, columns))
            sums = b.node("MatMulInteger", parts, *operands)
            sums = b.node("Reshape", sums, b.integers(-1, heads * rows))
        # Scale and step one after the other: with their product, ONNX Runtime 1.32 makes all of
        # this and an addition that follows one node of its own, which leaves the addition out.
        scaled = b.node("Mul", b.node("Cast", sums, to=FLOAT), b.constant(matrix.scales.numpy()))
        return str(b.node("Mul", scaled, step))

    def _round(self, source: str, *, bounded: bool) -> tuple[str, str]:
        """Add the rounding of a source; returns its codes and steps."""
        b = self.b
        # 0 for a row of finite numbers, else NaN.
        zeros = b.node("Mul", source, self._number(0.0))
        zero = b.node("ReduceSum", zeros, b.integers(1), keepdims=1)
        if bounded:
            ends = (b.constant(np.array(end, np.float32), "end") for end in (-1.0, 1.0))
            scaled = b.node("Mul", b.node("Clip", source, *ends), self._number(LARGEST_CODE))
            step = self._number(1.0 / LARGEST_CODE)
        else:
            # The largest number: the axes of ReduceMax differ between versions of ONNX.
            names = [b.name("largest"), b.name("place")]
            peak = b.node("TopK", b.node("Abs", source), b.integers(1), outputs=names, axis=1)
            peak = b.node("Max", peak, self._number(LEAST_PEAK))
            factor = b.node("Div", self._number(LARGEST_CODE), peak)
            scaled = b.node("Mul", source, factor)
            step = b.node("Mul", peak, self._number(1.0 / LARGEST_CODE))
        # The integer of a NaN is not defined.
        scaled = b.node("Where", b.node("IsNaN", scaled), self._number(0.0), scaled)
        codes = b.node("Add", b.node("Round", scaled), self._number(OFFSET))
        codes = b.node("Cast", codes, to=UINT8)
        return codes, b.node("Add", step, zero)

    def _number(self, value: float) -> str:
        return str(self.b.constant(np.array([value], np.float32), "number"))
