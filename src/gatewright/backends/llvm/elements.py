"""Numbers as they lie in torch's memory: in the kernels' own type, or in bfloat16.

A layer in bfloat16 hands its tensors over as they are. The kernels compute in float32, so numbers
are widened where they are loaded, which is exact, and rounded where results are stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.index import Index
from gatewright.backends.llvm.ir import INT32, Function
from gatewright.backends.llvm.pairs import DROPPED, rounded_half

HALF = ir.IntType(16)
#: Bytes of a bfloat16 number.
LOW_BYTES = 2


@dataclass(frozen=True)
class Elements:
    """Loads and stores of one side of a kernel, in bfloat16 if they are `low`."""

    f: Function
    low: bool = False

    def address(self, base: ir.Value, offset: Index | int) -> ir.Value:
        """The address `offset` numbers after `base`."""
        return self.f.address(base, offset, HALF if self.low else None)

    def load(self, address: ir.Value) -> ir.Value:
        """A vector from memory."""
        n = self.f.numbers
        if not self.low:
            return self.f.load(address)
        halves = ir.VectorType(HALF, n.lanes)
        return self._widened(address, halves, n.vector, self.f.integer_splat(DROPPED))

    def load_scalar(self, address: ir.Value) -> ir.Value:
        """One number from memory."""
        if not self.low:
            return self.f.load_scalar(address)
        return self._widened(address, HALF, self.f.numbers.scalar, ir.Constant(INT32, DROPPED))

    def _widened(
        self, address: ir.Value, halves: ir.Type, result: ir.Type, dropped: ir.Value
    ) -> ir.Value:
        b = self.f.b
        bits = b.zext(self.f.load_of(address, halves), dropped.type)
        return b.bitcast(b.shl(bits, dropped), result)

    def store(self, vector: ir.Value, address: ir.Value) -> None:
        """Write a vector."""
        lanes = self.f.numbers.lanes
        if not self.low:
            self.f.store(vector, address)
            return
        halves = self.f.b.trunc(rounded_half(self.f, vector), ir.VectorType(HALF, lanes))
        self.f.store_of(halves, address, LOW_BYTES * lanes)

    def store_scalar(self, number: ir.Value, address: ir.Value) -> None:
        """Write one number."""
        if not self.low:
            self.f.store_scalar(number, address)
            return
        half = self.f.b.trunc(rounded_half(self.f, number), HALF)
        self.f.store_of(half, address, LOW_BYTES)
