"""Ridge regression: least squares with a penalty, in one place for all baselines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def ridge(x: Array, y: Array, penalty: float) -> tuple[Callable[[Array], Array], int]:
    """Least squares with `penalty` on the squared weights of standardised features.

    From features (N, F) and targets (N, ...) to a function of features, and its size.
    """
    middle, scale = x.mean(0), x.std(0)
    scale[scale == 0.0] = 1.0
    z = (x - middle) / scale
    flat = y.reshape(len(y), -1)
    gram = z.T @ z + penalty * np.eye(z.shape[1])
    weights = np.linalg.solve(gram, z.T @ (flat - flat.mean(0)))

    def predict(new: Array) -> Array:
        answers: Array = (new - middle) / scale @ weights + flat.mean(0)
        return answers.reshape(-1, *y.shape[1:])

    return predict, weights.size + flat.shape[1]
