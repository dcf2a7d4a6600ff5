"""What the two tasks with classes share: their weights, their metrics and their baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import DataError
from gatewright.tasks.task import Baseline, Fitted, Metric
from gatewright.tasks.training_ranges import Seen, numbered

ACCURACY = Metric("accuracy", "accuracy", higher=True, percent=True)
MACRO_F1 = Metric("macro_f1", "macro F1", higher=True, percent=True)

#: A class is rare, and all classes are weighted, where the largest has this many times as many.
IMBALANCE = 2.0


def class_weights(counts: NDArray[np.int64]) -> tuple[float, ...] | None:
    """Weights of the classes in the loss, with mean 1 over the items; None where none is rare.

    The square root of the inverse share: a rare class is heard, and the probabilities are
    not as far from the truth as with the inverse share itself.

    >>> class_weights(np.array([30, 31])) is None
    True
    >>> [round(one, 2) for one in class_weights(np.array([90, 10]))]
    [0.83, 2.5]
    """
    present = counts[counts > 0]
    if present.max() < IMBALANCE * present.min():
        return None
    raw = np.where(counts > 0, 1.0 / np.sqrt(np.maximum(counts, 1)), 0.0)
    return tuple((raw * counts.sum() / (raw * counts).sum()).tolist())


def label_scores(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], classes: int
) -> dict[str, float]:
    """Accuracy, and the mean over the classes that occur of F1 = 2 TP / (2 TP + FP + FN).

    >>> label_scores(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 2)
    {'accuracy': 0.75, 'macro_f1': 0.7333333333333334}
    """
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    either = np.bincount(predicted, minlength=classes) + np.bincount(labels, minlength=classes)
    occurs = either > 0
    return {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float((2 * hits[occurs] / either[occurs]).mean()),
    }


def ready_sequences(seen: Seen, classes: Sequence[str], data: Any) -> tuple[Any, list[str]]:
    """Sequences with their channels in the order that was learned; see `Task.ready`."""
    order = seen.order(data.channel_names or numbered(data.channels), data.name)
    for at, sequence in enumerate(data.sequences):
        if not len(sequence):
            name = data.ids[at] if data.ids else at
            raise DataError(f"sequence {name} of {data.name} has no step; expected at least one")
    names = tuple(seen.channels) if data.channel_names else ()
    sequences = tuple(sequence[:, order] for sequence in data.sequences)
    remarks = seen.remarks(sequences, data.name)
    for name in data.classes:
        if name not in classes:
            remarks.append(
                f"{data.name} has the class {name}, which the model has not learned: it takes "
                f"everything for one of {', '.join(classes)}"
            )
    return replace(data, sequences=sequences, channel_names=names), remarks


def relabelled(data: Any, classes: Sequence[str]) -> Any:
    """Labelled sequences with their labels counted as the model counts its classes.

    Raises:
        DataError: if one has not been learned.
    """
    for name in data.classes:
        if name not in classes:
            raise DataError(
                f"{data.name} has the class {name}; the model has learned {', '.join(classes)}. "
                "Leave its sequences out"
            )
    at = np.array([list(classes).index(name) for name in data.classes], dtype=np.int64)
    labels = data.labels
    moved = tuple(at[one] for one in labels) if isinstance(labels, tuple) else at[labels]
    return replace(data, labels=moved, classes=tuple(classes))


def named_shares(
    classes: Sequence[str], probabilities: NDArray[np.float64]
) -> dict[str, list[Any]]:
    """The likeliest class and the probability of each, as columns, from (N, classes)."""
    said = [classes[at] for at in probabilities.argmax(-1)]
    shares = {f"p_{name}": probabilities[:, at].tolist() for at, name in enumerate(classes)}
    return {"predicted": said, **shares}


def confusion(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], classes: int
) -> list[list[int]]:
    """[true class][predicted class], counts."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts.tolist()


def majority(predict: Callable[[Any, NDArray[np.float64]], Any]) -> Baseline:
    """Always the shares of the classes; `predict` repeats them for every item of a part."""

    def fit(training: Any, _: Any) -> Fitted:
        shares = training.counts / training.counts.sum()
        return Fitted(lambda part: predict(part, shares), len(shares))

    return Baseline("majority", "majority class", "Always the class that is most frequent.", fit)
