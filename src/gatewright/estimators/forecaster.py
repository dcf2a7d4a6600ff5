"""A forecaster of time series with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from gatewright.data import Series
from gatewright.data.columns.missing import Fill
from gatewright.data.source.request import as_names
from gatewright.designs.design import Design
from gatewright.errors import DataError
from gatewright.estimators.network import NetworkEstimator
from gatewright.estimators.series import SeriesInput, read_series
from gatewright.language.cell import Cell
from gatewright.tasks.forecast.metrics import LEVELS, MEDIAN
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.task import run_all
from gatewright.training.networks import DEFAULT_CELL


class Forecaster(NetworkEstimator):
    """Forecast the next steps of time series by a recurrent network of any cell.

    X is one of:

    - a table (T, C), one series of C channels over T steps;
    - a list of N such arrays or one array (N, T, C), series that share one model;
    - a dataframe of any library that narwhals knows. Its time column (or index) and its id column
      are recognised, gaps are refused, and the calendar is added as channels;
    - a `Series` of `gatewright.read`, which has every option of reading.

    Rows are steps of time, in order. In `fit` the last of them are the validation part, which
    decides which epoch's weights are kept and how wide the intervals have to be. In a search or a
    cross-validation give `cv=TimeSeriesSplit(...)`, never folds that cut a piece out of the
    middle: the rest would be read as if it had no gap.

    >>> import numpy as np
    >>> wave = np.sin(np.arange(120) * 2 * np.pi / 12)[:, None]
    >>> forecaster = Forecaster("gru", horizon=6, season=12, epochs=20, random_state=0)
    >>> forecast = forecaster.fit(wave[:108]).predict(wave[:108])
    >>> forecast.shape, bool(np.abs(forecast - wave[108:114]).max() < 0.4)
    ((6, 1), True)

    It passes scikit-learn's own checks, except the two that expect a prediction for each row of
    X: `check_methods_sample_order_invariance` and `check_methods_subset_invariance`. It can be
    cloned, searched over and put into a pipeline whose other steps leave X in one of these
    forms. `save` and `load` need no pickle; a file of `joblib.dump` runs code when it is loaded,
    and fits only the same versions of gatewright and torch.

    Args:
        cell: A name from `gatewright.CELLS`, "window", a cell, or "file.py:MyCell".
        horizon: Steps to forecast; by default a season, or 8 where there is none.
        window: Steps to read; by default four seasons or 24, but at most a quarter of the data.
        season: Steps per season; by default the usual one where X has times (24 hours, 7 days,
            12 months).
        target: Channels to forecast, by name; by default all. The others are only read.
        fill: How to fill gaps and missing values of a dataframe: see `gatewright.read`.
        per_window: Whether the network reads each window scaled by its own last value and
            spread, the default, or in deviations of the training data.
        design: The shape of the network, a `Design` or its name; by default it is chosen on
            validation, as `gatewright.train` does. "plain" is one layer, read at its last step.
        budget: "quick", "normal" or "thorough": how many designs are tried, in how many short
            trainings.
        hidden_size: Units of the network; by default those of the design.
        epochs: Passes over the data, at most; by default as many as `gatewright.train` takes.
        batch_size: Windows of a training step; smaller where the data are few.
        learning_rate: The highest rate; it rises to it and then falls to zero along a cosine.
        dropout: Share of the features dropped before the readout, while learning.
        patience: Epochs without a better validation loss after which training ends, or None;
            it counts only where epochs is set.
        validation_fraction: Share of the steps, the last ones, in the validation part.
        random_state: An int for the same result every time, a `RandomState`, or None.
        recompute: Steps between the states that are kept for gradients: less memory for long
            sequences, with the same gradients. True is the square root of the steps.
        device: "cpu", "cuda", "cuda:1" or "mps"; "auto" is a GPU where there is one, and torch has
            fused functions for the cell, or our kernels are proven there. It predicts on the CPU.

    Attributes:
        model_: The trained `gatewright` model; its `body` is the layer, which has `trace`.
        history_: Losses and metrics of each epoch.
        n_iter_: Number of epochs.
        task_: The `Forecast` that was learned, with its targets, horizon, window, season, ranges.
        levels: The Q levels of `predict_quantiles`, 0.1 to 0.9; the outer two are the ends of
            an 80 % interval, by the errors at rolling origins inside the training data.
    """

    levels: ClassVar[tuple[float, ...]] = LEVELS

    def __init__(
        self,
        cell: str | Cell | type[Cell] = DEFAULT_CELL,
        *,
        horizon: int | None = None,
        window: int | None = None,
        season: int | None = None,
        target: str | Sequence[str] | None = None,
        fill: Fill | None = None,
        per_window: bool | None = None,
        design: str | Design | None = None,
        budget: str = "normal",
        hidden_size: int | None = None,
        epochs: int | None = None,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        dropout: float = 0.2,
        patience: int | None = 15,
        validation_fraction: float = 0.2,
        random_state: Any = None,
        recompute: int | None = None,
        device: str = "auto",
    ) -> None:
        self.cell = cell
        self.horizon = horizon
        self.window = window
        self.season = season
        self.target = target
        self.fill = fill
        self.per_window = per_window
        self.design = design
        self.budget = budget
        self.hidden_size = hidden_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.recompute = recompute
        self.device = device

    @property
    def task_(self) -> Forecast:
        """The task that was learned."""
        task = self.model_.task
        assert isinstance(task, Forecast)
        return task

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the series X; y is not used, the targets are channels of X.

        Raises:
            SizeError, DataError, ArgumentError: all are a ValueError; for X or a setting that
                cannot be used, or too few steps for window and horizon.
        """
        sizes = self._counts("horizon", "window", "season")
        self._check_settings()
        source = self._read(X, reset=True)
        series = source.series.with_calendar()
        if self.season is not None:
            series = replace(series, steps_a_season=sizes["season"])
        task = Forecast.of(series, horizon=sizes["horizon"], window=sizes["window"])
        tasks = list(task.variants())
        if self.per_window is not None:
            tasks = [replace(task, per_window=bool(self.per_window))]
        model, history = self._learn(tasks, series)
        model.reading = dict(source.reading)
        self._store(model, history)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The medians of the steps after the last of X, (horizon, targets).

        (N, horizon, targets) where X is several series. The last `window` steps are enough.
        """
        median: NDArray[np.float64] = self.predict_quantiles(X)[..., MEDIAN]
        return median

    def predict_quantiles(self, X: Any) -> NDArray[np.float64]:
        """The quantiles at each of `levels`, (horizon, targets, Q) or (N, horizon, targets, Q)."""
        check_is_fitted(self)
        source = self._read(X, reset=False)
        forecasts = self.model_.predict(self._checked(source.series))
        quantiles = np.stack([forecast.quantiles for forecast in forecasts])
        return quantiles if source.many else quantiles[0]

    def score(self, X: Any, y: Any = None) -> float:
        """−MASE of the medians at every step of X that has a window before it and a horizon after.

        Greater is better: 0 means no error, and −1 an error as large as that of the seasonal
        naive forecast within the training data. That is the mean over the training series,
        because X may hold other series. y is not used.

        Raises:
            DataError: if X is shorter than window and horizon together.
        """
        check_is_fitted(self)
        series = self._checked(self._read(X, reset=False).series)
        unit = tuple(np.mean(self.task_.naive_error, axis=0).tolist())
        task = replace(self.task_, naive_error=(unit,) * len(series))
        outputs = run_all(self.model_, task.batches(series))
        return -task.score(task.predictions(outputs, self.model_), series)["mase"]

    def _checked(self, series: Series) -> Series:
        """The series as the task reads them; `DataError` where it would leave one of them out."""
        ready, remarks = self.task_.adapt(series)
        if len(ready) < len(series):
            raise DataError(f"a forecast is expected for each series of X, but {remarks[0]}")
        return ready

    def _read(self, X: Any, *, reset: bool) -> SeriesInput:
        targets = as_names(self.target)
        reading = {"target": targets, "fill": self.fill}
        if not reset:
            reading |= self.model_.reading
        return read_series(self, X, reset=reset, targets=targets, reading=reading)
