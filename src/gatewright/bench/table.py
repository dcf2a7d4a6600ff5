"""What a measurement found that is no pair of the grid: rows, a table of them, JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewright.bench.machine import machine
from gatewright.escaping import terminal_text

if TYPE_CHECKING:
    from rich.console import Group

#: A column's title, and how a row's value is written in it.
Column = tuple[str, Callable[[dict[str, Any]], str]]


@dataclass
class Found:
    """Rows of figures.

    Attributes:
        what: "build", "memory", "curves" or "stream".
        title: Of the table.
        columns: Of the table; `rows` hold more than they show.
        notes: What came out, in sentences under the table.
        wrong: Pairs that do not compute the same, and were not timed, each with the reason.
        page: The figures as pictures, in HTML; empty where there are none.
    """

    what: str
    title: str
    columns: Sequence[Column]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=machine)
    page: str = ""

    def to_json(self) -> dict[str, Any]:
        """All rows, with the machine."""
        return {
            "format": 1,
            "what": self.what,
            "machine": self.machine,
            "rows": self.rows,
            "notes": self.notes,
            "wrong": self.wrong,
        }

    def shown(self) -> Group:
        """The table, the notes, the machine."""
        from rich.console import Group
        from rich.table import Table

        table = Table(title=self.title)
        for title, _ in self.columns:
            table.add_column(title, no_wrap=True)
        for row in self.rows:
            table.add_row(*(terminal_text(written(row)) for _, written in self.columns))
        wrong = [f"WRONG, not timed: {one['reason']}" for one in self.wrong]
        return Group(
            table, *self.notes, *wrong, f"{self.machine['cpu']}, {self.machine['cores']} cores"
        )


def text(key: str) -> Column:
    """A column of words."""
    return key, lambda row: str(row[key])


def figure(title: str, key: str, times: float, form: str) -> Column:
    """A column of figures, each times a factor."""
    return title, lambda row: "–" if row.get(key) is None else format(row[key] * times, form)
