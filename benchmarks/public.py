"""Compare our networks with the models of other packages, on data sets that these contain.

    pip install 'gatewright[public]'
    python benchmarks/public.py                    # all data sets, into benchmarks/results/
    python benchmarks/public.py GunPoint sunspots --seeds 5

Nothing is downloaded or copied into this repository. Recordings keep their published split; the
test part of a series is its last fifth. Our networks use the library's recipes, unchanged. Every
choice is made on validation, for the peers as well, and the test part is used once. A peer is a
baseline like those of `compare`: it learns from the same part, forecasts from the same origins, and
is measured by the same function.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.forecast.baselines.residuals import around
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.forecast.windows import Windows
from gatewright.training.entries import Entry
from gatewright.training.plan import make_plan
from gatewright.training.results import Comparison

RESULTS = Path(__file__).parent / "results"
CELLS = ("window", "rnn", "gru")
#: A statistical model takes its forecast intervals from its errors at this many origins.
MAX_RESIDUAL_ORIGINS = 100

UCR = "no terms of its own in the file; in aeon's wheel, which is BSD-3-Clause"


@dataclass(frozen=True)
class PublicData:
    """A public data set: the package that contains it, its path there, and its licence terms."""

    package: str
    path: str
    terms: str
    reading: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The path of the file in the installed package."""
        package = find_spec(self.package)
        if package is None or package.origin is None:
            sys.exit(f"{self.package} is not installed: pip install 'gatewright[public]'")
        return Path(package.origin).parent / self.path


def _archive(name: str, terms: str = UCR) -> PublicData:
    return PublicData("aeon", f"datasets/data/{name}/{name}_TRAIN.ts", terms)


DATA = {
    "BasicMotions": _archive("BasicMotions"),
    "GunPoint": _archive("GunPoint"),
    "ItalyPowerDemand": _archive("ItalyPowerDemand"),
    "JapaneseVowels": _archive("JapaneseVowels", "UCI, CC BY 4.0, doi:10.24432/C5NS47"),
    "PickupGestureWiimoteZ": _archive("PickupGestureWiimoteZ"),
    "ArrowHead": _archive("ArrowHead"),
    "Airline": PublicData("aeon", "datasets/data/Airline/Airline.csv", UCR),
    "sunspots": PublicData(
        "statsmodels", "datasets/sunspots/sunspots.csv", "public domain, as statsmodels says"
    ),
    "co2": PublicData(
        "statsmodels",
        "datasets/co2/co2.csv",
        "public domain, as statsmodels says (Keeling and Whorf 2004)",
        {"fill": "linear", "horizon": 13, "window": 104},
    ),
}


def main() -> None:
    """Run each data set, print its table, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"{', '.join(DATA)} (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network (3)")
    parser.add_argument("--cells", default=",".join(CELLS), help="comma-separated")
    options = parser.parse_args()
    unknown = set(options.names) - set(DATA)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(DATA)}")
    chosen = {name: DATA[name] for name in options.names or DATA}
    for public in (*chosen.values(), PublicData("aeon", "", ""), PublicData("statsmodels", "", "")):
        _ = public.file  # exits before any training if a package is missing
    path = RESULTS / f"public-{date.today()}.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"data": {}}
    figures["machine"] = platform.processor() or platform.machine()
    figures["peers"] = {name: version(name) for name in ("aeon", "statsmodels")}
    for name, public in chosen.items():
        comparison = run(public, options.cells.split(","), options.seeds)
        entries = merged(comparison.entries)
        metrics = comparison.task.metrics
        sizes = comparison.sizes
        print(f"\n{name}: {sizes['training']} for training, {sizes['test']} for the test")
        for entry in entries:
            cells = [metric.spread(entry.test(metric)) for metric in metrics]
            print(f"  {entry.title:28} {'  '.join(cells)}", flush=True)
        figures["data"][name] = {"terms": public.terms, **summary(comparison, entries)}
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(path)


def run(public: PublicData, cells: Sequence[str], seeds: int) -> Comparison:
    """Run the comparison of `gatewright compare` with the peers as further baselines."""
    plan = make_plan(str(public.file), cells, seeds=seeds, say=print, reading=public.reading)
    if isinstance(plan.task, Forecast):
        peers = [exponential_smoothing(plan.task), autoregression(plan.task)]
    else:
        peers = aeon_classifiers(plan.training, seeds)
    # Boosting on lags is left out: these series are short, and ridge on lags is a baseline too.
    own = [baseline for baseline in plan.baselines if baseline.name != "boosting"]
    return replace(plan, baselines=[*own, *peers]).perform(None, progress=False)


def merged(entries: Sequence[Entry]) -> list[Entry]:
    """Merge entries with the same title: a peer that was run from several seeds."""
    by_title: dict[str, Entry] = {}
    for entry in entries:
        earlier = by_title.get(entry.title)
        trials = (*(earlier.trials if earlier else ()), *entry.trials)
        by_title[entry.title] = replace(entry, trials=trials)
    return list(by_title.values())


def summary(comparison: Comparison, entries: Sequence[Entry]) -> dict[str, Any]:
    """The figures of a comparison, in JSON's types."""
    return {
        "about": comparison.notes,
        "sizes": comparison.sizes,
        "recipe": {
            "epochs": comparison.recipe.epochs,
            "batch_size": comparison.recipe.batch_size,
        },
        "best_on_validation": comparison.best.title,
        "entries": [
            {
                "title": entry.title,
                "parameters": entry.parameters,
                "test": [trial.test for trial in entry.trials],
                "validation": [trial.validation for trial in entry.trials],
                "seconds_a_seed": statistics.mean(history.seconds for history in entry.histories)
                if entry.is_network
                else None,
            }
            for entry in entries
        ],
    }


# Recordings: the classifiers of aeon


def aeon_classifiers(training: Recordings, seeds: int) -> list[Baseline]:
    """1-nearest-neighbour with dynamic time warping, and MiniRocket if all lengths are equal."""
    from aeon.classification.convolution_based import MiniRocketClassifier
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    peers = [_aeon("1-NN, DTW (aeon)", lambda: KNeighborsTimeSeriesClassifier(distance="dtw"))]
    if len(set(training.lengths.tolist())) == 1:
        peers += [
            _aeon("MiniRocket (aeon)", lambda start=seed: MiniRocketClassifier(random_state=start))
            for seed in range(seeds)
        ]
    return peers


def _aeon(title: str, make: Callable[[], Any]) -> Baseline:
    def fit(training: Recordings, _: Any) -> Fitted:
        learned = make().fit(_cases(training), training.labels)

        def predict(part: Recordings) -> NDArray[np.float64]:
            labels = learned.predict(_cases(part))
            return np.eye(len(part.classes))[labels.astype(int)]

        return Fitted(predict, None)

    return Baseline(title, title, "Run by aeon with its own settings.", fit)


def _cases(part: Recordings) -> Any:
    """The recordings as `(N, C, T)`, or as a list of `(C, T_i)` where the lengths differ."""
    cases = [sequence.T.astype(np.float64) for sequence in part.sequences]
    return np.stack(cases) if len({case.shape for case in cases}) == 1 else cases


# Series: the models of statsmodels, fitted on the training part, with forecasts at every origin


def exponential_smoothing(task: Forecast) -> Baseline:
    """Exponential smoothing (ETS): the forms of Hyndman et al. 2008, chosen on validation."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    seasonal = (None, "add", "mul") if task.season > 1 else (None,)
    trends = ((None, False), ("add", False), ("add", True))
    settings = [(trend, damped, kind) for trend, damped in trends for kind in seasonal]

    def learn(past: NDArray[np.float64], setting: Any) -> Callable[[Any], Any]:
        trend, damped, kind = setting
        form = {
            "trend": trend,
            "damped_trend": damped,
            "seasonal": kind,
            "seasonal_periods": task.season if kind else None,
            # A long season has too many initial values to estimate them.
            "initialization_method": "heuristic" if task.season > 24 else "estimated",
        }
        parameters = ETSModel(past, **form).fit(disp=False).params
        return lambda known: ETSModel(known, **form).smooth(parameters).forecast(task.horizon)

    return _statistical("ETS (statsmodels)", task, learn, settings)


def autoregression(task: Forecast) -> Baseline:
    """Autoregression of the values or their differences; the order is chosen on validation."""
    from statsmodels.tsa.ar_model import AutoReg

    orders = sorted({2, 9, min(task.season, 24) + 1, min(2 * task.season, 48) + 1} - {1})
    # The order must be below the window, the number of values that every origin has.
    orders = [order for order in orders if order < task.window]
    settings = [(order, differences) for order in orders for differences in (False, True)]

    def learn(past: NDArray[np.float64], setting: Any) -> Callable[[Any], Any]:
        order, differences = setting
        parameters = AutoReg(np.diff(past) if differences else past, order).fit().params

        def forecast(known: NDArray[np.float64]) -> NDArray[np.float64]:
            values = list(np.diff(known) if differences else known)[-order:]
            # The parameters: a constant, then the weights of the values, the latest first.
            for _ in range(task.horizon):
                values.append(parameters[0] + parameters[1:] @ values[: -order - 1 : -1])
            ahead = np.array(values[order:])
            return known[-1] + np.cumsum(ahead) if differences else ahead

        return forecast

    return _statistical("AR (statsmodels)", task, learn, settings)


def _statistical(title: str, task: Forecast, learn: Any, settings: Sequence[Any]) -> Baseline:
    """Wrap a model of one series as a baseline that reads only the values before an origin."""

    def fit(training: Any, setting: Any) -> Fitted:
        windows = task.batches(training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimisers warn if they do not converge
            forecast = learn(_target(windows), setting)

            def at_origins(part: Windows) -> NDArray[np.float64]:
                series = _target(part)
                forecasts = [forecast(series[:origin]) for origin in part.origins]
                return np.stack(forecasts)[:, :, None]

            count = min(MAX_RESIDUAL_ORIGINS, len(windows))
            seen = windows.take(np.linspace(0, len(windows) - 1, count).astype(int))
            residuals = seen.truth - at_origins(seen)

        def predict(part: Any) -> NDArray[np.float64]:
            new = task.batches(part)
            return task.bounded(around(at_origins(new), new.series, residuals, seen.series))

        return Fitted(predict, None)

    return Baseline(title, title, "Fitted by statsmodels on the same part.", fit, settings)


def _target(windows: Windows) -> NDArray[np.float64]:
    return windows.values[:, windows.targets[0]]


if __name__ == "__main__":
    main()
