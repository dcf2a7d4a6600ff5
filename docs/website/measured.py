"""Tables from the raw results in `benchmarks/results`: no figure on these pages is typed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from figures.raw import ROOT, newest, number, stored, table
from figures.speed import layer_means, steps


def measured_pages() -> dict[str, str]:
    """Return the pages in Markdown, by the name of their file."""
    return {
        "measured-speed.md": speed(),
        "measured-accuracy.md": accuracy(),
        "measured-science.md": science(),
    }


def source(*paths: Path) -> str:
    """Return the line that names the files of a table."""
    names = ", ".join(f"`{path.relative_to(ROOT).as_posix()}`" for path in paths)
    return f"From {names}.\n"


# Speed.
def speed() -> str:
    """Return the page of speeds."""
    return "\n".join(
        [
            "# Speed: all measurements\n\nGenerated from the raw times. How they are measured, and "
            "the cases in which Gatewright is not faster, are on the page [Speed](speed.md).\n",
            *map(layer_table, ("float32", "bfloat16")),
            stream_table(),
            build_table(),
            server_table(),
        ]
    )


def layer_table(dtype: str) -> str:
    """Return the peers' times divided by ours in one dtype, the newest of each pair."""
    means = layer_means(dtype)
    columns = [("training", 1), ("training", 2), ("inference", 1), ("inference", 2)]
    head = ["cell, against", *(f"{run}, {n} thread{'s'[: n - 1]}" for run, n in columns)]
    rows = []
    for cell, peer in sorted({(cell, peer) for cell, peer, _, _ in means}):
        pair = [means.get((cell, peer, run, threads)) for run, threads in columns]
        texts = [f"{m.value:.2f} ({m.low:.2f} – {m.high:.2f})" if m else "–" for m in pair]
        rows.append([f"`{cell}`, {peer}", *texts])
    text = (
        f"## Layers in {dtype}\n\nThe peer's time divided by ours, above 1 where Gatewright is "
        "faster: the geometric mean over the sizes, and its range over the rounds.\n"
    )
    files = sorted({mean.path for mean in means.values()})
    return "\n".join([text, table(head, rows), source(*files)])


def stream_table() -> str:
    """Return the times of a streamed step, the newest of each pair."""
    head = ["cell, units, against", "ours, µs", "peer, µs", "peer / ours"]
    lines = [
        [f"`{cell}`, {units}, {peer}", number(s.ours), number(s.theirs), f"{s.theirs / s.ours:.2f}"]
        for (cell, units, peer), s in sorted(steps().items())
    ]
    files = sorted({step.path for step in steps().values()})
    return "\n".join(["## One streamed step\n", table(head, lines), source(*files)])


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
