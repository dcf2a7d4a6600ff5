"""Products in int8: the arithmetic that every printer of a step repeats, to the last integer.

A product `W source` becomes a sum of products of integers from -127 to 127, and one multiplication:

    W[k, j]    = scale[k] * code[k, j]     scale[k] = max |W[k]| / 127
    source[j]  = step * code[j]            step = peak / 127
    y[k]       = (scale[k] * step) * sum_j code[k, j] * code[j]

The peak of a source that always lies within -1 and 1 (`graph/ranges.py`) is 1: the row's own
largest value would make the error of an LSTM's output 0.61 % instead of 0.72 %, a GRU's 0.60 %
instead of 0.62 % (64 units, fresh weights), and take a division at each step, which small
processors do slowly. Any other source, an event for example, has the peak of its own row at each
step, its largest absolute value. So nothing is calibrated: a stored range of the training data
would clip what lies outside, and its steps would be as wide for the quiet parts of a stream as for
the loudest. The pass over the row that this takes is short next to the product, which reads the
row once for each unit.

Codes are rounded to even. The sums are exact. Everything else is float32, as are the states.
A source row that holds a NaN or an infinity has the step NaN, and makes its products NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gatewright.errors import SizeError
from gatewright.graph import Graph, Term
from gatewright.graph.ranges import within_one
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS
from gatewright.language.node import closure

#: The largest code.
LARGEST_CODE = 127
#: The least peak of a row: that of a row of zeros, whose codes are 0 for any peak.
LEAST_PEAK = 1e-30
#: A bounded state may exceed 1 by this much: by rounding it does, by 1e-7.
SLACK = 1e-4
#: Numbers of a source whose sum of products fits into 32 bits: 127 * 127 * 133 143 < 2^31.
MOST_COLUMNS = (2**31 - 1) // LARGEST_CODE**2


@dataclass(frozen=True)
class Int8Matrix:
    """A matrix with a scale for each row.

    Attributes:
        codes: int8, (rows, columns), or (heads, rows, columns).
        scales: float32, (heads * rows,).
    """

    codes: Tensor
    scales: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Int8Matrix:
        """Round a matrix to codes. A row with a number that is not finite has the scale NaN.

        >>> matrix = Int8Matrix.of(torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]))
        >>> matrix.codes.tolist(), matrix.scales.tolist()
        ([[64, -127, 32], [0, 0, 0]], [0.015748031437397003, 0.0])
        """
        matrix = matrix.detach().to("cpu", torch.float32)
        scales = matrix.abs().amax(-1) / LARGEST_CODE
        # A row of zeros, or of numbers too small to divide by their scale, has the codes 0.
        usable = scales.isfinite() & (scales >= torch.finfo(torch.float32).tiny)
        codes = torch.where(usable.unsqueeze(-1), matrix / scales.unsqueeze(-1), 0.0)
        codes = codes.round().clamp(-LARGEST_CODE, LARGEST_CODE).to(torch.int8)
        scales = torch.where(scales.isfinite(), scales, torch.nan)
        return cls(codes, scales.flatten())

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and the scales."""
        return self.codes.nbytes + self.scales.nbytes

    def product(self, source: Tensor, *, bounded: bool) -> Tensor:
        """Multiply each row of a source `(B, K)`; the result is `(B, heads * rows)`."""
        codes, steps = quantise_rows(source, bounded=bounded)
        # The integers are multiplied as float64, which is exact below 2^53, and fast.
        blocks = self.codes.double().reshape(-1, *self.codes.shape[-2:])
        parts = codes.double().unflatten(-1, (len(blocks), -1)).unsqueeze(-2)
        sums = torch.matmul(parts, blocks.transpose(1, 2)).flatten(1)
        return sums.to(torch.float32) * (self.scales * steps)


def largest_number(values: Tensor) -> float:
    """The largest magnitude of some values; a NaN is no number, and hides no other one.

    >>> largest_number(torch.tensor([0.5, -2.0, float("nan")]))
    2.0
    """
    numbers = values.detach().abs()
    numbers = numbers[~numbers.isnan()]
    return float(numbers.max()) if len(numbers) else 0.0


def quantise_rows(source: Tensor, *, bounded: bool) -> tuple[Tensor, Tensor]:
    """Round the rows of a source `(B, K)` to codes `(B, K)` in int8, with the step of each, (B, 1).

    >>> codes, steps = quantise_rows(torch.tensor([[0.5, -1.0]]), bounded=True)
    >>> codes.tolist(), round(1 / float(steps))
    ([[64, -127]], 127)
    >>> codes, steps = quantise_rows(torch.tensor([[5.0, -2.5]]), bounded=False)
    >>> codes.tolist(), float(127 * steps)
    ([[127, -64]], 5.0)
    """
    source = source.to(torch.float32)
    peaks = source.abs().amax(-1, keepdim=True)
    finite = peaks.isfinite()
    peaks = torch.ones_like(peaks) if bounded else peaks.clamp(min=LEAST_PEAK)
    scaled = source.clamp(-peaks, peaks) * (LARGEST_CODE / peaks)
    codes = torch.where(finite, scaled, 0.0).round().to(torch.int8)
    return codes, torch.where(finite, peaks * torch.tensor(1.0 / LARGEST_CODE), torch.nan)


@lru_cache(maxsize=128)
def int8_products(graph: Graph) -> Mapping[Term, bool]:
    """The products of a step that are computed in int8, and whether their source is bounded by 1.

    They are all but those of weights alone, which are computed once.
    """
    bounded, needed = within_one(graph), closure([*graph.updates.values(), graph.output])
    return {
        term: term.operands[0] in bounded
        for term in graph.forward
        if term.op == "product" and term in needed and graph.stages[term] >= INPUTS
    }


def check_columns(graph: Graph, sizes: Mapping[str, int]) -> None:
    """Refuse a source whose sums could exceed 32 bits.

    Raises:
        SizeError: naming the number of columns, and the largest that fits.
    """
    for term in int8_products(graph):
        columns = number(term.operands[0].size, sizes) // term.attributes["heads"]
        if columns > MOST_COLUMNS:
            raise SizeError(
                f"a product has {columns} columns; the sums of int8 fit into 32 bits up to "
                f"{MOST_COLUMNS}: use precision='float32'"
            )
