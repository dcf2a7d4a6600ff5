"""The options of reading, and its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

from gatewright.data.columns.missing import Fill
from gatewright.data.columns.number_format import NumberFormat, number_formats_for
from gatewright.data.columns.time_format import zone_of
from gatewright.data.containers.recordings import Recordings
from gatewright.data.containers.series import Series
from gatewright.data.containers.tagged import Tagged
from gatewright.data.containers.text import Text
from gatewright.data.source.encoding import check_encoding
from gatewright.errors import ArgumentError
from gatewright.names import did_you_mean

TaskName = Literal["forecast", "classify", "tag", "next symbol"]
Unit = Literal["characters", "bytes", "pairs"]
Names = str | Iterable[str] | None
Data = Series | Recordings | Tagged | Text


class NoColumns(ArgumentError):
    """A column was named, and the source has none."""

    def __init__(self, role: str, name: str, source: str, why: str) -> None:
        super().__init__(role, name, source, why)
        self.role, self.name, self.source, self.why = role, name, source, why

    def __str__(self) -> str:
        return f"{self.role}={self.name!r} was given, but {self.source} {self.why}; leave it out"


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `read`, which documents them. What they leave open is found in the data."""

    task: TaskName | None = None
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
    #: Columns of new data in which a model reads numbers: anything else in them is refused, where
    #: the column would otherwise be left out.
    numbers: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        target: Names = None,
        known: Names = (),
        static: Names = (),
        ignore: Names = (),
        **options: Any,
    ) -> Self:
        """The request of arguments of `read`."""
        return cls(
            target=as_names(target),
            known=as_names(known),
            static=as_names(static),
            ignore=as_names(ignore),
            **options,
        )

    def __post_init__(self) -> None:
        """Refuse values that an option does not have."""
        for name, value, choices in (
            ("task", self.task, (None, *get_args(TaskName))),
            ("text", self.text, get_args(Unit)),
            ("fill", self.fill, (None, *get_args(Fill))),
        ):
            if not isinstance(value, str | None) or value not in choices:
                listed = ", ".join(repr(choice) for choice in choices if choice is not None)
                nearest = did_you_mean(str(value), filter(None, choices))
                raise ArgumentError(f"{name} is {value!r}; {nearest}expected one of {listed}")
        for name in ("time", "id", "label"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ArgumentError(f"{name} is {value!r}; expected the name of one column")
        number_formats_for(self.decimal, self.thousands)
        if self.encoding is not None:
            check_encoding(self.encoding)
        if self.timezone is not None:
            zone_of(self.timezone)

    @property
    def number_formats(self) -> tuple[NumberFormat, ...]:
        """The number formats that the options allow."""
        return number_formats_for(self.decimal, self.thousands)

    @property
    def form(self) -> dict[str, str]:
        """The options on how the file is written, needed to read later files in the same way."""
        names = ("decimal", "thousands", "encoding", "timezone")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The columns of each role that the user stated."""
        return {
            "time": as_names(self.time),
            "id": as_names(self.id),
            "label": as_names(self.label),
            "target": self.target,
            "known": self.known,
            "static": self.static,
            "ignore": self.ignore,
        }

    @property
    def stated(self) -> frozenset[str]:
        """The columns to which the user gave a role."""
        return frozenset(name for names in self.columns.values() for name in names)

    def without_columns(self, source: str, why: str) -> Self:
        """Return the request, or raise `NoColumns` if it names a column: the source has none.

        `why` is the end of the message: "is a text, which has no columns".
        """
        for role, names in self.columns.items():
            if names:
                raise NoColumns(role, names[0], source, why)
        return self

    def without_marks(self, source: str) -> Self:
        """Return the request, or raise `ArgumentError` for marks or a zone: they are fixed."""
        for name in ("decimal", "thousands", "timezone"):
            if (value := getattr(self, name)) is not None:
                raise ArgumentError(
                    f"{name}={value!r} was given, but {source} has a fixed format; leave it out"
                )
        return self

    def for_columns(self, names: tuple[str, ...]) -> Self:
        """Return the request for a table with these columns.

        New data (`labelled` is False) may lack the label and the ignored columns.
        """
        if self.labelled:
            return self
        label = self.label if self.label in names else None
        ignore = tuple(name for name in self.ignore if name in names)
        return replace(self, label=label, ignore=ignore)

    def for_tasks(self, source: str, *tasks: TaskName) -> Self:
        """Return the request, or raise `ArgumentError` if its task is not among these."""
        if self.task is not None and self.task not in tasks:
            raise ArgumentError(
                f"the task {self.task} does not go with {source}; expected {' or '.join(tasks)}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Roles:
    """The role of each column of a table."""

    time: str | None = None
    id: str | None = None
    label: str | None = None
    channels: tuple[str, ...] = ()  # the inputs, including the targets and the known channels
    targets: tuple[str, ...] = ()  # () means all channels that are not known
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading: the data, the task they are for, and the reasons."""

    data: Data
    task: TaskName
    why: str  # the end of "read for the task forecast, because ..."
    source: str  # the name in messages: "sales.csv", "the dataframe"
    notes: tuple[str, ...] = ()  # what was detected, decided or repaired on the way
    filled: tuple[str, ...] = ()  # of these notes, those on values that the data do not have
    test: Recordings | None = None  # the test part that the data set comes with, to use once
    roles: Roles | None = None  # of the columns of a table
    # Arguments of `read` with which later files of this kind are read in the same way.
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line for the user: the data, the task and the reason for it."""
        return f"{self.source}: {self.data!r}, read for the task {self.task}, because {self.why}"


def as_names(names: Names) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    if names is None:
        return ()
    if isinstance(names, str) or not isinstance(names, Iterable):
        names = (names,)
    checked = tuple(names)
    for name in checked:
        if not isinstance(name, str):
            raise ArgumentError(f"a column is {name!r}; expected its name, a text")
    return checked
