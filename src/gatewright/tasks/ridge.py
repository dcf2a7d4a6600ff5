"""Ridge regression: least squares with a penalty on the weights, for the linear baselines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Penalties that a baseline chooses from on the validation part.
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def ridge(x: Array, y: Array, penalty: float) -> tuple[Callable[[Array], Array], int]:
    """Fit a linear function of standardised features, with `penalty` on its squared weights.

    Args:
        x: Features (N, F).
        y: Targets (N, ...).
        penalty: Factor of the squared weights in the loss; the intercept is not penalised.

    Returns:
        A function from features to predictions, and the number of its parameters.
    """
    mean, scale = x.mean(0), x.std(0)
    scale[scale == 0.0] = 1.0
    z = (x - mean) / scale
    flat = y.reshape(len(y), -1)
    gram = z.T @ z + penalty * np.eye(z.shape[1])
    # The features have mean 0, so the intercept is the mean of the targets.
    weights = np.linalg.solve(gram, z.T @ (flat - flat.mean(0)))

    def predict(new: Array) -> Array:
        predicted: Array = (new - mean) / scale @ weights + flat.mean(0)
        return predicted.reshape(-1, *y.shape[1:])

    return predict, weights.size + flat.shape[1]
