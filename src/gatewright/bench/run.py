"""`gatewright bench`: one measurement by its name, with the options that it has."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatewright.bench.building import bench_building
from gatewright.bench.cases import QUICK
from gatewright.bench.growing import bench_growing
from gatewright.bench.layers import bench_layers
from gatewright.bench.memory import bench_memory
from gatewright.bench.results import Results, keep, parse_sizes
from gatewright.bench.stream import bench_stream
from gatewright.bench.table import Found
from gatewright.errors import ArgumentError, BackendError

#: What can be measured, and the options that it takes.
TAKES: dict[str, tuple[str, ...]] = {
    "layers": ("cells", "peers", "sizes", "threads", "seconds", "backend", "quick"),
    "build": ("cells",),
    "memory": ("cells", "sizes", "threads", "quick"),
    "curves": ("threads", "quick"),
    "stream": ("cells", "seconds"),
}


def bench(what: str = "layers", *, progress: bool = True, **options: Any) -> Results | Found:
    """Measure one thing, with a progress bar on the error stream.

    Args:
        what: A key of `TAKES`.
        **options: As the command line is given them; None and False are left out. Lists are
            texts with commas, sizes as in `32x100x64x64`.

    Raises:
        ArgumentError: for what is not known, or an option that it does not take.
        BackendError: where it cannot be measured here.
    """
    if what not in TAKES:
        raise ArgumentError(f"--what {what}; give one of {', '.join(TAKES)}")
    given = {key: one for key, one in options.items() if one is not None and one is not False}
    for key in given:
        if key not in TAKES[what]:
            takers = [name for name, keys in TAKES.items() if key in keys]
            raise ArgumentError(f"--{key} is for --what {' or '.join(takers)}, not {what}")
    for key in ("cells", "peers"):
        if key in given:
            given[key] = parted(given[key])
    if "sizes" in given:
        given["sizes"] = parse_sizes(given["sizes"])
    if "threads" in given:
        given["threads"] = whole(given["threads"])
    if what != "curves" and given.pop("quick", False):
        given.setdefault("sizes", QUICK)
        if what == "layers":
            given.setdefault("seconds", 0.5)
    with bar(progress) as told:
        if what == "layers":
            return bench_layers(**given, told=told)
        if what == "stream":
            return bench_stream(**given, told=told)
        if what == "build":
            return bench_building(**given, told=told)
        if "threads" in given:
            given["threads"] = given["threads"][0]
        if what == "memory":
            return bench_memory(**given, told=told)
        return bench_growing(**given, told=told)


def finish(found: Results | Found, *, out: Path | None, as_json: bool) -> None:
    """Print what was found, keep it, and fail where a pair did not compute the same.

    Args:
        out: A directory for a new file with the raw figures.

    Raises:
        ArgumentError: if it cannot be written there.
        BackendError: with what was wrong first.
    """
    from rich.console import Console

    if as_json:
        print(json.dumps(found.to_json()))
    else:
        console = Console()
        console.print(found.shown(), soft_wrap=not console.is_terminal)
    if out is not None:
        path = keep(found.to_json(), out, found.what)
        print(f"raw figures: {path}", file=sys.stderr)
        if found.page:
            picture = path.with_suffix(".html")
            picture.write_text(found.page, encoding="utf-8")
            print(f"pictures: {picture}", file=sys.stderr)
    if found.wrong:
        first = found.wrong[0]["reason"]
        raise BackendError(f"{len(found.wrong)} pairs were not timed: {first}")


def parted(text: str) -> list[str]:
    """The parts of a text with commas."""
    return [one for part in text.split(",") if (one := part.strip())]


def whole(text: str) -> list[int]:
    """Whole numbers with commas between them.

    Raises:
        ArgumentError: naming what is none.
    """
    wrong = [one for one in parted(text) if not one.isdecimal() or int(one) < 1]
    if wrong or not parted(text):
        raise ArgumentError(f"--threads {text}; give whole numbers from 1, as in 1,2")
    return [int(one) for one in parted(text)]


@contextmanager
def bar(shown: bool) -> Iterator[Callable[[str, float], None]]:
    """What is to be told where the measurement is, and the share that is done."""
    if not shown:
        yield lambda text, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns: Sequence[Any] = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda text, share: progress.update(task, description=text, completed=share)
