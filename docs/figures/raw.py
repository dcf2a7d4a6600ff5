"""The raw results in `benchmarks/results`, and what all pages write of them."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def stored(pattern: str) -> Iterator[tuple[Path, Any]]:
    """Yield the files that fit a pattern with their contents, the oldest first.

    Raises:
        FileNotFoundError: if there is none.
    """
    paths = sorted(RESULTS.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"no file fits {RESULTS}/{pattern}")
    for path in paths:
        yield path, content(path)


def newest(pattern: str) -> tuple[Path, Any]:
    """Return the last of the files that fit a pattern; their names hold their dates."""
    *_, last = stored(pattern)
    return last


@cache
def content(path: Path) -> Any:
    """Return what a file of raw results holds; several figures are made of the large ones."""
    return json.loads(path.read_text(encoding="utf-8"))


def day(path: Path) -> str:
    """Return the date in the name of a file of raw results, such as 23 November 2026."""
    match = re.search(r"(\d{4})-?(\d\d)-?(\d\d)", path.stem)
    if match is None:
        raise ValueError(f"{path.name} has no date in its name; expected one such as 2026-11-28")
    written = date(*map(int, match.groups()))
    return f"{written.day} {written:%B %Y}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, all columns but the first aligned to the right."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]
    return "\n".join(lines) + "\n"


def plain_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, all columns aligned to the left, for those with texts."""
    return table(head, rows).replace("---:", "---")


def microseconds(seconds: Sequence[float]) -> str:
    """Return the median of times in microseconds."""
    return f"{1e6 * statistics.median(seconds):.1f}"


def number(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean of values with their standard deviation, where there are several."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"
