"""The space that is searched: fields of `Recipe` and `Design`, cells, sizes and windows.

The type of a field decides whether it is a whole number; `RANGES` has what is searched, and why
there. A range is widened where the task's own setting, which is the first trial, is outside of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

from gatewright.designs.design import DESIGNS, Design
from gatewright.errors import ArgumentError
from gatewright.names import did_you_mean
from gatewright.schema import stored_hints
from gatewright.tasks.forecast.base.rolling import MIN_WINDOWS
from gatewright.tasks.task import Task
from gatewright.training.long_sequences import chunk_problem
from gatewright.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; `log` draws them evenly by their factors."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """One of some values, which have no order."""

    values: tuple[Any, ...]


Dimension = Range | Choices

# Greff et al. 2017 (arXiv:1503.04069) drew 5400 random LSTMs. The learning rate made more than two
# thirds of the difference between them; after it came the size, of 20 to 200 units, drawn evenly by
# its factors. Noise on the input, with deviations of 0 to 1, mattered little.
RANGES: Mapping[str, Range] = MappingProxyType(
    {
        # Around Adam's default of 1e-3 (Kingma and Ba 2015) and the recipes' 3e-3 and 5e-3.
        "learning_rate": Range(3e-4, 3e-2, log=True),
        # Apart from the gradient, as in Loshchilov and Hutter 2019; the recipes use 0.01 and 0.1.
        "weight_decay": Range(1e-4, 0.3, log=True),
        # Srivastava et al. 2014, section 7.3: flat from 20 to 60 % of the units dropped.
        "dropout": Range(0.0, 0.5),
        "noise": Range(0.0, 0.6),
        "hidden_size": Range(16, 200, log=True),
        # Reimers and Gurevych 2017 (arXiv:1707.06799) compared one to three; two did best.
        "layers": Range(1, 3),
        # Between layers, which only networks with several have; Zaremba et al. 2014
        # (arXiv:1409.2329) took none for small networks and 0.5 for larger ones.
        "layer_dropout": Range(0.0, 0.5),
        # Masters and Luschi 2018 (arXiv:1804.07612): 32 rows or fewer did best.
        "batch_size": Range(8, 64, log=True),
        # Pascanu et al. 2013 (arXiv:1211.5063): half to ten times the usual norm, with little
        # difference between them.
        "clip": Range(0.25, 4.0, log=True),
    }
)
#: Windows that are tried, as shares of the task's own.
WINDOW_SHARES = (0.5, 1.0, 2.0, 4.0)
#: What is searched unless the user names something: each further dimension costs trials.
USUAL = (
    "cell",
    "hidden_size",
    "learning_rate",
    "weight_decay",
    "dropout",
    "noise",
    "design",
    "layers",
    "layer_dropout",
    "window",
)
#: Everything that can be searched.
NAMES = (*dict.fromkeys((*USUAL, *RANGES)),)
#: Designs that are tried, by task; the others have one way to be read.
SHAPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"classify": ("plain", "both-ways", "convolutional"), "tag": ("plain", "both-ways")}
)
#: The fields of a design among the names, where they are called otherwise.
IN_DESIGN: Mapping[str, str] = MappingProxyType({"layers": "layers", "layer_dropout": "dropout"})


class Draws(Protocol):
    """The part of Optuna's trial that a space needs."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """One point of the space."""

    cell: str
    hidden_size: int
    recipe: Recipe
    window: int | None  # of a forecast; None for other tasks


@dataclass(frozen=True, slots=True)
class Space:
    """Settings that are searched around a start.

    Attributes:
        start: The settings of the first trial, and of all that is not searched.
        dimensions: By name, from `NAMES`.
    """

    start: Settings
    dimensions: Mapping[str, Dimension]

    def first(self) -> dict[str, Any]:
        """The point of the start."""
        return {name: _value(self.start, name) for name in self._asked_at(self.start)}

    def draw(self, trial: Draws) -> Settings:
        """Let a trial choose a point."""
        settings = self.start
        for name, dimension in self.dimensions.items():
            if _is_there(name, settings):
                settings = _with(settings, name, self._suggest(trial, name, dimension))
        return settings

    def _asked_at(self, settings: Settings) -> list[str]:
        return [name for name in self.dimensions if _is_there(name, settings)]

    @staticmethod
    def _suggest(trial: Draws, name: str, dimension: Dimension) -> Any:
        if isinstance(dimension, Choices):
            return trial.suggest_categorical(name, dimension.values)
        if _is_whole(name):
            low, high = int(dimension.low), int(dimension.high)
            return trial.suggest_int(name, low, high, log=dimension.log)
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def make_space(
    task: Task,
    start: Settings,
    cells: Sequence[str],
    windows: Iterable[int],
    search: Sequence[str] | None,
) -> Space:
    """The space for a task: what is asked for and makes sense there.

    Args:
        cells: Cells to choose from.
        windows: Windows that the data are long enough for.
        search: Names from `NAMES`; None for the usual ones.

    Raises:
        ArgumentError: if a name is not known, or cannot be searched for this task.
    """
    possible: dict[str, Dimension] = {
        "cell": Choices(tuple(cells)),
        "design": Choices(_shapes(task, start.recipe.chunk)),
        "window": Choices(tuple(windows)),
        **RANGES,
    }
    if task.symbols is not None:
        del possible["noise"]  # there is nothing to add it to
    dimensions = {}
    for name in USUAL if search is None else search:
        if name not in NAMES:
            nearest = did_you_mean(name, NAMES)
            raise ArgumentError(f"search names {name!r}; {nearest}there are: {', '.join(NAMES)}")
        dimension = possible.get(name)
        if isinstance(dimension, Choices) and len(dimension.values) < 2:
            dimension = None
        if dimension is not None:
            dimensions[name] = dimension
        elif search is not None:
            raise ArgumentError(
                f"search names {name!r}, which has no two values for the task {task.kind} with "
                "these data and cells; leave it out"
            )
    # What decides on others is drawn first.
    order = sorted(dimensions, key=lambda name: NAMES.index(name))
    return Space(start, {name: _widened(start, name, dimensions[name]) for name in order})


def _shapes(task: Task, chunk: int | None) -> tuple[str, ...]:
    """The designs to try, without those that cannot be read or learn in chunks."""
    return tuple(
        name
        for name in SHAPES.get(task.kind, ())
        if not (task.design_problem(DESIGNS[name]) or chunk_problem(DESIGNS[name], chunk))
    )


def _widened(start: Settings, name: str, dimension: Dimension) -> Dimension:
    """A dimension that the start is part of."""
    value = _value(start, name)
    if isinstance(dimension, Choices):
        return dimension if value in dimension.values else Choices((value, *dimension.values))
    return replace(dimension, low=min(dimension.low, value), high=max(dimension.high, value))


def _is_there(name: str, settings: Settings) -> bool:
    return name != "layer_dropout" or settings.recipe.design.layers > 1


def _is_whole(name: str) -> bool:
    """Tell if a range is of whole numbers, as the field that it sets."""
    if name in IN_DESIGN:
        return bool(stored_hints(Design)[IN_DESIGN[name]] is int)
    return name == "hidden_size" or stored_hints(Recipe)[name] is int


def _value(settings: Settings, name: str) -> Any:
    recipe = settings.recipe
    if name in ("cell", "hidden_size", "window"):
        return getattr(settings, name)
    if name == "design":
        return _name_of(recipe.design)
    if name in IN_DESIGN:
        return getattr(recipe.design, IN_DESIGN[name])
    return getattr(recipe, name)


def _with(settings: Settings, name: str, value: Any) -> Settings:
    recipe = settings.recipe
    if name in ("cell", "hidden_size", "window"):
        changes: dict[str, Any] = {name: value}
        return replace(settings, **changes)
    if name == "design":
        own = recipe.design
        design = replace(DESIGNS[value], layers=own.layers, dropout=own.dropout)
        return replace(settings, recipe=replace(recipe, design=design))
    if name in IN_DESIGN:
        changes = {IN_DESIGN[name]: value}
        return replace(settings, recipe=replace(recipe, design=replace(recipe.design, **changes)))
    changes = {name: value}
    return replace(settings, recipe=replace(recipe, **changes))


def _name_of(design: Design) -> str:
    """The name of a design, whatever its layers."""
    for name, own in DESIGNS.items():
        if replace(own, layers=design.layers, dropout=design.dropout) == design:
            return name
    return "plain"


def windows_for(task: Any, training: Any, validation: float) -> list[int]:
    """The windows to try for a forecast; none for other tasks.

    Args:
        training: The training part, which a share `validation` is split off of.
    """
    own = getattr(task, "window", None)
    if own is None:
        return []
    # As for `with_longer_window`: some windows are left to learn from.
    most = int((1 - validation) * training.lengths.min()) - task.horizon - MIN_WINDOWS
    windows = [max(round(share * own), 1) for share in WINDOW_SHARES]
    return [window for window in windows if window <= max(own, most)]
