"""The rounding of the sources of products, which bfloat16 and int8 each do in their own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from llvmlite import ir

from gatewright.backends.llvm.ir import Numbers
from gatewright.schedule.loop import Nest
from gatewright.schedule.slots import Plan


class Slotted(Protocol):
    """A source with a slot of its own in a kernel's table."""

    @property
    def slot(self) -> int:
        """The first of its slots."""


Source = TypeVar("Source", bound=Slotted)


class RoundingPlan(ABC, Generic[Source]):
    """The sources that a kernel rounds.

    Attributes:
        sources: The sources that each nest is the first to multiply.
    """

    sources: dict[Nest, list[Source]]

    def emit_roundings(
        self, module: ir.Module, name: str, plan: Plan, numbers: Numbers
    ) -> dict[Nest, list[ir.Function]]:
        """Emit the rounding of the sources, by the nest that is the first to multiply them."""
        return {
            nest: [
                self.emit_rounding(module, f"{name}_rounded_{source.slot}", plan, source, numbers)
                for source in sources
            ]
            for nest, sources in self.sources.items()
        }

    @abstractmethod
    def emit_rounding(
        self, module: ir.Module, name: str, plan: Plan, source: Source, numbers: Numbers
    ) -> ir.Function:
        """Emit `(table, offset, first row, end row)`, which rounds the rows of a source."""
