"""`Cell`, the base class of recurrent cells."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from gatewright.errors import CellError, ModelError, TooLarge
from gatewright.language.equations import Equations
from gatewright.language.fixed import Constant, from_json, read_fixed, to_json
from gatewright.language.functions import Update
from gatewright.language.late_binding import above
from gatewright.language.node import Size
from gatewright.language.printing import latex, text
from gatewright.language.reading import inline, read
from gatewright.language.recorder import RECORDER
from gatewright.language.values import Value


class CellType(type):
    """Read every cell when it is built, so that errors appear there."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        cell = super().__call__(*args, **kwargs)
        if "equations" not in cell.__dict__:
            cell._read()
        return cell


@dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field,))
class Cell(metaclass=CellType):
    """A recurrent cell, written once as a function of its named gates.

    >>> import gatewright as gw
    >>> from gatewright import linear, sigmoid, tanh
    >>> class Leaky(gw.Cell):
    ...     \"\"\"A network whose memory leaks at a learned rate.\"\"\"
    ...     floor: float = 0.1
    ...     def step(self, x, h):
    ...         rate = self.floor + (1 - self.floor) * sigmoid(linear(x))
    ...         h = (1 - rate) * h + rate * tanh(linear(x, h))
    ...         return gw.state(h=h)
    >>> Leaky(floor=0.2)
    Leaky(floor=0.2)

    Subclasses are dataclasses: a typed class attribute is a field, and fields are the
    constants of the cell. `step` takes the event, then the states, then, after `*`, any
    further inputs of each step, and returns `gw.state(...)`. It runs once, on symbolic
    values, when the cell is built.

    Attributes:
        initial: The start of each state, used where no state is passed and at every
            restart: a number (0 by default), -inf, or `gw.parameter()`.
        sizes: Sizes of states and further inputs that cannot be inferred from the
            equations: "hidden", "input" or a number.
        fixed: Weights that are not learned, by product and source, or by the name of a
            parameter: `{"A": {"m": matrix}}`. Each is nested lists, an array, a tensor, or a
            function of its shape, `matrix(rows, columns)`. Make it a property if it depends on
            fields.
        equations: The equations of the step, as data.
        constants: The fixed weights by path, including those of the cells in the fields.
    """

    initial: ClassVar[Mapping[str, Any]] = {}
    sizes: ClassVar[Mapping[str, Size]] = {}
    if TYPE_CHECKING:
        #: One step, from the event and the states to `gw.state(...)`. Each cell defines its own.
        step: ClassVar[Callable[..., Update]]
        equations: Equations
        constants: Mapping[str, Constant]

    @property
    def fixed(self) -> Mapping[str, Any]:
        """Weights that are not learned: a class attribute, or a property that reads fields."""
        return {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        docstring = cls.__dict__.get("__doc__")
        try:
            dataclasses.dataclass(eq=False)(cls)
        except (TypeError, ValueError) as error:
            raise CellError(
                f"its fields cannot be read: {error}",
                cell=cls.__name__,
                hint="a field is a typed constant, such as `floor: float = 0.1`; use a tuple for "
                "several values; write `initial`, `sizes` and `fixed` without a type",
            ) from error
        cls.__doc__ = docstring  # dataclass() writes the signature there if it is missing

    def _read(self) -> None:
        """Read the equations from the step, and the constants from `fixed`."""
        object.__setattr__(self, "equations", read(self))
        _ = self.graph  # raises for sizes that can never fit
        object.__setattr__(self, "constants", read_fixed(self))

    def fields(self) -> dict[str, Any]:
        """The cell's fields and their values."""
        kind: Any = type(self)  # a dataclass, unless it is Cell itself
        names = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    @property
    def graph(self) -> Any:
        """The graph that is compiled: values with their sizes and stages, and the adjoint."""
        if "_graph" not in self.__dict__:
            object.__setattr__(self, "_graph", above("graph")(self.equations))
        return self.__dict__["_graph"]

    def __call__(self, *arguments: Any, values: bool = False, **keyed: Any) -> Any:
        """Compute one step: `cell(x, h, c, weights=...)`.

        Args:
            *arguments: The event `(B, I)` and the states `(B, H)`, or without the batch.
                None as a state means its start.
            values: Return every named value too, as `(states, values)`.
            **keyed: Further inputs, and `weights`: a mapping from the name of a product to
                the result of `layer.weights(product)`, such as
                `{"f": {"x": (W, b), "h": (W, None), "c*": (v, None)}}`.

        Returns:
            The states after the step: a single state as it is, several as a tuple in the
            order of the step.

        In the step of another cell, which has this one as a field, the arguments and the
        results are values of that step.
        """
        recorder = RECORDER.get()
        if recorder is None:
            return above("step")(self, *arguments, values=values, **keyed)
        update = inline(recorder, self, arguments, keyed)
        states = tuple(update.states.values())
        result: Value | tuple[Value, ...] = states[0] if len(states) == 1 else states
        named: dict[str, Value] = {**update.names, **update.states, "output": update.output}
        return (result, named) if values else result

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_change(f"`{name}` was set")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_change(f"`{name}` was deleted")
        super().__delattr__(name)

    def _refuse_change(self, fact: str) -> None:
        recorder = RECORDER.get()
        if recorder is not None and recorder.runs(self):
            raise recorder.error(
                f"{fact} on the cell within its step",
                "use a local name, or a state for a value that the next step needs",
            )
        if "equations" in self.__dict__:
            raise CellError(
                f"{fact} on a cell that is built; its equations have been read",
                cell=type(self).__name__,
                hint="make a new cell: dataclasses.replace(cell, field=value)",
            )

    def __getstate__(self) -> dict[str, Any]:
        derived = ("equations", "constants", "_graph")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._read()

    def __str__(self) -> str:
        return text(self.equations)

    def show(self, names: str = "code") -> None:
        """Print the equations; `names="lesson"` uses the lesson's words (E, STM, LTM)."""
        print(text(self.equations, names=names))

    def latex(self, names: str = "code") -> str:
        """The equations as a LaTeX `aligned` block."""
        return latex(self.equations, names=names)

    def svg(self, **options: Any) -> str:
        """A diagram of the cell, laid out from its graph, as SVG."""
        drawing: str = above("svg")(self, **options)
        return drawing

    def _repr_html_(self) -> str:
        """The equations and the diagram, as a notebook shows a cell."""
        equations = f"<pre>{html.escape(str(self))}</pre>"
        try:
            return equations + self.svg()
        except TooLarge:
            return equations


#: The key of the constants in a stored cell, next to the keys of the equations.
FIXED = "fixed"


class StoredCell(Cell):
    """A cell that was loaded with a saved model: equations and constants, without its class."""

    def __init__(self, equations: Equations) -> None:
        self.__dict__.update(equations=equations, constants={})
        try:
            _ = self.graph
        except CellError as error:
            raise ModelError(f"the stored cell is damaged: {error.fact}") from error

    @classmethod
    def from_json(cls, stored: Any, path: str = "cell") -> StoredCell:
        """Restore what `stored_form` wrote; `path` is its place in a file, for messages.

        Raises:
            ModelError: if it is damaged.
        """
        if not isinstance(stored, dict) or FIXED not in stored:
            return cls(Equations.from_json(stored, path))
        equations = {name: value for name, value in stored.items() if name != FIXED}
        cell = cls(Equations.from_json(equations, path))
        cell.__dict__["constants"] = from_json(stored[FIXED], cell, f"{path}.{FIXED}")
        return cell

    def __getstate__(self) -> dict[str, Any]:
        constants = {path: c.to_json(c.tables) for path, c in self.constants.items()}
        return _with_fixed(self.equations, constants)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(StoredCell.from_json(state).__dict__)

    def __repr__(self) -> str:
        return f"<{self.equations.name}, from a saved model>"


def stored_form(cell: Cell, sizes: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    """A cell in the types of JSON: its equations, and its constants in layers of these sizes.

    `StoredCell.from_json` restores it in any process. The values of functions are stored, not
    the functions.
    """
    return _with_fixed(cell.equations, to_json(cell, sizes))


def _with_fixed(equations: Equations, constants: Mapping[str, Any]) -> dict[str, Any]:
    return equations.to_json() | ({FIXED: constants} if constants else {})
