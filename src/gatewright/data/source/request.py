"""What is asked of a reader, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self, get_args

from gatewright.data.columns.missing import Fill
from gatewright.data.columns.number_format import Numerals, numerals_for
from gatewright.data.columns.time_column import zone_of
from gatewright.data.containers.recordings import Recordings
from gatewright.data.containers.series import Series
from gatewright.data.containers.tagged import Tagged
from gatewright.data.containers.text import Text
from gatewright.data.source.open_file import check_encoding
from gatewright.errors import ArgumentError

Task = Literal["forecast", "classify", "tag", "next symbol"]
Unit = Literal["characters", "bytes"]
Names = str | Iterable[str] | None
Data = Series | Recordings | Tagged | Text


@dataclass(frozen=True, slots=True)
class Request:
    """What the user said of the data; see `read` for each. The rest is found."""

    task: Task | None = None
    target: tuple[str, ...] = ()
    time: str | None = None
    id: str | None = None
    label: str | None = None
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    text: Unit = "characters"
    fill: Fill | None = None
    labelled: bool = True
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no choice."""
        for name, given, choices in (
            ("task", self.task, (None, *get_args(Task))),
            ("text", self.text, get_args(Unit)),
            ("fill", self.fill, (None, *get_args(Fill))),
        ):
            if not isinstance(given, str | None) or given not in choices:
                listed = ", ".join(repr(choice) for choice in choices if choice is not None)
                raise ArgumentError(f"{name} is {given!r}; expected one of {listed}")
        for name in ("time", "id", "label"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ArgumentError(f"{name} is {value!r}; give the name of one column")
        numerals_for(self.decimal, self.thousands)
        if self.encoding is not None:
            check_encoding(self.encoding)
        if self.timezone is not None:
            zone_of(self.timezone)

    @property
    def ways(self) -> tuple[Numerals, ...]:
        """The ways of writing numbers that may be in the file."""
        return numerals_for(self.decimal, self.thousands)

    @property
    def form(self) -> dict[str, str]:
        """The options on how the file is written, with which new files are read alike."""
        names = ("decimal", "thousands", "encoding", "timezone")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The columns that were given a role, by role."""
        return {
            "time": as_names(self.time),
            "id": as_names(self.id),
            "label": as_names(self.label),
            "target": self.target,
            "known": self.known,
            "static": self.static,
            "ignore": self.ignore,
        }

    def without_columns(self, source: str, why: str) -> Self:
        """The same, or `ArgumentError` if a column was given a role: the source has none."""
        for role, names in self.columns.items():
            if names:
                raise ArgumentError(f"{role}={names[0]!r} was given, but {source} {why}")
        return self

    def without_marks(self, source: str) -> Self:
        """The same, or `ArgumentError` for marks of numbers or a zone: the source fixes them."""
        for name in ("decimal", "thousands", "timezone"):
            if (value := getattr(self, name)) is not None:
                raise ArgumentError(
                    f"{name}={value!r} was given, but {source} says itself how it is written; "
                    "leave it out"
                )
        return self

    def of_new(self, names: tuple[str, ...]) -> Self:
        """The same; of new data without a label or what is left out, these need not be there."""
        if self.labelled:
            return self
        label = self.label if self.label in names else None
        return replace(self, label=label, ignore=tuple(n for n in self.ignore if n in names))

    def for_tasks(self, source: str, *tasks: Task) -> Self:
        """The same, or `ArgumentError` if a task was asked for that is none of these."""
        if self.task is not None and self.task not in tasks:
            raise ArgumentError(
                f"the task {self.task} does not go with {source}; expected {' or '.join(tasks)}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Roles:
    """The part that each column of a table plays."""

    time: str | None = None
    id: str | None = None
    label: str | None = None
    channels: tuple[str, ...] = ()  # the inputs, targets and known ones among them
    targets: tuple[str, ...] = ()  # () is all channels that are not known
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, what it is for, and how one came to that."""

    data: Data
    task: Task
    why: str  # the rest of "read for the task forecast, because ..."
    source: str  # what messages call it: "sales.csv", "the dataframe"
    notes: tuple[str, ...] = ()  # what else was found, decided or repaired
    test: Recordings | None = None  # a test part of the data's own, to be opened once
    roles: Roles | None = None  # of the columns, where there are any
    # Arguments of `read` for how the file is written, which new files of the kind are read with.
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The one line to print: what it was read as, and why."""
        return f"{self.source}: {self.data!r}, read for the task {self.task}, because {self.why}"


def as_names(given: Names) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    if given is None:
        return ()
    names = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError(f"a column is {name!r}; give its name, a text")
    return names
