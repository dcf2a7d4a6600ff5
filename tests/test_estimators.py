"""The estimators: scikit-learn's own checks, the forms of X, saving, and refusals."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from numpy.typing import NDArray

import gatewright as gw
from gatewright.errors import ArgumentError, DataError, ModelError, SizeError

pytest.importorskip("sklearn")

import joblib
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from gatewright.cells import CELLS
from gatewright.designs.design import Design
from gatewright.estimators import SequenceClassifier, classifier
from gatewright.layers.recurrent import Recurrent

TINY = SequenceClassifier(
    "rnn", design="plain", hidden_size=8, epochs=4, learning_rate=0.05, random_state=0
)


# A weight of 2 is not the same as a sequence that appears twice: batches and the validation
# part are drawn by sequence.
BY_SEQUENCE = {
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn by sequence",
}


@parametrize_with_checks([TINY], expected_failed_checks=lambda estimator: BY_SEQUENCE)
def test_passes_the_checks_of_scikit_learn(estimator: Any, check: Any):
    check(estimator)


def first_step_decides(count: int = 60) -> tuple[list[NDArray[np.float64]], NDArray[Any]]:
    """Sequences (T_i, 2), and as their class the sign of channel 1 at the first step."""
    generator = np.random.default_rng(0)
    X = [generator.normal(size=(steps, 2)) for steps in generator.integers(2, 7, size=count)]
    for sequence in X:
        sequence[0, 1] = 2.0 * np.sign(sequence[0, 1])
    return X, np.where([sequence[0, 1] > 0 for sequence in X], "up", "down")


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifier:
    return learner().fit(*first_step_decides())


def learner(cell: Any = "gru") -> SequenceClassifier:
    return SequenceClassifier(
        cell,
        design="plain",
        hidden_size=12,
        epochs=40,
        learning_rate=0.02,
        patience=None,
        random_state=3,
    )


def test_learns_from_sequences_of_different_lengths(fitted: SequenceClassifier):
    X, y = first_step_decides(200)  # not those of `fitted`: all lengths are drawn before the values
    assert fitted.score(X[60:], y[60:]) > 0.9
    assert fitted.predict_proba(X).shape == (200, 2)
    assert fitted.classes_.tolist() == ["down", "up"]
    assert fitted.n_iter_ == 40


def test_the_forms_of_x_agree():
    generator = np.random.default_rng(1)
    table = generator.normal(size=(24, 5))
    y = (table[:, 2] > 0).astype(int)
    forms: list[Any] = [table, table[:, :, None], [row[:, None] for row in table]]
    shares = [clone(TINY).fit(form, y).predict_proba(form) for form in forms]
    assert (shares[0] == shares[1]).all() and (shares[0] == shares[2]).all()
    assert not np.allclose(shares[0], shares[0][0])  # the rows differ at all
    three = clone(TINY).fit(table, y).fit(forms[1], y)
    assert not hasattr(three, "n_features_in_")


def test_sequences_of_one_channel_may_be_flat():
    X, y = first_step_decides()
    flat = [sequence[:, 1] for sequence in X]
    columns = [values[:, None] for values in flat]
    expected = clone(TINY).fit(columns, y).predict_proba(columns[:1])
    column = np.empty(len(flat), dtype=object)
    column[:] = flat
    for form in (flat, tuple(flat), column, pandas.Series(flat)):
        estimator = clone(TINY).fit(form, y)
        np.testing.assert_allclose(estimator.predict_proba(form[:1]), expected)
    with pytest.raises(SizeError, match=r"sequence 1 has shape \(\d, 2\)"):
        clone(TINY).fit([flat[0], X[1], *flat[2:]], y)


def test_everything_depends_on_random_state_and_torchs_generator_stays():
    X, y = first_step_decides()
    before = torch.random.get_rng_state()
    first, same, different = (
        clone(TINY).set_params(random_state=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2)
    )
    assert (first == same).all() and not np.allclose(first, different)
    assert (torch.random.get_rng_state() == before).all()


def test_scaling_does_not_see_the_validation_part():
    X, y = first_step_decides()
    X[0] = X[0] + 1e6  # an outlier, which shows in the mean where it is in the training part
    short = clone(TINY).set_params(epochs=1)
    fits = [clone(short).set_params(random_state=seed).fit(X, y) for seed in range(8)]
    assert {bool(fit.model_.mean[0] > 100) for fit in fits} == {True, False}


def test_keeps_the_weights_of_the_best_epoch(fitted: SequenceClassifier):
    losses = fitted.history_.validation_loss
    assert len(losses) == 40
    assert fitted.history_.best_epoch == int(np.argmin(losses))


@pytest.mark.parametrize("steps", [np.int64(2), True], ids=str)
def test_recomputed_values_give_the_same_network(steps: Any, monkeypatch: pytest.MonkeyPatch):
    """The gradients of a step are the same within rounding, and so is what is learned."""
    asked: list[Any] = []
    forward = Recurrent.forward

    def counted(layer: Recurrent, *arguments: Any, **options: Any) -> Any:
        asked.append(options.get("recompute"))
        return forward(layer, *arguments, **options)

    monkeypatch.setattr(Recurrent, "forward", counted)
    X, y = first_step_decides(20)
    plain = clone(TINY).fit(X, y).predict_proba(X)
    assert set(asked) == {None}
    own = clone(TINY).set_params(recompute=steps).fit(X, y)
    assert steps in asked and type(own.get_params()["recompute"]) is type(steps)
    np.testing.assert_allclose(own.predict_proba(X), plain, atol=1e-4)


def test_the_design_is_chosen_as_train_does():
    """Few sequences get random weights; a larger budget tries trained networks beside them."""
    X, y = first_step_decides()
    few = SequenceClassifier("gru", hidden_size=8, random_state=0).fit(X, y)
    assert not few.model_.body.design.trained and few.n_iter_ == 1
    tried = clone(few).set_params(budget="thorough", epochs=2)
    losses: list[float] = []
    fit = tried._fit

    def measured(variant: Any, data: Any, seed: int) -> Any:
        model, history = fit(variant, data, seed)
        losses.append(history.best_loss)
        return model, history

    tried._fit = measured
    tried.fit(X, y)
    random, convolutional = np.array(losses[:-1]).reshape(2, 5).mean(1)
    assert (random < convolutional) == (not tried.model_.body.design.trained)
    with pytest.raises(ArgumentError, match="quick, normal, thorough"):
        clone(few).set_params(budget="all").fit(X, y)


def test_a_design_of_ones_own_is_stored(tmp_path: Path):
    X, y = first_step_decides()
    design = Design(bidirectional=True, readout=("mean",))
    original = clone(TINY).set_params(design=design).fit(X, y)
    original.save(tmp_path / "saved")
    again = SequenceClassifier.load(tmp_path / "saved")
    assert again.design == design and again.model_.body.design == design
    assert (again.fit(X, y).predict_proba(X) == original.predict_proba(X)).all()


def test_stops_early_without_a_better_loss():
    generator = np.random.default_rng(2)
    X, y = generator.normal(size=(40, 4)), generator.permutation([0, 1] * 20)
    estimator = clone(TINY).set_params(epochs=200, patience=3).fit(X, y)
    assert estimator.n_iter_ < 200
    assert estimator.n_iter_ - 1 - estimator.history_.best_epoch == 3


@pytest.mark.slow(instead="test_passes_the_checks_of_scikit_learn")
def test_searches_and_cross_validates_over_lists():
    X, y = first_step_decides(40)
    assert cross_val_score(TINY, X, y, cv=2, error_score="raise").shape == (2,)
    grid = {"cell": ["rnn", "gru"], "hidden_size": np.array([2, 4])}
    search = GridSearchCV(TINY, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.model_.hidden_size == search.best_params_["hidden_size"]


@pytest.mark.parametrize("cell", ["gru", CELLS["elman_rnn"]], ids=["named", "class"])
def test_a_directory_stores_it_without_pickle(cell: Any, tmp_path: Path):
    X, y = first_step_decides()
    original = clone(TINY).set_params(cell=cell).fit(X, y)
    original.save(tmp_path / "saved")
    again = SequenceClassifier.load(tmp_path / "saved")
    assert (again.predict_proba(X) == original.predict_proba(X)).all()
    assert again.predict(X).dtype == original.predict(X).dtype
    assert (again.predict(X) == original.predict(X)).all()
    assert again.get_params()["epochs"] == 4 and again.history_ == original.history_
    assert (again.fit(X, y).predict_proba(X) == original.predict_proba(X)).all()
    assert np.array_equal(gw.load(tmp_path / "saved").predict(X), original.predict_proba(X))


def test_a_table_is_still_checked_after_loading(tmp_path: Path):
    X, y = np.eye(12), [0, 1] * 6
    clone(TINY).fit(X, y).save(tmp_path / "saved")
    again = SequenceClassifier.load(tmp_path / "saved")
    assert again.predict(X).dtype == np.array(y).dtype
    with pytest.raises(ValueError, match="expecting 12 features"):
        again.predict(X[:, :5])


def test_joblib_stores_it(fitted: SequenceClassifier, tmp_path: Path):
    X, _ = first_step_decides()
    joblib.dump(fitted, tmp_path / "estimator.joblib")
    again = joblib.load(tmp_path / "estimator.joblib")
    assert (again.predict_proba(X) == fitted.predict_proba(X)).all()


def test_a_directory_of_something_else_is_refused(fitted: SequenceClassifier, tmp_path: Path):
    gw.save(fitted.model_, tmp_path / "model")
    with pytest.raises(ModelError, match="not the directory of an estimator"):
        SequenceClassifier.load(tmp_path / "model")
    with pytest.raises(NotFittedError):
        clone(fitted).save(tmp_path / "unfitted")
    saved = fitted.save(tmp_path / "saved")
    file = saved / "estimator.json"
    for damage in ("{", "[]", '{"kind": "SequenceClassifier"}'):
        file.write_text(damage)
        with pytest.raises(ModelError, match=r"estimator\.json is damaged"):
            SequenceClassifier.load(saved)
    file.write_text('{"kind": "Another", "settings": {}}')
    with pytest.raises(ModelError, match="load it with Another"):
        SequenceClassifier.load(saved)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0; expected a whole number"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"patience": 0}, "patience is 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"cell": "lstn"}, "no network is called 'lstn'"),
        ({"recompute": 0}, "recompute is 0; expected the number of steps"),
        ({"recompute": True, "cell": "window"}, "the network window has no states"),
    ],
)
def test_a_wrong_setting_is_refused_in_fit(settings: dict[str, Any], message: str):
    with pytest.raises(ArgumentError, match=message):
        clone(TINY).set_params(**settings).fit(*first_step_decides())


def changed(index: int, value: Any) -> list[NDArray[Any]]:
    X, _ = first_step_decides()
    X[index] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (changed(3, np.array([[0.0, 1.0], [np.nan, 1.0]])), DataError, "sequence 3 has nan at s"),
        (changed(3, np.array([[0.0, 1e300]])), DataError, "sequence 3 has inf at step 0, channel"),
        (changed(3, np.zeros((0, 2))), SizeError, "sequence 3 has shape"),
        (changed(3, np.zeros((4, 1))), SizeError, "sequence 3 has shape"),
        (changed(0, np.zeros((4, 3))), SizeError, "X has 3 channels; .* fitted on 2"),
        (changed(3, np.zeros(4)), SizeError, r"sequence 3 has shape \(4, 1\); .*\(time, 2\)"),
        (changed(3, np.array([["2024-01-01"]], "M8[D]")), DataError, "sequence 3 holds datetime64"),
        (changed(3, np.array([[1j, 2.0]])), DataError, "sequence 3 holds complex"),
        (changed(3, torch.eye(2).to_sparse()), SizeError, "sequence 3 cannot be read"),
        (changed(3, np.array([[None, {}]])), SizeError, "sequence 3 cannot be read"),
        (np.zeros((3, 4), "M8[ns]"), DataError, r"X holds datetime64\[ns\]"),
        (csr_array(np.eye(3)), DataError, "X is a sparse matrix; expected a dense table"),
        (torch.eye(3).to_sparse(), SizeError, "X cannot be read as numbers"),
        (np.array(["a", "b"]), ValueError, "could not convert|Expected 2D"),
        (changed(3, [[1.0, 2.0], [3.0]]), SizeError, "sequence 3 cannot be read"),
        (changed(3, [["a", "b"]]), DataError, "sequence 3 holds <U1; expected real numbers"),
        (np.zeros((3, 4)), SizeError, "X has 1 channels; .* fitted on 2"),
        ([], ValueError, "Expected 2D array"),
    ],
)
def test_sequences_that_cannot_be_read_are_refused(
    fitted: SequenceClassifier, X: Any, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        fitted.predict(X)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 60, "expected at least two classes"),
        (["a"] * 59 + ["b"], "class b of data set X has 1 sequence"),
        (["a", "b"] * 29, "inconsistent numbers of samples"),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(y: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        clone(TINY).fit(first_step_decides()[0], y)


def test_without_scikit_learn_the_error_has_the_remedy():
    code = "import sys; sys.modules['sklearn'] = None; import gatewright.estimators"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'gatewright[sklearn]'" in done.stderr


def test_the_example_of_the_docstring():
    assert doctest.testmod(classifier) == (0, 6)


# One channel, in the forms in which users have it.
def one_channel(count: int = 24) -> tuple[list[NDArray[np.float64]], NDArray[Any]]:
    generator = np.random.default_rng(4)
    X = [np.sort(generator.normal(size=row % 5 + 3)) for row in range(count)]
    return [x if row % 2 else x[::-1] for row, x in enumerate(X)], np.arange(count) % 2


@pytest.mark.parametrize("form", ["list", "series", "objects", "tensors", "lists", "grads"])
def test_one_channel_needs_no_axis_of_its_own(form: str):
    pandas = pytest.importorskip("pandas")
    X, y = one_channel()
    objects = np.empty(len(X), dtype=object)
    objects[:] = X
    data = {
        "list": X,
        "series": pandas.Series(X),
        "objects": objects,
        "tensors": [torch.tensor(values.copy()) for values in X],
        "grads": [torch.tensor(values.copy(), requires_grad=True) for values in X],
        "lists": [values.tolist() for values in X],
    }[form]
    columns = [values[:, None] for values in X]
    expected = clone(TINY).fit(columns, y).predict_proba(columns)
    assert (clone(TINY).fit(data, y).predict_proba(data) == expected).all()
    assert clone(TINY).fit(data, y).n_channels_ == 1


def test_a_tensor_is_read_as_an_array():
    X = np.random.default_rng(0).normal(size=(20, 4, 2)).astype(np.float32)
    y = np.arange(20) % 2
    expected = clone(TINY).fit(X, y).predict_proba(X)
    assert (clone(TINY).fit(torch.tensor(X), y).predict_proba(torch.tensor(X)) == expected).all()


# Weights of sequences.
def test_weight_zero_removes_a_sequence_and_equal_weights_change_nothing():
    X, y = first_step_decides()
    plain = clone(TINY).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(
        clone(TINY).fit(X, y, np.full(60, 7.0)).predict_proba(X), plain, rtol=1e-4
    )
    weights = np.where(np.arange(60) < 40, 1.0, 0.0)
    part = clone(TINY).fit(X[:40], y[:40]).predict_proba(X)
    np.testing.assert_allclose(clone(TINY).fit(X, y, weights).predict_proba(X), part, rtol=1e-4)


def test_a_class_with_large_weights_is_predicted_more_often():
    generator = np.random.default_rng(5)
    X, y = generator.normal(size=(60, 4)), generator.permutation([0, 1] * 30)  # nothing to learn
    shares = [
        clone(TINY).fit(X, y, np.where(y == label, 9.0, 1.0)).predict_proba(X)[:, 1].mean()
        for label in (0, 1)
    ]
    assert shares[0] < 0.3 and shares[1] > 0.7


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0] * 59, SizeError, r"sample_weight has shape \(59,\); expected \(60,\)"),
        ([-1.0, *[1.0] * 59], DataError, "negative or not finite"),
        ([0.0] * 60, DataError, "every weight is zero"),
        (["a"] * 60, DataError, "sample_weight holds <U1"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    weights: Any, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        clone(TINY).fit(*first_step_decides(), sample_weight=weights)
