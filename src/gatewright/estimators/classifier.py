"""A classifier of sequences with scikit-learn's interface."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from gatewright.designs.design import Design
from gatewright.errors import DataError, SizeError
from gatewright.estimators.network import NetworkEstimator
from gatewright.estimators.sequences import as_numbers, read_sequences
from gatewright.language.cell import Cell
from gatewright.tasks.classify import Classify, Weighted
from gatewright.training.networks import DEFAULT_CELL


class SequenceClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]
    """Classify sequences by a recurrent network of any cell.

    X is a list of N arrays (T_i, C), one array (N, T, C), or a table (N, T), which is read as
    one channel over T steps. Arrays of one channel may be (T_i,), in a list or in a column of a
    dataframe. The design is chosen as `gatewright.train` does: few sequences get random recurrent
    weights with a linear read-out, many a trained network. A validation part of the data, drawn
    class by class from `random_state`, decides which epoch's weights are kept; the scaling of the
    channels comes from the rest.

    >>> import numpy as np
    >>> generator = np.random.default_rng(0)
    >>> up = [np.sort(generator.normal(size=(n, 1)), axis=0) for n in range(3, 23)]
    >>> X, y = [*up, *(rising[::-1] for rising in up)], ["up"] * 20 + ["down"] * 20
    >>> classifier = SequenceClassifier("gru", epochs=30, random_state=0).fit(X, y)
    >>> classifier.predict([[[0.0], [0.5], [2.0]], [[1.0], [0.3], [-0.9]]])
    array(['up', 'down'], dtype='<U4')

    It can be cloned, searched over and put into a pipeline whose other steps leave X in one
    of these forms. `save` and `load` need no pickle; a file of `joblib.dump` runs code when it is
    loaded, and fits only the same versions of gatewright and torch.

    Args:
        cell: A name from `gatewright.CELLS`, "window", a cell, or "file.py:MyCell".
        design: The shape of the network, a `Design` or its name; by default it is chosen on
            validation, as `gatewright.train` does. "plain" is one layer, read at its last step.
        budget: "quick", "normal" or "thorough": how many designs are tried, in how many short
            trainings.
        hidden_size: Units of the network; by default those of the design.
        epochs: Passes over the data, at most; by default as many as `gatewright.train` takes.
        batch_size: Sequences of a training step; smaller where the data are few.
        learning_rate: The highest rate; it rises to it and then falls to zero along a cosine.
        dropout: Share of the features dropped before the readout, while learning.
        patience: Epochs without a better validation loss after which training ends, or None;
            it counts only where epochs is set.
        validation_fraction: Share of each class in the validation part.
        random_state: An int for the same result every time, a `RandomState`, or None.
        recompute: Steps between the states that are kept for gradients: less memory for long
            sequences, with the same gradients. True is the square root of the steps.
        device: "cpu", "cuda", "cuda:1" or "mps"; "auto" is a GPU where there is one, and torch has
            fused functions for the cell, or our kernels are proven there. It predicts on the CPU.

    Attributes:
        classes_: (K,), the sorted values of y.
        model_: The trained `gatewright` model; its `body` is the layer, which has `trace`.
        history_: Losses and metrics of each epoch.
        n_iter_: Number of epochs; 1 for a design of random weights, which learns in one pass.
        n_channels_: Number of channels, C. For a table, `n_features_in_` is its T.
    """

    def __init__(
        self,
        cell: str | Cell | type[Cell] = DEFAULT_CELL,
        *,
        design: str | Design | None = None,
        budget: str = "normal",
        hidden_size: int | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        dropout: float = 0.1,
        patience: int | None = 20,
        validation_fraction: float = 0.2,
        random_state: Any = None,
        recompute: int | None = None,
        device: str = "auto",
    ) -> None:
        self.cell = cell
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn the classes y (N,) of the sequences X.

        Args:
            sample_weight: (N,), the weight of each sequence in the loss, in learning as in the
                choice of the epoch; by default all are equal.

        Raises:
            SizeError, DataError, ArgumentError: all are a ValueError; for X, y or a setting
                that cannot be used. Every class needs two sequences, one of them for validation.
        """
        self._check_settings()
        sequences = read_sequences(self, X, reset=True)
        labels = validate_data(self, y=y)
        check_consistent_length(sequences, labels)
        check_classification_targets(labels)
        if len(sequences) == 1:
            raise DataError("X holds 1 sample; expected two of each class, to learn and to choose")
        weights = self._weights(sample_weight, len(sequences))
        if weights is not None:  # sequences of weight 0 are left out
            weighted = zip(sequences, weights, strict=True)
            sequences = tuple(sequence for sequence, weight in weighted if weight)
            labels, weights = labels[weights > 0.0], weights[weights > 0.0]
        classes, codes = np.unique(labels, return_inverse=True)
        names = tuple(str(label) for label in classes.tolist())
        codes = codes.astype(np.int64)
        recordings = Weighted(sequences, codes, names, name="X", weights=weights)
        task = Classify.of(recordings)
        self._store(*self._learn([task], recordings))
        self.classes_ = classes
        self.n_channels_ = recordings.channels
        return self

    @staticmethod
    def _weights(sample_weight: Any, count: int) -> NDArray[np.float32] | None:
        """Weights (N,) with mean 1, or None where all are equal."""
        if sample_weight is None:
            return None
        weights = as_numbers(sample_weight, "sample_weight").astype(np.float64)
        if weights.ndim == 0:
            weights = np.full(count, float(weights))
        if weights.shape != (count,):
            raise SizeError(
                f"sample_weight has shape {weights.shape}; expected ({count},), a weight for "
                "each sequence"
            )
        if not (np.isfinite(weights).all() and (weights >= 0.0).all() and weights.any()):
            raise DataError(
                "sample_weight has a value that is negative or not finite, or every weight is "
                "zero; expected numbers from 0, at least one of them above 0"
            )
        scaled: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
        return scaled

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (N, K) of `classes_`; they are not calibrated."""
        check_is_fitted(self)
        sequences = read_sequences(self, X, reset=False)
        probabilities: NDArray[np.float64] = self.model_.predict(sequences)
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely class of each sequence, (N,)."""
        codes = self.predict_proba(X).argmax(-1)  # also refuses an estimator that is not fitted
        labels: NDArray[Any] = self.classes_[codes]
        return labels
