"""Tables: the numbers and addresses that a call of a kernel reads.

A subclass of `KernelTable` lists the slots of one kernel's table, in order. The emitter loads
them into values of the emitted code, and the call list fills them with spans and numbers, so
both sides read the same list.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Generic, Self, TypeVar

from llvmlite import ir

from gatewright.backends.llvm.index import Index
from gatewright.backends.llvm.ir import Function

#: An address and an integer of the emitted code; or a span of memory and an `int`, to fill with.
Pointer = TypeVar("Pointer")
Number = TypeVar("Number")


@dataclass(frozen=True)
class KernelTable(Generic[Pointer, Number]):
    """The slots of a table, one a field; each is declared a `Pointer` or a `Number`."""

    @classmethod
    def load(cls, f: Function, table: ir.Value, first: Index | int = 0) -> Self:
        """Emit the loads of all slots, which begin at slot `first` of the table."""
        values = []
        for number, field in enumerate(fields(cls)):
            slot = first + number if number else first
            load = f.load_pointer if field.type == "Pointer" else f.load_index
            values.append(load(table, slot))
        return cls(*values)

    @classmethod
    def slot(cls, name: str) -> int:
        """The slot of a field."""
        return [field.name for field in fields(cls)].index(name)

    @classmethod
    def size(cls) -> int:
        """The number of slots."""
        return len(fields(cls))

    @property
    def entries(self) -> list[Pointer | Number]:
        """The values of all slots, in order."""
        return [getattr(self, field.name) for field in fields(self)]
