"""The results of the grid, as JSON and as tables."""

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

#: The version of the stored form, raised whenever it changes.
FORMAT = 2


@dataclass
class Results:
    """The rows of the grid.

    Attributes:
        settings: The arguments of the benchmark.
        roofs: The machine's roof for each number of threads.
        rows: A row for each pair that was timed; its `seconds` are pairs (ours, peer).
        left_out: Pairs that do not exist here, each with the reason.
        wrong: Pairs that do not compute the same and were not timed, each with the reason.
    """

    settings: dict[str, Any]
    what: str = "layers"
    machine: dict[str, Any] = field(default_factory=machine)
    roofs: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    page: str = ""  # no pictures

    def add(self, kind: str, row: dict[str, Any]) -> None:
        """Add one line of a worker."""
        lists = {
            "roof": self.roofs,
            "row": self.rows,
            "left_out": self.left_out,
            "wrong": self.wrong,
        }
        lists[kind].append(row)

    def to_json(self) -> dict[str, Any]:
        """All results, with the raw times."""
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

    def to_rich(self) -> Group:
        """Tables for rich to print: each point, the means over the sizes, the pairs left out."""
        from rich.console import Group
        from rich.text import Text

        # As they are: rich would read the brackets of gatewright[bench] as markup.
        return Group(*self.points(), self.summary(), *map(Text, self.notes()))

    def points(self) -> Iterator[Table]:
        """A table for each pair, with a line for each size."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        tables: dict[str, Table] = {}
        for row in self.rows:
            threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
            title = f"{row['cell']} against {row['peer']}, {row['run']}, {threads}"
            if title not in tables:
                tables[title] = Table("(B, T, I, H)", title=title, box=SIMPLE_HEAD)
                for heading in ("ours, ms", "peer, ms", "ratio (95 %)", "of the roof"):
                    tables[title].add_column(heading, justify="right", no_wrap=True)
            ours, peer = (statistics.median(s) for s in zip(*row["seconds"], strict=True))
            tables[title].add_row(
                "{}, {}, {}, {}".format(*row["size"]),
                f"{1e3 * ours:.3f}",
                f"{1e3 * peer:.3f}",
                str(ratio(row["seconds"])),
                "–" if row["least"] is None else f"{100 * row['least'] / ours:.0f} %",
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
            table.add_row(*map(str, key.values()), str(points), str(mean))
        return table

    def notes(self) -> list[str]:
        """The machine, the pairs left out with their reasons, and the wrong ones."""
        lines = [f"{self.machine['cpu']}, {self.machine['cores']} cores"]
        for roof in self.roofs:
            lines.append(
                f"roof of {roof['threads']} thread(s): {roof['operations'] / 1e9:.0f} GFLOP/s, "
                f"{roof['copied'][-1][1] / 1e9:.0f} GB/s from memory"
            )
        cells_without: dict[tuple[str, str], list[str]] = {}
        for pair in self.left_out:
            cells = cells_without.setdefault((pair["peer"], pair["reason"]), [])
            if pair["cell"] not in cells:
                cells.append(pair["cell"])
        lines += [
            f"not against {peer}: {', '.join(cells)}: {reason}"
            for (peer, reason), cells in cells_without.items()
        ]
        return lines + [f"WRONG, not timed: {pair['reason']}" for pair in self.wrong]


def store(figures: dict[str, Any], directory: Path, name: str) -> Path:
    """Write the figures as a new file in a directory, called `name` and the time.

    Raises:
        ArgumentError: if it cannot be written there.
    """
    path = directory / f"{name}-{datetime.now():%Y%m%d-%H%M%S}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            json.dump(figures, file)
            file.write("\n")
    except OSError as error:
        raise ArgumentError(f"cannot write {path}: {error.strerror}; name another --out") from None
    return path


def parse_sizes(text: str) -> list[tuple[int, int, int, int]]:
    """Read sizes as the command line has them: `32x100x64x64,1x100x64x64`.

    Raises:
        ArgumentError: for a part that is not a size.
    """
    sizes = []
    for part in text.split(","):
        numbers: Sequence[str] = part.strip().split("x")
        if len(numbers) != 4 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
            raise ArgumentError(
                f"{part.strip()!r} is not a size; give batch, time, input and hidden size, "
                "as in 32x100x64x64"
            )
        b, t, i, h = map(int, numbers)
        sizes.append((b, t, i, h))
    return sizes
