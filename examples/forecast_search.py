"""Search for the network and the window of a forecast, over folds in order of time.

    pip install 'gatewright[sklearn]' pandas
    python examples/forecast_search.py

`Forecaster` is an estimator of scikit-learn, so `GridSearchCV` tries its settings. The folds have
to be those of `TimeSeriesSplit`: each network learns from steps before those that it is scored on.
A fold in the middle would join the steps on its two sides as if nothing was between them; where a
dataframe has its dates, that is noticed and refused.
"""

from __future__ import annotations

import sys

import pandas as pd
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit

import gatewright as gw
from gatewright.estimators import Forecaster

TEST = 292  # days at the end, a fifth of all, which no choice may depend on


def weather() -> pd.DataFrame:
    """Four years of daily weather in Seattle: the date, and four columns of numbers."""
    series = gw.read("weather").data
    table = pd.DataFrame(series.values[0], columns=list(series.channels))
    return table.assign(date=series.times[0])


def main(epochs: int = 30) -> int:
    """Search, print the scores on the folds, and use the test part once."""
    days = weather()
    past, test = days[:-TEST], days[-TEST:]
    week_ahead = Forecaster(
        horizon=7, target="temp_max", epochs=epochs, per_window=False, random_state=0
    )
    search = GridSearchCV(
        week_ahead,
        {"cell": ["window", "gru"], "window": [7, 28]},
        cv=TimeSeriesSplit(n_splits=2, test_size=200),
        error_score="raise",
    ).fit(past)
    for setting, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        print(f"{setting['cell']:>6}, {setting['window']:2} days: MASE {-score:.3f} on the folds")
    print(f"chosen: {search.best_params_}")
    print(f"on the last {TEST} days: MASE {-search.score(test):.3f} (1: as wrong as last week)")
    low, middle, high = search.best_estimator_.predict_quantiles(days)[0, 0, [0, 4, 8]]
    print(f"the day after the last one: {middle:.1f} °C, 80 % from {low:.1f} to {high:.1f}")
    try:
        GridSearchCV(week_ahead, {}, cv=KFold(3), error_score="raise").fit(past)
    except gw.errors.DataError as error:
        print(f"with KFold: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
