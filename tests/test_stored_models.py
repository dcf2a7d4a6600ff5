"""Directories that an earlier version saved load today and predict the same numbers.

`stored/` holds, for each task, a model that version 0.1 trained for two epochs on the files of
`tables.py`, with the first 20 rows of its predictions; and a scikit-learn classifier. They are
never written again: a change that breaks one of them breaks the models of users.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gatewright as gw
from gatewright.training.predict import predict
from tables import write_tables

STORED = Path(__file__).parent / "stored"


@pytest.mark.parametrize(
    ("name", "network"), [("hours", "gru"), ("classes", "window"), ("tags", "Mine"), ("fox", "rnn")]
)
def test_a_stored_model_predicts_the_same_numbers(name: str, network: str, tmp_path: Path) -> None:
    write_tables(tmp_path)
    data = tmp_path / f"{name}.csv"
    if name == "fox":
        data = tmp_path / "brief.txt"
        data.write_text((tmp_path / "fox.txt").read_text()[:90])
    assert gw.load(STORED / name).network == network
    columns = predict(STORED / name, data).columns
    expected = json.loads((STORED / name / "expected.json").read_text())
    assert list(columns) == list(expected)
    for column, values in expected.items():
        own = list(columns[column])[:20]
        if isinstance(values[0], float):
            np.testing.assert_allclose(own, values, rtol=1e-4, atol=1e-6, err_msg=column)
        else:
            assert own == values, column


def test_a_stored_estimator_predicts_the_same_numbers() -> None:
    pytest.importorskip("sklearn")
    from gatewright.estimators import SequenceClassifier

    classifier = SequenceClassifier.load(STORED / "classifier")
    X = np.random.default_rng(0).normal(size=(24, 5, 2)).round(2)
    expected = json.loads((STORED / "classifier" / "expected.json").read_text())
    np.testing.assert_allclose(classifier.predict_proba(X)[:6], expected, rtol=1e-4)
    assert classifier.classes_.tolist() == ["down", "up"] and classifier.n_iter_ == 3
    # The best epoch was called "kept" when this was written, and still is in the file.
    stored = json.loads((STORED / "classifier" / "estimator.json").read_text())["history"]
    assert classifier.history_.best_epoch == stored["kept"]
    assert classifier.history_.to_json() == stored
