"""A builder whose frequent instructions are text from the start.

A kernel has some ten thousand instructions, and most of them are of a few kinds. llvmlite makes
an object of each, and writes its text later; that took longer than LLVM's own work on a kernel
without optimisation. So these kinds are written at once. LLVM checks the types when it reads
the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

VOID = ir.VoidType()


class Instruction(ir.Value):  # type: ignore[misc]  # llvmlite has no annotations
    """An instruction and its result.

    Attributes:
        type: The type of the result.
        name: The result's name in the text.
        text: The instruction.
    """

    __slots__ = ("name", "origin", "text", "type")

    def __init__(self, kind: ir.Type, name: str, text: str) -> None:
        self.type, self.name, self.text = kind, name, text

    def get_reference(self) -> str:
        """The result's name, as operand of another instruction."""
        return self.name

    def __str__(self) -> str:
        return self.text


class Builder(ir.IRBuilder):  # type: ignore[misc]
    """llvmlite's builder, with a faster way to write the instructions that kernels consist of."""

    def __init__(self, block: ir.Block) -> None:
        super().__init__(block)
        self.count = 0

    def write(self, kind: ir.Type, text: str) -> Instruction:
        """Append an instruction with a result of this type."""
        if kind == VOID:
            line = Instruction(kind, "", text)
        else:
            self.count += 1
            name = f"%t{self.count}"
            line = Instruction(kind, name, f"{name} = {text}")
        self._block.instructions.insert(self._anchor, line)
        self._anchor += 1
        return line

    def add(
        self, lhs: ir.Value, rhs: ir.Value, name: str = "", flags: Sequence[str] = ()
    ) -> Instruction:
        """A sum of integers."""
        kind = lhs.type
        return self.write(kind, f"add {kind} {lhs.get_reference()}, {rhs.get_reference()}")

    def mul(
        self, lhs: ir.Value, rhs: ir.Value, name: str = "", flags: Sequence[str] = ()
    ) -> Instruction:
        """A product of integers."""
        kind = lhs.type
        return self.write(kind, f"mul {kind} {lhs.get_reference()}, {rhs.get_reference()}")

    def gep(
        self,
        ptr: ir.Value,
        indices: Sequence[ir.Value],
        inbounds: bool = False,
        name: str = "",
        source_etype: ir.Type | None = None,
    ) -> ir.Value:
        """The address of an element."""
        if source_etype is None:
            return super().gep(ptr, indices, inbounds, name)
        within = " inbounds" if inbounds else ""
        (index,) = indices
        return self.write(
            ptr.type,
            f"getelementptr{within} {source_etype}, ptr {ptr.get_reference()}, "
            f"{index.type} {index.get_reference()}",
        )

    def load(
        self,
        ptr: ir.Value,
        name: str = "",
        align: int | None = None,
        typ: ir.Type | None = None,
    ) -> ir.Value:
        """A value from memory."""
        aligned = "" if align is None else f", align {align}"
        return self.write(typ, f"load {typ}, ptr {ptr.get_reference()}{aligned}")

    def insert_element(
        self, vector: ir.Value, value: ir.Value, idx: ir.Value, name: str = ""
    ) -> Instruction:
        """A vector with another number in a lane."""
        return self.write(
            vector.type,
            f"insertelement {vector.type} {vector.get_reference()}, "
            f"{value.type} {value.get_reference()}, {idx.type} {idx.get_reference()}",
        )

    def shuffle_vector(
        self, vector1: ir.Value, vector2: ir.Value, mask: ir.Value, name: str = ""
    ) -> Instruction:
        """A vector of the lanes of two vectors that a mask names."""
        kind = vector1.type
        result = ir.VectorType(kind.element, mask.type.count)
        return self.write(
            result,
            f"shufflevector {kind} {vector1.get_reference()}, "
            f"{kind} {vector2.get_reference()}, {mask.type} {mask.get_reference()}",
        )

    def call(
        self, fn: ir.Value, args: Sequence[ir.Value], name: str = "", **options: Any
    ) -> ir.Value:
        """A call of a function."""
        kind = fn.function_type.return_type
        if options:
            return super().call(fn, args, name, **options)
        operands = ", ".join([f"{arg.type} {arg.get_reference()}" for arg in args])
        return self.write(kind, f"call {kind} {fn.get_reference()}({operands})")
