"""The common part of the two tasks with classes: of whole sequences and of single steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.draw.page.page import Section
from gatewright.draw.plots.confusion import confusion_section
from gatewright.errors import DataError
from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.metric import Metric
from gatewright.tasks.presentation import Presentation
from gatewright.tasks.task import Task
from gatewright.tasks.training_ranges import TrainingRanges, numbered

ACCURACY = Metric(
    "accuracy", "accuracy", higher=True, percent=True, about="The share of answers that are right."
)
MACRO_F1 = Metric(
    "macro_f1",
    "macro F1",
    higher=True,
    percent=True,
    about="F1, which falls with missed and with wrongly assigned members of a class, averaged over "
    "the classes: a rare class counts as much as a frequent one.",
)

#: The classes are weighted if the largest has at least this many times the items of the smallest.
IMBALANCE = 2.0


@dataclass(frozen=True, kw_only=True)
class Labelled(Task):
    """Classify items: the sequences of `Recordings` or the steps of `Tagged`."""

    plain_types: ClassVar[tuple[type[Any], ...]] = (Sequence, np.ndarray, Tensor)
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY, MACRO_F1)

    classes: tuple[str, ...]
    seen: TrainingRanges
    weights: tuple[float, ...] | None = None  # of the classes in the loss

    def inconsistency(self) -> str | None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            return "it has no classes, or one of them twice"
        if self.weights is not None and len(self.weights) != len(self.classes):
            return f"it has {len(self.weights)} weights for {len(self.classes)} classes"
        if self.weights is not None and min(self.weights) < 0:
            return "a class has a weight below 0"
        return self.seen.inconsistency()

    @property
    def inputs(self) -> int:
        return len(self.seen.channels)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.seen.channels

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @staticmethod
    @abstractmethod
    def flatten(values: Any) -> NDArray[Any]:
        """Return the labels or predictions of a part as one array with a row per item."""

    def values(self, training: Any) -> NDArray[np.float64]:
        return np.concatenate(training.sequences, dtype=np.float64)

    def cross_entropy(
        self,
        outputs: Tensor,
        target: Tensor,
        item_weights: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> Tensor:
        """Return the mean cross entropy of items (N,), weighted by class and by item.

        The mean divides by the sum of the weights, not by N: so does torch with class weights.
        """
        weight = None if self.weights is None else outputs.new_tensor(self.weights)
        entropy = partial(nn.functional.cross_entropy, weight=weight, label_smoothing=smoothing)
        if item_weights is None:
            return entropy(outputs, target)
        losses = entropy(outputs, target, reduction="none")
        total = item_weights.to(losses) * (1.0 if weight is None else weight[target])
        mean: Tensor = (losses * item_weights).sum() / total.sum()
        return mean

    def mass_of(self, target: Tensor, item_weights: Tensor | None = None) -> float:
        """Return the sum of the weights of items (N,), by class and by item."""
        total = torch.ones(target.shape, dtype=torch.float64)
        if item_weights is not None:
            total = total * item_weights
        if self.weights is not None:
            total = total * total.new_tensor(self.weights)[target]
        return float(total.sum())

    def taught_loss(self, outputs: Tensor, taught: Tensor, batch: Any, model: Any) -> Tensor:
        """Return the mean cross entropy against the probabilities of a model that teaches."""
        inside = self.inside(batch)
        outputs, taught = outputs[inside], taught[inside]
        return nn.functional.cross_entropy(outputs, taught.softmax(-1))

    @abstractmethod
    def inside(self, batch: Any) -> Any:
        """Return an index of the outputs (..., classes) that have a class."""

    def score(self, predicted: Any, part: Any) -> dict[str, float]:
        answers = self.flatten(predicted).argmax(-1)
        return label_scores(answers, self.flatten(part.labels), len(self.classes))

    def adapt(self, data: Any) -> tuple[Any, list[str]]:
        """Put the channels in the order of training; see `Task.adapt`."""
        order = self.seen.order(data.channel_names or numbered(data.channels), data.name)
        for position, sequence in enumerate(data.sequences):
            if not len(sequence):
                name = data.ids[position] if data.ids else position
                raise DataError(f"sequence {name} of {data.name} has no steps; expected at least 1")
        names = tuple(self.seen.channels) if data.channel_names else ()
        sequences = tuple(sequence[:, order] for sequence in data.sequences)
        remarks = self.seen.remarks(sequences, data.name)
        remarks += [
            f"{data.name} has the class {name}, which the model has not learned: it assigns "
            f"everything to one of {', '.join(self.classes)}"
            for name in data.classes
            if name not in self.classes
        ]
        return replace(data, sequences=sequences, channel_names=names), remarks


@dataclass(frozen=True, slots=True)
class LabelledPresentation(Presentation):
    """The confusion matrix, which both tasks show."""

    items: ClassVar[str]  # in the plural: "sequences"

    task: Labelled

    def figures(self, predicted: Any, part: Any) -> dict[str, Any]:
        answers = self.task.flatten(predicted).argmax(-1)
        labels = self.task.flatten(part.labels)
        return {"confusion": confusion(answers, labels, len(self.task.classes))}

    def sections(self, figures: Mapping[str, Any], subject: str) -> list[Section]:
        caption = f"{subject} Colour: share of the row."
        return [confusion_section(figures["confusion"], self.task.classes, caption, self.items)]


def class_weights(counts: NDArray[np.int64]) -> tuple[float, ...] | None:
    """Return loss weights of the classes, with mean 1 over the items; None if none is rare.

    A weight is the inverse square root of the class's share. It makes rare classes count, and
    distorts the predicted probabilities less than the inverse share would.

    >>> class_weights(np.array([30, 31])) is None
    True
    >>> [round(weight, 2) for weight in class_weights(np.array([90, 10]))]
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
    """Return accuracy and macro F1, the mean of 2 TP / (2 TP + FP + FN) over the classes.

    A class counts if it occurs in the labels or in the predictions.

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


def confusion(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], classes: int
) -> list[list[int]]:
    """Count the items by [true class][predicted class]."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts.tolist()


def relabelled(data: Any, classes: Sequence[str]) -> Any:
    """Return labelled sequences with their labels renumbered as positions in `classes`.

    Raises:
        DataError: if the data have a class that is not among them.
    """
    for name in data.classes:
        if name not in classes:
            raise DataError(
                f"{data.name} has the class {name}; the model has learned {', '.join(classes)}. "
                "Leave its sequences out"
            )
    positions = np.array([list(classes).index(name) for name in data.classes], dtype=np.int64)
    labels = data.labels
    if isinstance(labels, tuple):  # an array per sequence, with a label per step
        renumbered: Any = tuple(positions[steps] for steps in labels)
    else:
        renumbered = positions[labels]
    return replace(data, labels=renumbered, classes=tuple(classes))


def probability_columns(
    classes: Sequence[str], probabilities: NDArray[np.float64]
) -> dict[str, list[Any]]:
    """Return the likeliest class and the probability of each class, (N, classes), as columns."""
    likeliest = [classes[position] for position in probabilities.argmax(-1)]
    columns = {f"p_{name}": probabilities[:, k].tolist() for k, name in enumerate(classes)}
    return {"predicted": likeliest, **columns}


def majority(predict: Callable[[Any, NDArray[np.float64]], Any]) -> Baseline:
    """Return the baseline that predicts the shares of the classes for every item.

    Args:
        predict: From a part and the shares (classes,) to predictions in the task's form.
    """

    def fit(training: Any, _: Any) -> Fitted:
        shares = training.counts / training.counts.sum()
        return Fitted(lambda part: predict(part, shares), len(shares))

    return Baseline("majority", "majority class", "Always the class that is most frequent.", fit)
