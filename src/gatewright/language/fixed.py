"""Fixed weights: matrices and vectors that a cell brings along and that are never learned."""

from __future__ import annotations

import base64
import math
import numbers
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatewright.errors import ArgumentError, CellError, GatewrightError, ModelError, SizeError
from gatewright.language.values import describe
from gatewright.schema import mismatch, typed, typed_fields

if TYPE_CHECKING:
    from gatewright.language.cell import Cell

Shape = tuple[int, ...]
#: The fields of one table in a stored cell. `values` is base64 of little-endian float64: exact, and
#: 11 bytes a number where JSON's digits take about 20.
TABLE = {"shape": tuple[int, ...], "values": str}


@dataclass(frozen=True)
class Constant:
    """The values of one fixed weight.

    Attributes:
        name: What the user calls it: `A.m`, or the name of a parameter.
        tables: Its numbers by shape, row by row. A cell's own values have one shape; a stored
            cell has all those that its layers had.
        function: Computes the values from the shape instead: `function(rows, columns)`.
    """

    name: str
    tables: Mapping[Shape, array[float]]
    function: Callable[..., Any] | None = None

    def at(self, shape: Shape) -> array[float]:
        """The numbers of a weight of this shape, row by row.

        Raises:
            SizeError: if there are none of this shape.
            ArgumentError: if the function fails, or returns anything but finite numbers.
        """
        tables = self.tables if self.function is None else self._computed(shape)
        if shape not in tables:
            known = " or ".join(map(str, tables))
            remedy = (
                "return values of the shape that it is called with"
                if self.function is not None
                else "choose other sizes, or give a function of the shape in `fixed`"
            )
            raise SizeError(
                f"the fixed weight {self.name} has shape {known}; expected {shape}: {remedy}"
            )
        return tables[shape]

    def to_json(self, shapes: Iterable[Shape]) -> list[dict[str, Any]]:
        """The values of weights of these shapes."""
        return [{"shape": list(one), "values": _encoded(self.at(one))} for one in shapes]

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
                f"{call} raised {type(error).__name__}: {error}; expected the values, of that shape"
            ) from error
        try:
            return _table(result)
        except ValueError as error:
            raise ArgumentError(f"{call} returned {error}; expected finite numbers") from None


def read_fixed(cell: Cell) -> dict[str, Constant]:
    """The fixed weights of a cell and of the cells in its fields, by the path of the weight.

    Raises:
        CellError: naming the entry, and the products and sources that there are.
    """
    weights = [one for one in cell.graph.weights.values() if one.role != "bias"]
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
                f"fixed names {product!r}, which is no product or parameter of the cell",
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


def _inherited(cell: Cell) -> Iterator[tuple[str, Constant]]:
    """The fixed weights of the cells in a cell's fields, under the names they have in it."""
    for name, value in cell.fields().items():
        several = isinstance(value, tuple | list)
        parts = enumerate(value) if several else [(None, value)]
        for index, inner in parts:
            prefix = f"{name}.{index}." if several else f"{name}."
            for path, constant in getattr(inner, "constants", {}).items():
                yield prefix + path, replace(constant, name=prefix + constant.name)


def _constant(cell: Cell, name: str, values: Any) -> Constant:
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


def _refusal(cell: Cell, fact: str, hint: str) -> CellError:
    return CellError(fact, cell=type(cell).__name__, hint=hint)


def _table(values: Any) -> dict[Shape, array[float]]:
    """Nested rows of numbers under their shape.

    Raises:
        ValueError: saying what they are instead.
    """
    # Arrays and tensors of any library; a float becomes the same double.
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
        raise ValueError("not finite: it holds NaN, infinity, or a number beyond float64")
    return {tuple(shape): table}


def _flatten(nested: Any, shape: list[int], table: array[float]) -> None:
    if not shape:
        if not isinstance(nested, numbers.Real):
            raise ValueError(f"a table with {describe(nested)} in it")
        try:
            table.append(float(nested))
        except OverflowError:  # a whole number of Python's beyond float64
            table.append(math.inf)
        return
    if not isinstance(nested, tuple | list) or len(nested) != shape[0]:
        raise ValueError("a table whose rows differ in length")
    if len(shape) == 1 and set(map(type, nested)) == {float}:
        table.extend(nested)  # a million numbers one by one take more than a second
        return
    for row in nested:
        _flatten(row, shape[1:], table)


# As JSON: for model directories and for the processes that train.
def to_json(cell: Cell, sizes: Iterable[Mapping[str, int]]) -> dict[str, list[dict[str, Any]]]:
    """The values of a cell's fixed weights in layers of these sizes, so without its functions."""
    places = list(sizes)
    weights = cell.graph.weights
    return {
        path: constant.to_json(dict.fromkeys(weights[path].numbers(one) for one in places))
        for path, constant in cell.constants.items()
    }


def from_json(stored: Any, cell: Cell, path: str) -> dict[str, Constant]:
    """The fixed weights that `to_json` wrote; `path` is their place in a file, for messages.

    Raises:
        ModelError: if anything is missing or of the wrong kind.
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
        raise ModelError(f"{path}.values is no base64 of float64 ({error})") from None
    table = _little_endian(table)
    if min(shape, default=0) < 1 or math.prod(shape) != len(table):
        raise ModelError(f"{path} has {len(table)} values; its shape is {shape}")
    if not all(map(math.isfinite, table)):
        raise ModelError(f"{path}.values holds numbers that are not finite")
    return shape, table


def _little_endian(table: array[float]) -> array[float]:
    """The same between this machine's order of bytes and the file's."""
    if sys.byteorder == "big":
        table = array("d", table)
        table.byteswap()
    return table
