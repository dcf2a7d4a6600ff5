"""Classification of whole sequences, whatever their lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data import Recordings, stratified_split
from gatewright.draw.plots.passage import Belief
from gatewright.errors import DataError
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.labelled import (
    Labelled,
    LabelledPresentation,
    class_weights,
    majority,
    probability_columns,
)
from gatewright.tasks.neighbour import nearest_neighbour
from gatewright.tasks.padding import Padded, check_shapes, pad
from gatewright.tasks.peers import convolution_peers
from gatewright.tasks.presentation import Example
from gatewright.tasks.summaries import ridge_on_summaries
from gatewright.tasks.task import Batch, run_all
from gatewright.tasks.training_ranges import TrainingRanges


@dataclass(frozen=True, slots=True, eq=False)
class Weighted(Recordings):
    """Recordings with a weight each in the loss."""

    weights: NDArray[np.float32] | None = None  # (N,); None where all weigh the same

    def take(self, indices: NDArray[np.integer] | list[int]) -> Weighted:
        """Return the recordings at these positions, with their weights."""
        chosen = np.asarray(indices, dtype=np.int64)
        # Not `super()`: a dataclass with slots is a new class, which `super()` does not know.
        part = Recordings.take(self, chosen)
        weights = None if self.weights is None else self.weights[chosen]
        return replace(cast(Weighted, part), weights=weights)


@dataclass(frozen=True, kw_only=True)
class Classify(Labelled):
    """Predict the class of a sequence; predictions are probabilities, (N, classes)."""

    kind: ClassVar[str] = "classify"
    data_type: ClassVar[type[Any]] = Recordings
    takes: ClassVar[str] = "Recordings of gw.read, or a list of arrays (time, channels)"
    reach: ClassVar[int] = 2
    centred: ClassVar[bool] = True
    closed_form: ClassVar[bool] = True

    @classmethod
    def of(cls, training: Recordings) -> Self:
        """Return the task for these training data.

        Raises:
            DataError: if a class has no sequence, or there is only one class.
        """
        missing = [
            name for name, count in zip(training.classes, training.counts, strict=True) if not count
        ]
        if missing:
            raise DataError(
                f"{training.name} has no sequence of {', '.join(missing)} to learn from; "
                "expected at least one of every class"
            )
        if len(training.classes) < 2:
            raise DataError(
                f"every sequence of {training.name} is of the class {training.classes[0]}; "
                "expected at least two classes: there is nothing to tell apart"
            )
        return cls(
            classes=training.classes,
            seen=TrainingRanges.of(training),
            weights=class_weights(training.counts),
        )

    @staticmethod
    def split(whole: Recordings) -> tuple[Recordings, Recordings]:
        return stratified_split(whole, 0.2, seed=0)

    def parts(
        self, training: Recordings, fraction: float, seed: int
    ) -> tuple[Recordings, Recordings]:
        return stratified_split(training, fraction, seed)

    @staticmethod
    def flatten(values: NDArray[Any]) -> NDArray[Any]:
        return values

    def batches(self, part: Recordings) -> Padded:
        x, lengths = pad(part.sequences)
        weights = part.weights if isinstance(part, Weighted) else None
        return Padded(
            x,
            lengths,
            torch.from_numpy(part.labels.copy()),
            weights=None if weights is None else torch.from_numpy(weights.copy()),
        )

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        return self.learning_loss(outputs, batch, model)

    def mass(self, batch: Batch) -> float:
        return self.mass_of(batch.target, batch.weights)

    def learning_loss(
        self, outputs: Tensor, batch: Batch, model: Any, smoothing: float = 0.0
    ) -> Tensor:
        return self.cross_entropy(outputs, batch.target, batch.weights, smoothing)

    def inside(self, batch: Batch) -> slice:
        return slice(None)

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        return torch.cat([outputs.softmax(-1).double() for outputs, _ in pairs]).cpu().numpy()

    def predict(
        self, model: Any, data: Recordings | Sequence[NDArray[np.floating]]
    ) -> NDArray[np.float64]:
        """Return the probabilities (N, classes) of N sequences, each (T_i, I), as recorded."""
        sequences = data.sequences if isinstance(data, Recordings) else data
        if not len(sequences):
            return np.zeros((0, len(self.classes)))
        x, lengths = pad(check_shapes(sequences, self.inputs))
        batches = Padded(x.to(model.mean.dtype), lengths, torch.zeros_like(lengths))
        return self.predictions(run_all(model, batches), model)

    def table(self, model: Any, data: Recordings) -> dict[str, list[Any]]:
        ids = list(data.ids or map(str, range(len(data))))
        return {"id": ids, **probability_columns(self.classes, self.predict(model, data))}


@dataclass(frozen=True, slots=True)
class ClassifyPresentation(LabelledPresentation):
    """The words of the task, and its first test sequence as the example."""

    title: ClassVar[str] = "a class for each sequence"
    items: ClassVar[str] = "sequences"
    splitting: ClassVar[str] = (
        "The validation part is drawn anew from the training part for each seed, class by class. "
        "Each channel is scaled by its mean and deviation over the training sequences."
    )
    readout: ClassVar[str] = "The readout uses a recurrent network's output at the last step."

    def summary(self) -> str:
        classes, channels = self.task.classes, self.task.seen.channels
        return (
            f"A classifier of sequences with {len(classes)} classes: {', '.join(classes)}. "
            f"It reads {len(channels)} channels."
        )

    def usage(self) -> str:
        return (
            "probabilities = model.predict(sequences)  # arrays (time, channels), as recorded\n"
            "names = [model.task.classes[k] for k in probabilities.argmax(-1)]"
        )

    def limits(self) -> str:
        return (
            f"It knows these {len(self.task.classes)} classes and assigns every sequence to one of "
            "them, even a sequence of another class. Its probabilities were not calibrated."
        )

    def part_size(self, part: Recordings) -> str:
        return f"{len(part)} sequences"

    def example(self, model: Any, part: Recordings) -> Example:
        first = part.take([0])
        x, lengths = pad(first.sequences)
        batch = Batch(x, None, torch.from_numpy(first.labels.copy()))
        # The belief after each step is the answer to the sequence up to that step.
        steps = len(x)
        beginnings = Batch(x.expand(-1, steps, -1), torch.arange(1, steps + 1), lengths)
        with torch.no_grad():
            probabilities = model(beginnings)[0].softmax(-1)  # (T, classes)
        classes = self.task.classes
        true, answer = int(first.labels[0]), int(probabilities[-1].argmax())
        verdict = "correctly" if true == answer else f"wrongly: it is {classes[true]}"
        return Example(
            batch,
            f"One sequence: the first of the test part, {int(lengths[0])} steps, class "
            f"{classes[true]}.",
            f"It is classified as {classes[answer]}, {verdict}.",
            Belief(probabilities.tolist(), classes, true),
            channels=self.task.seen.channels,
        )


def classify_baselines(task: Classify) -> Sequence[Baseline]:
    """Return the methods that a network has to beat, from the simplest."""
    return (
        majority(lambda part, shares: np.tile(shares, (len(part), 1))),
        ridge_on_summaries(),
        nearest_neighbour(),
        *convolution_peers(),
    )
