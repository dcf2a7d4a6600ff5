"""The forecaster: scikit-learn's own checks, the forms of X, the score, saving, refusals."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

import gatewright as gw
from gatewright.data import Series
from gatewright.errors import ArgumentError, DataError, SizeError

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    parametrize_with_checks,
)

from gatewright.estimators import Forecaster, SequenceClassifier, forecaster
from gatewright.training.predict import predict

TINY = Forecaster("rnn", horizon=2, window=3, hidden_size=4, epochs=3, random_state=0)

# Both expect that predict works row by row. The rows of a forecast are the steps of one series,
# and the steps after them depend on their order and on all of the window.
ROW_BY_ROW = {
    "check_methods_sample_order_invariance": "the order of steps matters",
    "check_methods_subset_invariance": "a single step is not a window",
}


# The checks fit it hundreds of times, and none is about what it learns or about its variants.
CHECKED = clone(TINY).set_params(epochs=1, per_window=False)


@parametrize_with_checks([CHECKED], expected_failed_checks=lambda estimator: ROW_BY_ROW)
def test_follows_the_rules_of_scikit_learn(estimator: Any, check: Any):
    check(estimator)


@pytest.mark.slow(instead="test_follows_the_rules_of_scikit_learn")
def test_follows_the_rules_of_dataframes():
    check_dataframe_column_names_consistency("Forecaster", CHECKED)


def waves(steps: int = 96) -> NDArray[np.float64]:
    """A wave of 8 steps on a slope and one of 5 steps with noise, (T, 2)."""
    step = np.arange(steps)
    noise = np.random.default_rng(0).normal(size=steps)
    first = 40.0 + 3.0 * np.sin(2 * np.pi * step / 8) + 0.05 * step
    return np.stack([first, np.cos(2 * np.pi * step / 5) + 0.1 * noise], 1)


def days(steps: int = 96) -> pd.DataFrame:
    """The same waves as daily values, with named columns and a column of times."""
    frame = pd.DataFrame(waves(steps), columns=["sold", "asked"])
    return frame.assign(day=pd.date_range("2024-01-01", periods=steps))


@pytest.fixture(scope="module")
def fitted() -> Forecaster:
    learner = Forecaster(
        "gru", horizon=3, window=10, season=8, hidden_size=12, epochs=40, learning_rate=0.02
    )
    return learner.set_params(random_state=1, dropout=0.0).fit(waves())


def test_learns_and_scores_by_the_mase_of_every_origin(fitted: Forecaster):
    new = waves(130)[90:]
    naive = np.abs(waves()[8:] - waves()[:-8]).mean(0)
    origins = range(10, len(new) - 3 + 1)
    errors = [np.abs(fitted.predict(new[:k]) - new[k : k + 3]).mean(0) for k in origins]
    assert fitted.score(new) == pytest.approx(-(np.mean(errors, 0) / naive).mean(), rel=1e-4)
    # Persistence cannot follow waves of 5 and 8 steps.
    persistence = [np.abs(new[k - 1] - new[k : k + 3]).mean(0) for k in origins]
    assert -fitted.score(new) < 0.7 * (np.mean(persistence, 0) / naive).mean()


def test_quantiles_rise_and_the_outer_ones_contain_most_of_the_truth(fitted: Forecaster):
    series, origins = waves(160), range(96, 157)
    quantiles = np.stack([fitted.predict_quantiles(series[:k]) for k in origins])
    assert quantiles.shape == (61, 3, 2, len(fitted.levels))
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (quantiles[..., 4] == [fitted.predict(series[:k]) for k in origins]).all()
    truth = np.stack([series[k : k + 3] for k in origins])
    inside = (quantiles[..., 0] <= truth) & (truth <= quantiles[..., -1])
    assert 0.6 < inside[..., 1].mean() < 0.97  # of the channel with noise


def test_the_forms_of_x_agree():
    table = waves()
    forms: list[Any] = [
        table,
        [table],
        table[None],
        pd.DataFrame(table, columns=["a", "b"]),
        Series(("x",), (np.arange(96),), (table,), ("a", "b"), period=1.0),
    ]
    predicted = [clone(TINY).fit(form).predict(form) for form in forms]
    assert [median.ndim for median in predicted] == [2, 3, 3, 2, 2]
    assert all((median.reshape(2, 2) == predicted[0]).all() for median in predicted)
    again = clone(TINY).fit(table).fit([table])
    assert not hasattr(again, "n_features_in_")


def test_several_series_share_one_model():
    low, high = waves(60), waves(40)[::-1] + 5.0
    learner = clone(TINY).fit([low, high])
    both = learner.predict([low, high])
    assert learner.score([low, high, low]) < 0 and learner.score([low]) < 0  # other series too
    assert both.shape == (2, 2, 2) and (both[1] == learner.predict(high)).all()
    named = pd.concat([days(60).assign(id="x"), days(40).assign(id="y")])
    by_id = clone(TINY).fit(named)
    assert by_id.predict(named).shape == (2, 2, 2)
    assert by_id.predict(named[named.id == "y"]).shape == (1, 2, 2)


def test_a_target_is_a_channel_and_the_others_are_read():
    # The second channel follows the first one by a step.
    noise = np.random.default_rng(0).normal(size=121)
    follows = np.column_stack([noise[1:], noise[:-1]])
    learner = clone(TINY).set_params(target="channel 1").fit(follows)
    assert learner.predict(follows).shape == (2, 1)
    moved = follows.copy()
    moved[-1, 0] += 3.0
    assert learner.predict(moved) != pytest.approx(learner.predict(follows))
    by_name = clone(TINY).set_params(target=["sold"]).fit(days())
    assert by_name.task_.targets == ("sold",)
    assert by_name.task_.calendar == ("day of week",) and by_name.task_.season == 7


def test_results_depend_only_on_random_state_and_the_global_generator_is_untouched():
    before = torch.random.get_rng_state()
    first, same, other = (
        clone(TINY).set_params(random_state=seed).fit(waves()) for seed in (1, 1, 2)
    )
    assert (first.predict(waves()) == same.predict(waves())).all()
    assert first.history_.train_loss == same.history_.train_loss
    assert first.history_.train_loss != other.history_.train_loss
    assert (torch.random.get_rng_state() == before).all()


def test_chooses_the_scaling_with_the_lower_validation_loss():
    climbing = np.cumsum(np.random.default_rng(0).normal(1.0, 0.1, size=(120, 1)), axis=0)
    learner = clone(TINY).set_params(epochs=10)
    assert clone(learner).fit(climbing).task_.per_window
    assert not clone(learner).set_params(per_window=False).fit(climbing).task_.per_window


@pytest.mark.slow(instead="test_follows_the_rules_of_scikit_learn")
def test_searches_over_folds_in_order_of_time():
    tried = {"cell": ["rnn", "window"]}
    folds = TimeSeriesSplit(n_splits=2, test_size=20)
    search = GridSearchCV(TINY, tried, cv=folds, error_score="raise").fit(days())
    assert search.predict(days()).shape == (2, 2)
    assert search.best_score_ < 0


@pytest.mark.parametrize("form", [waves, days])
def test_it_is_saved_in_a_directory_without_pickle(form: Any, tmp_path: Path):
    X = form()
    learner = clone(TINY).set_params(target=list(TINY.fit(X).task_.targets[:1])).fit(X)
    directory = learner.save(tmp_path / "saved")
    again = Forecaster.load(directory)
    assert (again.predict_quantiles(X) == learner.predict_quantiles(X)).all()
    assert again.score(X) == learner.score(X) and again.history_ == learner.history_
    assert (again.fit(X).predict(X) == learner.predict(X)).all()
    with pytest.raises(ValueError, match=r"feature names should match|expecting 2 features"):
        again.predict(X.rename(columns={"sold": "lent"}) if form is days else X[:, :1])
    if form is days:  # the model in it reads tables as the estimator did
        table = predict(gw.load(directory), X.drop(columns="asked").assign(asked=X.asked))
        assert table.columns["sold"] == pytest.approx(learner.predict(X)[:, 0].tolist())
        assert table.columns["time"] == ["2024-04-06", "2024-04-07"]
    with pytest.raises(gw.errors.ModelError, match="load it with Forecaster"):
        SequenceClassifier.load(directory)


def gapped() -> pd.DataFrame:
    return days().drop(index=[40, 41])


def test_gaps_of_a_dataframe_are_refused_or_filled():
    with pytest.raises(DataError, match=r"38 steps of 1 day are missing .*fill='linear'"):
        clone(TINY).fit(days().drop(index=range(4, 42)))
    learner = clone(TINY).set_params(fill="linear").fit(gapped())
    assert learner.predict(gapped()).shape == (2, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon is 0; expected a whole number"),
        ({"window": 2.5}, "window is 2.5"),
        ({"season": 0}, "season is 0"),
        ({"batch_size": None}, "batch_size is None"),
        ({"validation_fraction": 0.0}, "validation_fraction is 0.0"),
        ({"target": "price"}, "no channel price, .* its channels are: channel 0, channel 1"),
        ({"horizon": 60}, "last 20 of 96 .* expected at least 60, the horizon"),
        ({"cell": "lstn"}, "no network is called 'lstn'"),
    ],
)
def test_a_wrong_setting_is_refused_in_fit(settings: dict[str, Any], message: str):
    with pytest.raises((ArgumentError, DataError), match=message):
        clone(TINY).set_params(**settings).fit(waves())


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (waves()[:, 0], ValueError, "Expected 2D array"),
        (waves()[:2], DataError, "has 2 steps; the model reads the last 3"),
        (waves()[:, :1], ValueError, "expecting 2 features"),
        ([waves()[:, :1]], DataError, "X is to forecast channel 0; the model"),
        ([waves(), waves()[:, :1]], DataError, r"series 1 of X has values of shape \(96, 1\)"),
        ([waves(), np.full((5, 2), np.nan)], DataError, "series 1 of X has nan at step 0"),
        ([waves(), np.full((5, 2), 1e300)], DataError, r"series 1 of X has 1e\+300 at step 0"),
        ([waves(), waves()[:50, 0]], SizeError, r"series 1 has shape \(50,\); expected \(time, ch"),
        ([waves()[:, 0], waves()[:50, 0]], SizeError, "series 0 has shape"),
        (waves().astype("M8[s]"), DataError, r"X holds datetime64\[s\]"),
        ([waves(), [["a", "b"]]], DataError, "series 1 holds <U1; expected real"),
        (np.where(waves() > 45, np.inf, waves()), ValueError, "contains infinity"),
    ],
)
def test_series_that_cannot_be_read_are_refused(
    fitted: Forecaster, X: Any, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        clone(TINY).fit(waves()).predict(X)


def test_scoring_a_short_series_or_before_fitting_is_refused(fitted: Forecaster):
    with pytest.raises(DataError, match="expected at least 13: the window of 10"):
        fitted.score(waves()[:12])
    with pytest.raises(NotFittedError):
        clone(fitted).score(waves())


def test_the_example_in_the_docstring():
    assert doctest.testmod(forecaster) == (0, 5)
