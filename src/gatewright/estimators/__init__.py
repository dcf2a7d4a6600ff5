"""Estimators with scikit-learn's interface; they need the extra `sklearn`.

Nothing else in this package imports scikit-learn at its top: `import gatewright` does not
need it.
"""

from __future__ import annotations

from gatewright.errors import ArgumentError

try:
    import sklearn  # noqa: F401 - so that a missing package is reported with the remedy
except ModuleNotFoundError:
    raise ArgumentError(
        "gatewright.estimators needs scikit-learn, which is not installed: "
        "pip install 'gatewright[sklearn]'"
    ) from None

from gatewright.estimators.classifier import SequenceClassifier
from gatewright.estimators.forecaster import Forecaster

__all__ = ["Forecaster", "SequenceClassifier"]
