"""The classifiers of aeon as baselines: the cases they read, and the reason if they are missing."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gatewright.data import Recordings
from gatewright.tasks.classify import Classify
from gatewright.tasks.peers import MIN_STEPS, convolution_peers, equal_lengths, fit_classifier
from gatewright.tasks.registry import baselines_for, missing_baselines


def ramps(lengths: tuple[int, ...] = (12, 5, 9, 12)) -> Recordings:
    """Rising and falling sequences of two channels, the second in other units."""
    signs = [1.0, -1.0] * (len(lengths) // 2)
    sequences = tuple(
        np.outer(np.arange(1, steps + 1), [sign, 100.0 * sign]).astype(np.float32)
        for steps, sign in zip(lengths, signs, strict=True)
    )
    labels = np.array([0, 1] * (len(lengths) // 2))
    return Recordings(sequences, labels, ("up", "down"), name="ramps")


class Sign:
    """A classifier with scikit-learn's methods: 0 where the first channel ends above its start."""

    def fit(self, cases: Any, labels: Any) -> Sign:
        self.shape = cases.shape
        return self

    def predict(self, cases: Any) -> Any:
        return (cases[:, 0, 3] < cases[:, 0, 0]).astype(float)


def test_sequences_are_padded_with_the_mean_and_scaled():
    training = ramps()
    cases = equal_lengths(training)(training)
    assert cases.shape == (4, 2, 12)
    assert not cases[1, :, 5:].any() and cases[1, :, :5].all()
    lengths = training.lengths
    inside = np.concatenate([case[:, : lengths[row]] for row, case in enumerate(cases)], 1)
    np.testing.assert_allclose(inside.mean(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(inside.std(1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(cases[:, 0], cases[:, 1], rtol=1e-5, atol=1e-6)


def test_new_sequences_get_the_length_of_the_training_part():
    cases = equal_lengths(ramps((4, 4)))
    assert cases(ramps((20, 3))).shape == (2, 2, MIN_STEPS)


def test_predictions_are_probabilities_in_the_order_of_the_classes():
    fitted = fit_classifier(Sign(), ramps())
    np.testing.assert_array_equal(fitted.predict(ramps((6, 6, 6, 6))), [[1.0, 0.0], [0.0, 1.0]] * 2)
    assert fitted.parameters is None


def test_a_missing_package_is_reported_once_with_the_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    task = Classify.of(ramps())
    assert [line for line in missing_baselines(task) if "aeon" in line] == [
        "MiniRocket and MultiRocket-Hydra are left out: aeon is not installed "
        "(pip install 'gatewright[peers]')."
    ]
    assert "minirocket" not in [baseline.name for baseline in baselines_for(task)]


def test_an_installed_package_is_used(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("aeon.classification.convolution_based")
    module.MiniRocketClassifier = lambda random_state: Sign()  # type: ignore[attr-defined]
    package = module.__name__.rpartition(".")[0]
    for name in ("aeon", package):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys.modules["aeon"], "classification", sys.modules[package], raising=False)
    monkeypatch.setattr(sys.modules[package], "convolution_based", module, raising=False)
    minirocket = convolution_peers()[0]
    predicted = minirocket.fit(ramps(), None).predict(ramps())
    np.testing.assert_array_equal(predicted.argmax(-1), ramps().labels)


def test_more_data_take_more_time():
    for baseline in convolution_peers():
        assert baseline.seconds is not None
        assert baseline.seconds(ramps((900, 900))) > baseline.seconds(ramps((20, 20))) > 0.0


@pytest.mark.slow(instead="test_predictions_are_probabilities_in_the_order_of_the_classes")
def test_minirocket_of_aeon_tells_ramps_apart():
    pytest.importorskip("aeon")
    training = ramps((30, 30, 25, 30, 28, 30, 30, 27))
    predicted = convolution_peers()[0].fit(training, None).predict(training)
    np.testing.assert_array_equal(predicted.argmax(-1), training.labels)
