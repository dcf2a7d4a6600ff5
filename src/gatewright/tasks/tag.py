"""Classification of every step of a sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data.containers.tagged import Tagged
from gatewright.errors import DataError
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.labelled import (
    Labelled,
    LabelledPresentation,
    class_weights,
    majority,
    probability_columns,
)
from gatewright.tasks.metric import Metric
from gatewright.tasks.padding import Padded, check_shapes, pad, valid_steps
from gatewright.tasks.presentation import Example
from gatewright.tasks.tag_chunks import TagChunks
from gatewright.tasks.task import Batch, run_all
from gatewright.tasks.training_ranges import TrainingRanges

#: From this many sequences on, a part is split by whole sequences; below, each by its steps.
MIN_SEQUENCES = 5
#: Share of their union that a predicted and a true segment have to overlap by.
MIN_OVERLAP = 0.5
SEGMENT_F1 = Metric(
    "segment_f1",
    "segment F1",
    higher=True,
    percent=True,
    about="F1 of whole stretches of the same class. A predicted stretch is right if it overlaps a "
    "true one of its class by at least half of the steps that the two cover.",
)
#: Steps of the example that a report shows.
EXAMPLE_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Tag(Labelled):
    """Predict the class of every step; predictions are (T_i, classes) for each sequence.

    A network that is read in one direction uses only the steps up to a prediction's own, so that
    it can run on a stream.
    """

    kind: ClassVar[str] = "tag"
    data_type: ClassVar[type[Any]] = Tagged
    takes: ClassVar[str] = "Tagged data of gw.read, or a list of arrays (time, channels)"
    every_step: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (*Labelled.metrics, SEGMENT_F1)

    chunk: int | None = None  # steps that are read at once; None for whole sequences

    @classmethod
    def of(cls, training: Tagged) -> Self:
        """Return the task for these training data.

        Raises:
            DataError: if all steps are of one class.
        """
        if np.count_nonzero(training.counts) < 2:
            raise DataError(
                f"every step of {training.name} is of one class; expected at least two: "
                "there is nothing to tell apart"
            )
        return cls(
            classes=training.classes,
            seen=TrainingRanges.of(training),
            weights=class_weights(training.counts),
        )

    @staticmethod
    def split(whole: Tagged) -> tuple[Tagged, Tagged]:
        return last_part(whole, 0.2)

    def parts(self, training: Tagged, fraction: float, seed: int) -> tuple[Tagged, Tagged]:
        if len(training) < MIN_SEQUENCES:
            return last_part(training, fraction)
        order = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(len(training)))
        size = max(round(fraction * len(training)), 1)
        return training.take(np.sort(order[size:])), training.take(np.sort(order[:size]))

    @staticmethod
    def flatten(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(values)

    def score(self, predicted: Sequence[NDArray[Any]], part: Tagged) -> dict[str, float]:
        answers = [probabilities.argmax(-1) for probabilities in predicted]
        return {**super().score(predicted, part), "segment_f1": segment_f1(answers, part.labels)}

    def inconsistency(self) -> str | None:
        if self.chunk is not None and self.chunk < 1:
            return f"chunk is {self.chunk}"
        return super().inconsistency()

    def in_chunks(self, steps: int) -> Self:
        return replace(self, chunk=steps)

    def design_problem(self, design: Any) -> str | None:
        if self.chunk is not None and design.needs_whole_sequence:
            return (
                f"it has {design.words()}, and sequences that are read in chunks of {self.chunk} "
                "steps are answered step by step"
            )
        return super().design_problem(design)

    def batches(self, part: Tagged) -> Padded | TagChunks:
        if self.chunk is not None:
            return TagChunks(part.sequences, part.labels, self.chunk)
        x, lengths = pad(part.sequences)
        target = torch.zeros(len(x), len(part), dtype=torch.int64)
        for row, labels in enumerate(part.labels):
            target[: len(labels), row] = torch.from_numpy(labels.copy())
        return Padded(x, lengths, target, each=True)

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        return self.learning_loss(outputs, batch, model)

    def mass(self, batch: Batch) -> float:
        assert batch.lengths is not None
        return self.mass_of(batch.target[valid_steps(len(batch.target), batch.lengths)])

    def learning_loss(
        self, outputs: Tensor, batch: Batch, model: Any, smoothing: float = 0.0
    ) -> Tensor:
        inside = self.inside(batch)
        return self.cross_entropy(outputs[inside], batch.target[inside], smoothing=smoothing)

    def inside(self, batch: Batch) -> Tensor:
        assert batch.lengths is not None
        return valid_steps(len(batch.x), batch.lengths)

    def predictions(
        self, pairs: Iterable[tuple[Tensor, Batch]], model: Any
    ) -> list[NDArray[np.float64]]:
        sequences: list[list[NDArray[np.float64]]] = []  # each in the chunks that it was read in
        for outputs, batch in pairs:
            assert batch.lengths is not None
            probabilities = outputs.softmax(-1).double().cpu().numpy()
            lengths = batch.lengths.tolist()
            if not batch.carries:
                sequences += [[] for _ in lengths]
            group = sequences[len(sequences) - len(lengths) :]
            for row, length in enumerate(lengths):
                group[row].append(probabilities[:length, row])
        return [pieces[0] if len(pieces) == 1 else np.concatenate(pieces) for pieces in sequences]

    def predict(
        self, model: Any, data: Tagged | Sequence[NDArray[np.floating]]
    ) -> list[NDArray[np.float64]]:
        """Return the probabilities (T_i, classes) of each sequence (T_i, I), as recorded."""
        sequences = data.sequences if isinstance(data, Tagged) else data
        if not len(sequences):
            return []
        check_shapes(sequences, self.inputs)
        dtype = model.mean.dtype
        batches: Padded | TagChunks
        if self.chunk is not None:
            labels = [np.zeros(len(sequence), np.int64) for sequence in sequences]
            batches = TagChunks(sequences, labels, self.chunk, dtype)
        else:
            x, lengths = pad(sequences)
            target = torch.zeros(x.shape[:2], dtype=torch.int64)
            batches = Padded(x.to(dtype), lengths, target, each=True)
        return self.predictions(run_all(model, batches), model)

    def table(self, model: Any, data: Tagged) -> dict[str, list[Any]]:
        ids = data.ids or tuple(map(str, range(len(data))))
        predicted = self.predict(model, data)
        return {
            "id": [name for name, steps in zip(ids, predicted, strict=True) for _ in steps],
            "step": [step for steps in predicted for step in range(len(steps))],
            **probability_columns(self.classes, np.concatenate(predicted)),
        }


@dataclass(frozen=True, slots=True)
class TagPresentation(LabelledPresentation):
    """The words of the task, and the start of its first test sequence as the example."""

    title: ClassVar[str] = "a class at every step"
    items: ClassVar[str] = "steps"
    splitting: ClassVar[str] = (
        "Where there are several sequences, whole ones are taken; of a few long ones, the last "
        "steps. Each channel is scaled by its mean and deviation over the training steps."
    )
    readout: ClassVar[str] = (
        "The readout uses every step, after the steps up to it or, in both directions, after all."
    )

    def summary(self) -> str:
        classes, channels = self.task.classes, self.task.seen.channels
        return (
            f"It predicts for every step which of {len(classes)} classes it is: "
            f"{', '.join(classes)}. It reads {len(channels)} channels."
        )

    def usage(self) -> str:
        return (
            "probabilities = model.predict(sequences)  # (time, classes) for each sequence\n"
            "names = [model.task.classes[k] for k in probabilities[0].argmax(-1)]"
        )

    def limits(self) -> str:
        return (
            f"It knows these {len(self.task.classes)} classes and assigns every step to one of "
            "them. Its probabilities were not calibrated."
        )

    def part_size(self, part: Tagged) -> str:
        sequences = "one sequence" if len(part) == 1 else f"{len(part)} sequences"
        return f"{int(part.lengths.sum()):,} steps in {sequences}"

    def example(self, model: Any, part: Tagged) -> Example:
        steps = min(len(part.labels[0]), EXAMPLE_STEPS)
        x, _ = pad([part.sequences[0][:steps]])
        batch = Batch(x, None, torch.from_numpy(part.labels[0][:steps, None].copy()))
        return Example(
            batch,
            f"The first {steps} steps of the first sequence of the test part.",
            channels=self.task.seen.channels,
        )


def segments(labels: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Return the runs of equal labels (T,) as (label, first step, step after the last).

    >>> segments(np.array([0, 0, 1, 1, 1]))
    [(0, 0, 2), (1, 2, 5)]
    """
    starts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist()]
    ends = [*starts[1:], len(labels)]
    return [(int(labels[start]), start, end) for start, end in zip(starts, ends, strict=True)]


def segment_f1(
    predicted: Sequence[NDArray[np.integer]], labels: Sequence[NDArray[np.integer]]
) -> float:
    """Return the F1 score of segments, 2 TP / (predicted + true ones), over all sequences.

    A predicted segment is a hit if it overlaps a true one of its class by more than half of their
    union (Lea et al. 2017, arXiv:1611.05267, F1@50). No two can then hit the same one.

    >>> segment_f1([np.array([0, 0, 0, 1, 0, 1])], [np.array([0, 0, 0, 1, 1, 1])])
    0.3333333333333333
    """
    hits = total = 0
    for answers, truth in zip(predicted, labels, strict=True):
        own, true = segments(answers), segments(truth)
        total += len(own) + len(true)
        position = 0  # of the first true segment that ends after the predicted one begins
        for label, start, end in own:
            while true[position][2] <= start:
                position += 1
            for true_label, true_start, true_end in true[position:]:
                if true_start >= end:
                    break
                overlap = min(end, true_end) - max(start, true_start)
                union = max(end, true_end) - min(start, true_start)
                hits += label == true_label and overlap > MIN_OVERLAP * union
    return 2.0 * hits / total


def tag_baselines(task: Tag) -> Sequence[Baseline]:
    """Return the methods that a network has to beat."""
    return (
        majority(
            lambda part, shares: [np.tile(shares, (len(labels), 1)) for labels in part.labels]
        ),
    )


def last_part(tagged: Tagged, fraction: float) -> tuple[Tagged, Tagged]:
    """Split the last `fraction` off: whole sequences, or steps where there are few sequences.

    Raises:
        DataError: if a sequence has too few steps to split.
    """
    if len(tagged) >= MIN_SEQUENCES:
        cut = len(tagged) - max(round(fraction * len(tagged)), 1)
        return tagged.take(range(cut)), tagged.take(range(cut, len(tagged)))
    cuts = [len(labels) - max(round(fraction * len(labels)), 1) for labels in tagged.labels]
    if min(cuts) < 1:
        raise DataError(
            f"{tagged.name} has a sequence of {int(tagged.lengths.min())} steps: too few to "
            "split a part off to measure on; give longer sequences or more of them"
        )
    return (
        tagged.steps((row, slice(0, cut)) for row, cut in enumerate(cuts)),
        tagged.steps((row, slice(cut, None)) for row, cut in enumerate(cuts)),
    )
