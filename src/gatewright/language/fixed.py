"""Fixed weights: matrices and vectors that belong to a cell and are never learned."""

from __future__ import annotations

import base64
import math
import numbers
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gatewright.errors import ArgumentError, CellError, GatewrightError, ModelError, SizeError
from gatewright.language.recorder import AnyCell
from gatewright.language.values import describe
from gatewright.schema import mismatch, typed, typed_fields

Shape = tuple[int, ...]
#: The fields of a table in a stored cell. `values` is base64 of little-endian float64: exact, and
#: 11 bytes for each number, where the digits of JSON take about 20.
TABLE = {"shape": tuple[int, ...], "values": str}


class CellWithGraph(AnyCell, Protocol):
    """The part of a `Cell` that is read which fixed weights need."""

    @property
    def graph(self) -> Any:
        """The graph, with the cell's weights by path."""

    @property
    def fixed(self) -> Mapping[str, Any]:
        """The values that the user gave, by product and source."""

    @property
    def constants(self) -> Mapping[str, Constant]:
        """The fixed weights by path."""


@dataclass(frozen=True)
class Constant:
    """The values of one fixed weight.

    Attributes:
        name: Its name for the user: `A.m`, or the name of a parameter.
        tables: Its numbers by shape, row by row. The values of a cell have one shape; those of
            a stored cell have all shapes that its layers had.
        function: Computes the values from the shape instead: `function(rows, columns)`.
    """

    name: str
    tables: Mapping[Shape, array[float]]
    function: Callable[..., Any] | None = None

    def table(self, shape: Shape) -> array[float]:
        """The numbers of a weight of this shape, row by row.

        Raises:
            SizeError: if it has no values of this shape.
            ArgumentError: if the function fails, or returns anything but finite numbers.
        """
        tables = self.tables if self.function is None else self._computed(shape)
        if shape not in tables:
            known = " or ".join(map(str, tables))
            hint = (
                "return values of the shape that the function is called with"
                if self.function is not None
                else "choose other sizes, or give a function of the shape in `fixed`"
            )
            raise SizeError(
                f"the fixed weight {self.name} has shape {known}; expected {shape}: {hint}"
            )
        return tables[shape]

    def to_json(self, shapes: Iterable[Shape]) -> list[dict[str, Any]]:
        """The values of weights of these shapes."""
        return [{"shape": list(s), "values": _encoded(self.table(s))} for s in shapes]

    def _computed(self, shape: Shape) -> dict[Shape, array[float]]:
        assert self.function is not None
        arguments = ", ".join(map(str, shape))
        call = f"the function of the fixed weight {self.name}, called with ({arguments}),"
        try:
            result = self.function(*shape)
        except GatewrightError:
            raise
        except Exception as error:
            raise ArgumentError(
                f"{call} raised {type(error).__name__}: {error}; expected values of that shape"
            ) from error
        try:
            return _table(result)
        except ValueError as error:
            raise ArgumentError(f"{call} returned {error}; expected finite numbers") from None


def read_fixed(cell: CellWithGraph) -> dict[str, Constant]:
    """The fixed weights of a cell and of the cells in its fields, by the path of the weight.

    Raises:
        CellError: naming the wrong entry, and the products and sources of the cell.
    """
    weights = [weight for weight in cell.graph.weights.values() if weight.role != "bias"]
    constants = {
        path: constant for path, constant in _inherited(cell) if path in cell.graph.weights
    }
    products: dict[str, dict[str, str]] = {}
    for weight in weights:
        products.setdefault(weight.product, {})[weight.source] = weight.path
    fixed: Any = cell.fixed
    if not isinstance(fixed, Mapping):
        raise _refusal(cell, f"fixed is {describe(fixed)}", _form(products))
    for product, entry in fixed.items():
        if product not in products:
            known = ", ".join(products)
            raise _refusal(
                cell,
                f"fixed names {product!r}, which is not a product or parameter of the cell",
                f"the products and parameters are {known}; name one in its equation: "
                "linear(m, name='A')",
            )
        paths = products[product]
        if list(paths) == [""]:  # a parameter, which has no sources
            constants[paths[""]] = _constant(cell, product, entry)
            continue
        if not isinstance(entry, Mapping):
            raise _refusal(cell, f"fixed[{product!r}] is {describe(entry)}", _form(products))
        for source, values in entry.items():
            if source not in paths:
                raise _refusal(
                    cell,
                    f"fixed[{product!r}] names {source!r}, which {product} does not read",
                    f"the sources of {product} are {', '.join(paths)}",
                )
            constants[paths[source]] = _constant(cell, f"{product}.{source}", values)
    return constants


def _inherited(cell: CellWithGraph) -> Iterator[tuple[str, Constant]]:
    """The fixed weights of the cells in the fields, by their path in the outer cell."""
    for name, value in cell.fields().items():
        several = isinstance(value, tuple | list)
        parts = enumerate(value) if several else [(None, value)]
        for index, inner in parts:
            prefix = f"{name}.{index}." if several else f"{name}."
            for path, constant in getattr(inner, "constants", {}).items():
                yield prefix + path, replace(constant, name=prefix + constant.name)


def _constant(cell: CellWithGraph, name: str, values: Any) -> Constant:
    if callable(values):
        return Constant(name, {}, values)
    try:
        return Constant(name, _table(values))
    except ValueError as error:
        raise _refusal(
            cell,
            f"the fixed weight {name} is {error}",
            "give finite numbers as nested lists, an array or a tensor, or a function that "
            "computes them from the shape",
        ) from None


def _form(products: Mapping[str, Mapping[str, str]]) -> str:
    product, paths = next(iter(products.items()), ("A", {"m": ""}))
    source = next(iter(paths))
    entry = f"{{{source!r}: values}}" if source else "values"
    return f"write fixed = {{{product!r}: {entry}}}"


def _refusal(cell: CellWithGraph, fact: str, hint: str) -> CellError:
    return CellError(fact, cell=type(cell).__name__, hint=hint)


def _table(values: Any) -> dict[Shape, array[float]]:
    """Nested rows of numbers as a flat table, by their shape.

    Raises:
        ValueError: with a description of values that are not a table of finite numbers.
    """
    # Arrays and tensors of any library; every float32 is exact as a Python float.
    nested = values.tolist() if hasattr(values, "tolist") else values
    shape: list[int] = []
    level = nested
    while isinstance(level, tuple | list):
        if not level:
            raise ValueError("empty")
        shape.append(len(level))
        level = level[0]
    if not shape:
        raise ValueError(describe(values))
    table = array("d")
    _flatten(nested, shape, table)
    if not all(map(math.isfinite, table)):
        raise ValueError("not finite: it has NaN, infinity, or a number beyond float64")
    return {tuple(shape): table}


def _flatten(nested: Any, shape: list[int], table: array[float]) -> None:
    if not shape:
        if not isinstance(nested, numbers.Real):
            raise ValueError(f"a table with {describe(nested)} in it")
        try:
            table.append(float(nested))
        except OverflowError:  # an int beyond float64
            table.append(math.inf)
        return
    if not isinstance(nested, tuple | list) or len(nested) != shape[0]:
        raise ValueError("a table whose rows differ in length")
    if len(shape) == 1 and set(map(type, nested)) == {float}:
        table.extend(nested)  # one by one, a million numbers take more than a second
        return
    for row in nested:
        _flatten(row, shape[1:], table)


# JSON, for model directories and for training processes.
def to_json(
    cell: CellWithGraph, sizes: Iterable[Mapping[str, int]]
) -> dict[str, list[dict[str, Any]]]:
    """The values of a cell's fixed weights in layers of these sizes, without its functions."""
    all_sizes = list(sizes)
    weights = cell.graph.weights
    return {
        path: constant.to_json(dict.fromkeys(weights[path].numbers(entry) for entry in all_sizes))
        for path, constant in cell.constants.items()
    }


def from_json(stored: Any, cell: CellWithGraph, path: str) -> dict[str, Constant]:
    """Restore the fixed weights that `to_json` wrote; `path` is their place, for messages.

    Raises:
        ModelError: if anything is missing or of the wrong type.
    """
    constants = {}
    for name, entries in typed(stored, dict[str, list[Any]], path).items():
        place = f"{path}.{name}"
        weight = cell.graph.weights.get(name)
        if weight is None or weight.role == "bias":
            raise mismatch(place, name, "the path of a weight of the cell")
        tables = dict(_decoded(entry, f"{place}[{index}]") for index, entry in enumerate(entries))
        title = f"{weight.product}.{weight.source}" if weight.source else weight.product
        constants[name] = Constant(title, tables)
    return constants


def _encoded(table: array[float]) -> str:
    return base64.b64encode(_little_endian(table).tobytes()).decode()


def _decoded(entry: Any, path: str) -> tuple[Shape, array[float]]:
    fields = typed_fields(entry, TABLE, path)
    shape = tuple(fields["shape"])
    table = array("d")
    try:
        table.frombytes(base64.b64decode(fields["values"], validate=True))
    except ValueError as error:  # also binascii.Error
        raise ModelError(f"{path}.values is not base64 of float64 ({error})") from None
    table = _little_endian(table)
    if min(shape, default=0) < 1 or math.prod(shape) != len(table):
        raise ModelError(f"{path} has {len(table)} values; its shape is {shape}")
    if not all(map(math.isfinite, table)):
        raise ModelError(f"{path}.values has numbers that are not finite")
    return shape, table


def _little_endian(table: array[float]) -> array[float]:
    """Convert between the byte order of this machine and that of the file."""
    if sys.byteorder == "big":
        table = array("d", table)
        table.byteswap()
    return table
