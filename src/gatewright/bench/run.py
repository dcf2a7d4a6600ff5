"""`gatewright bench`: one measurement by its name, with its options."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatewright.bench.building import bench_building
from gatewright.bench.cases import QUICK
from gatewright.bench.growing import bench_growing
from gatewright.bench.layers import bench_layers
from gatewright.bench.machine import Report, silent
from gatewright.bench.memory import bench_memory
from gatewright.bench.results import Results, parse_sizes, store
from gatewright.bench.stream import bench_stream
from gatewright.bench.table import Measurement
from gatewright.errors import ArgumentError, BackendError
from gatewright.names import comma_separated, did_you_mean

#: The measurements, each with the options that it takes.
TAKES: dict[str, tuple[str, ...]] = {
    "layers": ("cells", "peers", "sizes", "threads", "seconds", "backend", "dtype", "quick"),
    "build": ("cells",),
    "memory": ("cells", "sizes", "threads", "quick"),
    "curves": ("threads", "quick"),
    "stream": ("cells", "seconds"),
}


def bench(what: str = "layers", *, progress: bool = True, **options: Any) -> Results | Measurement:
    """Run one measurement, with a progress bar on the error stream.

    Args:
        what: A key of `TAKES`.
        **options: As the command line has them; None and False are left out. Lists are
            comma-separated texts, and sizes are written as `32x100x64x64`.

    Raises:
        ArgumentError: for an unknown measurement, or an option that it does not take.
        BackendError: where it cannot be measured here.
    """
    if what not in TAKES:
        nearest = did_you_mean(what, TAKES)
        raise ArgumentError(f"--what {what}; {nearest}give one of {', '.join(TAKES)}")
    arguments = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    for name in arguments:
        if name not in TAKES[what]:
            takers = [taker for taker, names in TAKES.items() if name in names]
            raise ArgumentError(f"--{name} is for --what {' or '.join(takers)}, not {what}")
    for name in ("cells", "peers"):
        if name in arguments:
            arguments[name] = comma_separated(arguments[name])
    if "sizes" in arguments:
        arguments["sizes"] = parse_sizes(arguments["sizes"])
    if "threads" in arguments:
        arguments["threads"] = thread_counts(arguments["threads"])
    if what != "curves" and arguments.pop("quick", False):
        arguments.setdefault("sizes", QUICK)
        if what == "layers":
            arguments.setdefault("seconds", 0.5)
    with progress_bar(progress) as report:
        if what == "layers":
            return bench_layers(**arguments, report=report)
        if what == "stream":
            return bench_stream(**arguments, report=report)
        if what == "build":
            return bench_building(**arguments, report=report)
        if "threads" in arguments:  # these two measure one number of threads
            arguments["threads"] = arguments["threads"][0]
        if what == "memory":
            return bench_memory(**arguments, report=report)
        return bench_growing(**arguments, report=report)


def finish(results: Results | Measurement, *, out: Path | None, as_json: bool) -> None:
    """Print the results, store them, and fail where a pair did not compute the same.

    Args:
        out: A directory for a new file with the raw figures.

    Raises:
        ArgumentError: if the file cannot be written there.
        BackendError: with the reason of the first wrong pair.
    """
    from rich.console import Console

    if as_json:
        print(json.dumps(results.to_json()))
    else:
        console = Console()
        console.print(results.to_rich(), soft_wrap=not console.is_terminal)
    if out is not None:
        path = store(results.to_json(), out, results.what)
        print(f"raw figures: {path}", file=sys.stderr)
        if results.page:
            picture = path.with_suffix(".html")
            picture.write_text(results.page, encoding="utf-8")
            print(f"pictures: {picture}", file=sys.stderr)
    if results.wrong:
        first = results.wrong[0]["reason"]
        raise BackendError(f"{len(results.wrong)} pairs were not timed: {first}")


def thread_counts(text: str) -> list[int]:
    """Numbers of threads, comma-separated.

    Raises:
        ArgumentError: if a part is not a whole number from 1.
    """
    parts = comma_separated(text)
    if not parts or not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise ArgumentError(f"--threads {text}; give whole numbers from 1, as in 1,2")
    return [int(part) for part in parts]


@contextmanager
def progress_bar(visible: bool) -> Iterator[Report]:
    """Show a progress bar; yield the function that moves it."""
    if not visible:
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns: Sequence[Any] = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda text, share: progress.update(task, description=text, completed=share)
