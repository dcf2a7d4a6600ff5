"""What a benchmark found: kept as JSON, shown as a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.bench.machine import machine
from gatewright.bench.timing import mean_ratio, ratio
from gatewright.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

#: Raised by one whenever the stored form changes.
FORMAT = 2


@dataclass
class Results:
    """The rows of the grid.

    Attributes:
        settings: What was asked for.
        roofs: The machine's roof for each number of threads.
        rows: One for each pair that was timed: the seconds are pairs (ours, peer).
        left_out: Pairs that do not exist here, each with the reason.
        wrong: Pairs that do not compute the same, and were not timed.
    """

    settings: dict[str, Any]
    what: str = "layers"
    machine: dict[str, Any] = field(default_factory=machine)
    roofs: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    page: str = ""  # no pictures

    def add(self, kind: str, found: dict[str, Any]) -> None:
        """Take one line of a worker."""
        places = {
            "roof": self.roofs,
            "row": self.rows,
            "left_out": self.left_out,
            "wrong": self.wrong,
        }
        places[kind].append(found)

    def to_json(self) -> dict[str, Any]:
        """All of it, the raw times included."""
        return {
            "format": FORMAT,
            "what": self.what,
            "machine": self.machine,
            "settings": self.settings,
            "roofs": self.roofs,
            "rows": self.rows,
            "left_out": self.left_out,
            "wrong": self.wrong,
            "means": [
                {**key, "points": points, "ratio": mean.value, "low": mean.low, "high": mean.high}
                for key, points, mean in self.means()
            ],
        }

    def means(self) -> list[tuple[dict[str, Any], int, Any]]:
        """The geometric mean over the sizes of each cell, peer, run and number of threads."""
        groups: dict[tuple[Any, ...], list[Any]] = {}
        for row in self.rows:
            key = (row["cell"], row["peer"], row["run"], row["threads"])
            groups.setdefault(key, []).append(row["seconds"])
        names = ("cell", "peer", "run", "threads")
        return [
            (dict(zip(names, key, strict=True)), len(points), mean_ratio(points))
            for key, points in groups.items()
        ]

    def shown(self) -> Group:
        """Tables for people: each point, the means over the sizes, what is not there."""
        from rich.console import Group

        return Group(*self.points(), self.summary(), *self.notes())

    def points(self) -> Iterator[Table]:
        """Each pair, a table with a line for each size."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        tables: dict[str, Table] = {}
        for row in self.rows:
            threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
            title = f"{row['cell']} beside {row['peer']}, {row['run']}, {threads}"
            if title not in tables:
                tables[title] = Table("(B, T, I, H)", title=title, box=SIMPLE_HEAD)
                for heading in ("ours, ms", "peer, ms", "ratio (95 %)", "of the roof"):
                    tables[title].add_column(heading, justify="right", no_wrap=True)
            ours, peer = (statistics.median(one) for one in zip(*row["seconds"], strict=True))
            tables[title].add_row(
                "{}, {}, {}, {}".format(*row["size"]),
                f"{1e3 * ours:.3f}",
                f"{1e3 * peer:.3f}",
                str(ratio(row["seconds"])),
                f"{100 * row['least'] / ours:.0f} %",
            )
        yield from tables.values()

    def summary(self) -> Table:
        """The means over the sizes."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        title = "Geometric means of the peer's time divided by ours: above 1, Gatewright is faster"
        table = Table(title=title, box=SIMPLE_HEAD)
        for title in ("cell", "peer", "run", "threads", "sizes", "ratio (95 %)"):
            table.add_column(title)
        for key, points, mean in self.means():
            table.add_row(*(str(one) for one in key.values()), str(points), str(mean))
        return table

    def notes(self) -> list[str]:
        """The machine, what was left out and why, and what is wrong."""
        lines = [f"{self.machine['cpu']}, {self.machine['cores']} cores"]
        for one in self.roofs:
            lines.append(
                f"roof of {one['threads']} thread(s): {one['operations'] / 1e9:.0f} GFLOP/s, "
                f"{one['copied'][-1][1] / 1e9:.0f} GB/s from memory"
            )
        without: dict[tuple[str, str], list[str]] = {}
        for one in self.left_out:
            cells = without.setdefault((one["peer"], one["reason"]), [])
            if one["cell"] not in cells:
                cells.append(one["cell"])
        lines += [
            f"not against {peer}: {', '.join(cells)}: {reason}"
            for (peer, reason), cells in without.items()
        ]
        return lines + [f"WRONG, not timed: {one['reason']}" for one in self.wrong]


def keep(found: dict[str, Any], directory: Path, name: str) -> Path:
    """Write what was found as a new file of a directory, named by what it is and the time.

    Raises:
        ArgumentError: if it cannot be written there.
    """
    path = directory / f"{name}-{datetime.now():%Y%m%d-%H%M%S}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            json.dump(found, file)
            file.write("\n")
    except OSError as error:
        raise ArgumentError(f"cannot write {path}: {error.strerror}; name another --out") from None
    return path


def parse_sizes(text: str) -> list[tuple[int, int, int, int]]:
    """Sizes as the command line is given them: `32x100x64x64,1x100x64x64`.

    Raises:
        ArgumentError: naming the part that is none.
    """
    found = []
    for part in text.split(","):
        numbers: Sequence[str] = part.strip().split("x")
        if len(numbers) != 4 or not all(one.isdecimal() and int(one) > 0 for one in numbers):
            raise ArgumentError(
                f"{part.strip()!r} is no size; give batch, time, input and hidden size, "
                "as in 32x100x64x64"
            )
        b, t, i, h = map(int, numbers)
        found.append((b, t, i, h))
    return found
