"""Search for the best network and window of a forecast, with folds in order of time.

    pip install 'gatewright[sklearn]' pandas
    python examples/forecast_search.py

`Forecaster` is a scikit-learn estimator, so `GridSearchCV` can compare its settings. The folds must
come from `TimeSeriesSplit`, so that each network learns only from steps before those it is scored
on. With a fold from the middle of the series, the steps before and after it would be joined as if
there was no gap between them. If the dataframe has dates, the gap is detected and refused.
"""

from __future__ import annotations

import sys

import pandas as pd
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit

import gatewright as gw
from gatewright.estimators import Forecaster

TEST = 292  # days at the end (a fifth of all) that are not used for any choice


def weather() -> pd.DataFrame:
    """Four years of daily weather in Seattle: dates and four columns of numbers."""
    series = gw.read("weather").data
    table = pd.DataFrame(series.values[0], columns=list(series.channels))
    return table.assign(date=series.times[0])


def main(epochs: int = 30) -> int:
    """Search, print the scores on the folds, and score the best settings on the test part once."""
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
    print(f"on the last {TEST} days: MASE {-search.score(test):.3f} (repeating last week: 1)")
    low, middle, high = search.best_estimator_.predict_quantiles(days)[0, 0, [0, 4, 8]]
    print(f"the first day after the data: {middle:.1f} °C (80 % interval: {low:.1f} to {high:.1f})")
    try:
        GridSearchCV(week_ahead, {}, cv=KFold(3), error_score="raise").fit(past)
    except gw.errors.DataError as error:
        print(f"with KFold: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
