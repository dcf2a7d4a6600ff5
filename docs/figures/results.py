"""Figures of docs/results.md: forecasts, classes of recordings, texts, and the demo."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from textwrap import TextWrapper

from figures.ranking import critical_difference, mean_ranks
from figures.raw import day, newest, plain_table, spread

#: How the tables call our method, and the methods of others.
TITLES = {"gatewright train": "`train`", "gatewright train, one seed": "one network of it"}
#: The share of the best opponent's error within which a forecast counts as level with it.
CLOSE = 0.05
#: Of the pages' lines.
fill = TextWrapper(width=100, break_on_hyphens=False).fill


# Comparisons of networks and simpler methods on bundled data.
def compared(name: str, metrics: Mapping[str, tuple[float, int, str]]) -> list[list[str]]:
    """Return a row for each method, with its metrics: their factor, digits and unit."""
    _, result = newest(f"{name}-*.json")
    return [
        [entry["title"], *(_figure(entry["test"][m], *form) for m, form in metrics.items())]
        for entry in [*result["networks"], *result["baselines"]]
    ]


def _figure(figure: Mapping[str, float | None], factor: float, digits: int, unit: str) -> str:
    mean, deviation = figure["mean"], figure["deviation"]
    assert mean is not None
    tail = "" if deviation is None else f" ± {factor * deviation:.{digits}f}"
    return f"{factor * mean:.{digits}f}{tail}{unit}"


def weather() -> str:
    """Return the forecasts of the bundled weather."""
    error, percent = (1.0, 3, ""), (100.0, 1, " %")
    rows = compared("weather", {"mase": error, "crps": error, "coverage": percent})
    return plain_table(["", "MASE", "CRPS", "inside the 80 % interval"], rows)


def vowels() -> str:
    """Return the comparison of the demo."""
    percent = (100.0, 1, " %")
    rows = compared("vowels", {"accuracy": percent, "macro_f1": percent})
    entries = newest("vowels-*.json")[1]
    sizes = [e["parameters"] for e in [*entries["networks"], *entries["baselines"]]]
    for row, size in zip(rows, sizes, strict=True):
        row.append("" if size is None else f"{size:,}")
    return plain_table(["", "test accuracy", "macro F1", "parameters"], rows)


# Classes of public recordings.
def classification(kind: str = "public") -> tuple[str, dict[str, dict[str, list[float]]]]:
    """Return the day, and the accuracies by data set and method."""
    path, result = newest(f"{kind}-classification-*.json")
    return day(path), {name: row["accuracy"] for name, row in result["data"].items()}


def classification_table(kind: str = "public") -> str:
    """Return the accuracies, with a row of mean ranks."""
    _, result = newest(f"{kind}-classification-*.json")
    _, accuracies = classification(kind)
    methods = list(next(iter(accuracies.values())))
    rows = [
        [
            name,
            _learned_from(result["data"][name]["sizes"]),
            *(spread(accuracy[method], 1) for method in methods),
        ]
        for name, accuracy in accuracies.items()
    ]
    ranks = mean_ranks(_errors(accuracies))
    rows.append(["mean rank", "", *(f"{ranks[m]:.2f}" if m in ranks else "" for m in methods)])
    return plain_table(
        ["accuracy, %", "training sequences", *(TITLES.get(m, m) for m in methods)], rows
    )


def _learned_from(sizes: Mapping[str, str]) -> str:
    """The number of sequences in the published training part."""
    return str(sum(int(sizes[part].split()[0]) for part in ("training", "validation")))


def _errors(accuracies: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, float]]:
    """The mean error of each method on each set; a single network of ours competes with none."""
    return [
        {m: -statistics.mean(values) for m, values in row.items() if not m.endswith("one seed")}
        for row in accuracies.values()
    ]


def classification_summary(kind: str = "public") -> str:
    """Return how the ranks differ, and where `train` is ahead and behind."""
    _, accuracies = classification(kind)
    errors = dict(zip(accuracies, _errors(accuracies), strict=True))
    gaps: dict[str, tuple[float, str]] = {}
    for name, row in errors.items():
        others = {method: error for method, error in row.items() if method != "gatewright train"}
        best = min(others, key=others.__getitem__)
        gaps[name] = others[best] - row["gatewright train"], best
    behind = [
        f"{name} ({best}, {-gap:.1f} points)" for name, (gap, best) in gaps.items() if gap < 0
    ]
    methods = len(next(iter(errors.values())))
    return fill(
        f"Ranks that differ by less than {critical_difference(methods, len(errors)):.2f} are not "
        f"told apart by {len(errors)} sets (Nemenyi, 5 %). `train` is ahead of all peers on "
        f"{sum(gap > 0 for gap, _ in gaps.values())} sets, level with the best on "
        f"{sum(gap == 0 for gap, _ in gaps.values())}, and behind it on {_listed(behind)}."
    )


# Forecasts of public series.
def forecast_table(kind: str = "public") -> str:
    """Return the errors of all methods, the best in bold, and how often the interval held."""
    _, result = newest(f"{kind}-forecasts-*.json")
    others = list(next(iter(result.values()))["others"])
    rows = []
    for name, row in result.items():
        errors = [f"{value:.3f}" for value in (row["final"], *(row["others"][o] for o in others))]
        best = min(errors, key=float)
        model, *rest = (f"**{error}**" if error == best else error for error in errors)
        rows.append([name, model, f"{row['base']:.3f}", *rest, f"{100 * row['coverage']:.0f} %"])
    head = ["MASE on the test part", "model", "base only", *others, "80 % interval holds"]
    return plain_table(head, rows)


def forecast_summary(kind: str = "public") -> str:
    """Return the mean ranks, and the series on which the model is ahead and behind."""
    _, result = newest(f"{kind}-forecasts-*.json")
    errors = [{"model": row["final"], **row["others"]} for row in result.values()]
    ranks = mean_ranks(errors)
    excess: dict[str, tuple[float, str]] = {}
    for name, row in result.items():
        others = row["others"]
        best = min(others, key=others.__getitem__)
        excess[name] = row["final"] / others[best] - 1, best
    behind = [f"{n} ({best}, {e:+.0%})" for n, (e, best) in excess.items() if e > CLOSE]
    ahead = sum(e < 0 for e, _ in excess.values())
    coverages = [row["coverage"] for row in result.values()]
    return spaced(
        f"Mean ranks: {', '.join(f'{name} {rank:.2f}' for name, rank in ranks.items())}; ranks "
        f"{critical_difference(len(ranks), len(result)):.2f} apart differ significantly (Nemenyi, "
        f"5%). The model is ahead of the best of the {len(ranks) - 1} other methods on {ahead} of "
        f"{len(result)} series, within {CLOSE:.0%} of it on {len(result) - ahead - len(behind)}, "
        f"and behind on {len(behind)}: {_listed(behind)}. The 80 % intervals hold "
        f"{statistics.mean(coverages):.0%} in the mean over the series, but on a single short "
        f"series anything from {min(coverages):.0%} to {max(coverages):.0%}."
    )


def spaced(text: str) -> str:
    """Return a sentence as the pages have it: a space before each %, in lines of 100 characters."""
    return fill(re.sub(r"(?<=\d)%", " %", text))


def readme_ranks() -> str:
    """Return the mean ranks of `train` and of the best two other methods."""
    rows = []
    _, forecasts = newest("public-forecasts-*.json")
    errors = [{"gatewright train": row["final"], **row["others"]} for row in forecasts.values()]
    rows.append(_rank_row(f"forecasts of {len(errors)} public series", errors))
    errors = _errors(classification()[1])
    rows.append(_rank_row(f"classes of {len(errors)} public sets of recordings", errors))
    return plain_table(
        ["mean rank, 1 is the best", "`gatewright train`", "the best two others"], rows
    )


def _rank_row(title: str, errors: Sequence[Mapping[str, float]]) -> list[str]:
    ranks = mean_ranks(errors)
    own = ranks.pop("gatewright train")
    others = [f"{name} {rank:.2f}" for name, rank in ranks.items()]
    return [title, f"{own:.2f}", ", ".join(others[:2])]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


# Texts.
def prose() -> str:
    """Return the bits a character of the bundled prose."""
    _, result = newest("train-prose-*.json")
    rows = [
        [row["method"], *("" if row[p] is None else row[p] for p in ("validation", "test"))]
        for row in result["bits"]
    ]
    return plain_table(["", "validation", "test"], rows)


def day_of(pattern: str) -> str:
    """Return the day of the newest file that fits a pattern."""
    return day(newest(pattern)[0])


FIGURES: dict[str, Callable[[], str]] = {
    "readme.ranks": readme_ranks,
    "weather": weather,
    "weather.on": lambda: day_of("weather-*.json"),
    "classification": classification_table,
    "classification.on": lambda: day_of("public-classification-*.json"),
    "classification.summary": classification_summary,
    "forecasts": forecast_table,
    "unseen.forecasts": partial(forecast_table, "unseen"),
    "unseen.forecasts.summary": partial(forecast_summary, "unseen"),
    "unseen.on": lambda: day_of("unseen-forecasts-*.json"),
    "unseen.classes": partial(classification_table, "unseen"),
    "unseen.classes.summary": partial(classification_summary, "unseen"),
    "forecasts.on": lambda: day_of("public-forecasts-*.json"),
    "forecasts.summary": forecast_summary,
    "prose": prose,
    "prose.on": lambda: day_of("train-prose-*.json"),
    "vowels": vowels,
    "vowels.on": lambda: day_of("vowels-*.json"),
}
