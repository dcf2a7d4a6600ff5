"""Tables from the raw results in `benchmarks/results`: no figure on these pages is typed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from website.pages import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def measured_pages() -> dict[str, str]:
    """Return the pages in Markdown, by the name of their file."""
    return {
        "measured-speed.md": speed(),
        "measured-accuracy.md": accuracy(),
        "measured-science.md": science(),
    }


def stored(pattern: str) -> Iterator[tuple[Path, Any]]:
    """Yield the files that fit a pattern with their contents, the oldest first.

    Raises:
        FileNotFoundError: if there is none.
    """
    paths = sorted(RESULTS.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"no file fits {RESULTS}/{pattern}")
    for path in paths:
        yield path, json.loads(path.read_text(encoding="utf-8"))


def newest(pattern: str) -> tuple[Path, Any]:
    """Return the last of the files that fit a pattern; their names hold their dates."""
    *_, last = stored(pattern)
    return last


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, all columns but the first aligned to the right."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]
    return "\n".join(lines) + "\n"


def source(*paths: Path) -> str:
    """Return the line that names the files of a table."""
    names = ", ".join(f"`{path.relative_to(ROOT).as_posix()}`" for path in paths)
    return f"From {names}.\n"


def number(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


# Speed.
def speed() -> str:
    """Return the page of speeds."""
    return "\n".join(
        [
            "# Speed: all measurements\n\nGenerated from the raw times. How they are measured, and "
            "the cases in which Gatewright is not faster, are on the page [Speed](speed.md).\n",
            layer_table(),
            stream_table(),
            build_table(),
            server_table(),
        ]
    )


def layer_table() -> str:
    """Return the peers' times divided by ours, the newest of each pair."""
    means: dict[tuple[str, str], dict[tuple[str, int], str]] = defaultdict(dict)
    used: dict[tuple[str, str, str, int], Path] = {}
    for path, result in stored("layers-*.json"):
        for row in result["means"]:
            text = f"{row['ratio']:.2f} ({row['low']:.2f} – {row['high']:.2f})"
            means[row["cell"], row["peer"]][row["run"], row["threads"]] = text
            used[row["cell"], row["peer"], row["run"], row["threads"]] = path
    columns = [("training", 1), ("training", 2), ("inference", 1), ("inference", 2)]
    head = ["cell, against", *(f"{run}, {n} thread{'s'[: n - 1]}" for run, n in columns)]
    rows = [
        [f"`{cell}`, {peer}", *(ratios.get(column, "–") for column in columns)]
        for (cell, peer), ratios in sorted(means.items())
    ]
    text = (
        "## Layers\n\nThe peer's time divided by ours, above 1 where Gatewright is faster: the "
        "geometric mean over the sizes, and its range over the rounds.\n"
    )
    return "\n".join([text, table(head, rows), source(*sorted(set(used.values())))])


def stream_table() -> str:
    """Return the times of a streamed step, the newest of each pair."""
    rows: dict[tuple[str, int, str], list[str]] = {}
    paths = []
    for path, result in stored("stream-*.json"):
        paths.append(path)
        for row in result["rows"]:
            ours, theirs = row["ours"], row["theirs"]
            key = row["cell"], row["units"], row["peer"]
            rows[key] = [number(1e6 * ours), number(1e6 * theirs), f"{theirs / ours:.2f}"]
    head = ["cell, units, against", "ours, µs", "peer, µs", "peer / ours"]
    lines = [[f"`{c}`, {n}, {peer}", *row] for (c, n, peer), row in sorted(rows.items())]
    return "\n".join(["## One streamed step\n", table(head, lines), source(*paths)])


def build_table() -> str:
    """Return the seconds to build the kernels of a new cell."""
    path, result = newest("build-*.json")
    rows = [
        [f"`{row['cell']}`, {row['from']}", _figure(row, "inference"), _figure(row, "training")]
        for row in result["rows"]
        if row["from"]
    ]
    head = ["cell, from", "inference, s", "training, s"]
    return "\n".join(["## Building kernels\n", table(head, rows), source(path)])


def server_table() -> str:
    """Return the load that a server of streams carries."""
    path, result = newest("serve-*.json")
    rows = [
        [
            f"{row['way']}, {row['streams']} streams",
            number(mean(row["events_per_second"])),
            *(number(row[f"latency_ms_{share}"]) for share in ("p50", "p95", "p99")),
        ]
        for row in result["rows"]
    ]
    head = ["way", "events per second", "median, ms", "95 %, ms", "99 %, ms"]
    return "\n".join(["## Serving streams\n", table(head, rows), source(path)])


# Accuracy.
def accuracy() -> str:
    """Return the page of accuracies."""
    return "\n".join(
        [
            "# Accuracy: all measurements\n\nGenerated from the raw results. What was compared and "
            "how is on the page [Results](results.md), which also tells where the simpler methods "
            "win.\n",
            forecast_table(),
            classification_table(),
            *(comparison_table(name) for name in ("weather", "prose")),
        ]
    )


def forecast_table() -> str:
    """Return the scaled errors of forecasts on public series."""
    path, result = newest("public-forecasts-*.json")
    others = list(dict.fromkeys(name for row in result.values() for name in row["others"]))
    rows = [
        [name, number(row["final"]), *(_figure(row["others"], other) for other in others)]
        for name, row in result.items()
    ]
    text = "## Forecasts of public series\n\nMASE on the test part; lower is better.\n"
    return "\n".join([text, table(["series", "gatewright", *others], rows), source(path)])


def _figure(figures: Mapping[str, float], name: str) -> str:
    return number(figures[name]) if figures.get(name) is not None else "–"


def classification_table() -> str:
    """Return the accuracies on public recordings."""
    path, result = newest("public-classification-*.json")
    data = result["data"]
    methods = list(dict.fromkeys(name for row in data.values() for name in row["accuracy"]))
    rows = [
        [
            name,
            *(f"{mean(row['accuracy'][m]):.1f}" if m in row["accuracy"] else "–" for m in methods),
        ]
        for name, row in data.items()
    ]
    text = "## Classes of public recordings\n\nRight answers on the test part in percent.\n"
    return "\n".join([text, table(["data", *methods], rows), source(path)])


def comparison_table(name: str) -> str:
    """Return the comparison of networks and simpler methods on a bundled data set."""
    path, result = newest(f"{name}-*.json")
    entries = [*result["networks"], *result["baselines"]]
    metrics = list(dict.fromkeys(metric for entry in entries for metric in entry["test"]))
    rows = [
        [entry["title"], _count(entry["parameters"]), *(_metric(entry["test"], m) for m in metrics)]
        for entry in entries
    ]
    head = ["method", "parameters", *metrics]
    text = f"## The bundled data set {name}\n\n{result['data']['about']}\n"
    return "\n".join([text, table(head, rows), source(path)])


def _count(parameters: int | None) -> str:
    return "–" if parameters is None else f"{parameters:,}"


def _metric(figures: Mapping[str, Any], name: str) -> str:
    """The mean of a metric over its seeds."""
    value = figures.get(name)
    return "–" if value is None else number(value["mean"])


# Science.
def science() -> str:
    """Return the page of experiments: the mean score of each network on each task."""
    parts = [
        "# Science: all measurements\n\nGenerated from the raw results: the mean score over the "
        "seeds, their lowest and highest score, and the number of seeds. 1 is perfect. What the "
        "experiments repeat is on the page [RNN vs LSTM](rnn-vs-lstm.md) and in "
        "[Science](source/benchmarks/science/index.md).\n"
    ]
    for path, result in stored("science/*.json"):
        if path.stem == "lesson":
            parts += ["## lesson\n", lesson_table(result), source(path)]
            continue
        rows: dict[tuple[str, str], list[float]] = defaultdict(list)
        for training in result.values():
            rows[training["task"], training["entry"]].append(training["score"])
        lines = [
            [f"{task}: {entry}", number(mean(scores)), _range(scores), str(len(scores))]
            for (task, entry), scores in rows.items()
        ]
        parts += [
            f"## {path.stem}\n",
            table(["task: network", "score", "range", "seeds"], lines),
            source(path),
        ]
    return "\n".join(parts)


def lesson_table(result: Mapping[str, Any]) -> str:
    """Return the longest lag that each network of the lesson learned."""
    rows = [
        [name, *(str(seed["learnt"]) for seed in seeds)]
        for name, seeds in result["networks"].items()
    ]
    seeds = range(len(rows[0]) - 1)
    return table(["longest lag learnt", *(f"seed {seed}" for seed in seeds)], rows)


def _range(scores: Sequence[float]) -> str:
    return f"{number(min(scores))} – {number(max(scores))}"
