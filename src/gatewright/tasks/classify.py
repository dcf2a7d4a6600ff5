"""One class for a whole sequence, of whatever length."""

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
from gatewright.tasks.label_batches import Labelled
from gatewright.tasks.labelled import class_weights, majority, named_shares
from gatewright.tasks.neighbour import nearest_neighbour
from gatewright.tasks.padding import Padded, check_shapes, pad
from gatewright.tasks.summaries import ridge_on_summaries
from gatewright.tasks.task import Baseline, Batch, Example, run_all
from gatewright.tasks.training_ranges import Seen


@dataclass(frozen=True, slots=True, eq=False)
class Weighted(Recordings):
    """Recordings of which some count for more than others in the loss."""

    weights: NDArray[np.float32] | None = None  # (N,); None where all count alike

    def take(self, indices: NDArray[np.integer] | list[int]) -> Weighted:
        """The recordings at these positions, with their weights."""
        chosen = np.asarray(indices, dtype=np.int64)
        # Not `super()`, which dataclasses with slots break.
        part = Recordings.take(self, chosen)
        weights = None if self.weights is None else self.weights[chosen]
        return replace(cast(Weighted, part), weights=weights)


@dataclass(frozen=True, kw_only=True)
class Classify(Labelled):
    """Tell the class of a sequence; predictions are probabilities, (N, classes)."""

    kind: ClassVar[str] = "classify"
    title: ClassVar[str] = "a class for each sequence"
    items: ClassVar[str] = "sequences"
    division: ClassVar[str] = (
        "The validation part is drawn anew from the training part for each seed, class by class. "
        "Each channel is scaled by mean and deviation of the sequences to learn from."
    )
    reading: ClassVar[str] = "A recurrent network is read at a sequence's last step."
    reach: ClassVar[int] = 2
    centred: ClassVar[bool] = True

    @classmethod
    def of(cls, training: Recordings) -> Self:
        """The task that these recordings set."""
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
            seen=Seen.of(training),
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
    def joined(given: NDArray[Any]) -> NDArray[Any]:
        return given

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
        return self.entropy(outputs, batch.target, batch.weights)

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        return torch.cat([outputs.softmax(-1).double() for outputs, _ in pairs]).numpy()

    def example(self, model: Any, part: Recordings) -> Example:
        one = part.take([0])
        x, lengths = pad(one.sequences)
        batch = Batch(x, None, torch.from_numpy(one.labels.copy()))
        with torch.no_grad():
            output, _ = model.body(model.encode(x))
            shares = model.readout(output[:, 0]).softmax(-1)
        true, said = int(one.labels[0]), int(shares[-1].argmax())
        verdict = "rightly" if true == said else f"wrongly, it is {self.classes[true]}"
        return Example(
            batch,
            f"One sequence: the first of the test part, {int(lengths[0])} steps, class "
            f"{self.classes[true]}.",
            f"It says {self.classes[said]}, {verdict}.",
            Belief(shares.tolist(), self.classes, true),
            channels=self.seen.channels,
        )

    def says(self) -> str:
        return (
            f"A classifier of sequences with {len(self.classes)} classes: "
            f"{', '.join(self.classes)}. It reads {len(self.seen.channels)} channels."
        )

    def usage(self) -> str:
        return (
            "probabilities = model.predict(sequences)  # arrays (time, channels), as recorded\n"
            "names = [model.task.classes[at] for at in probabilities.argmax(-1)]"
        )

    def limits(self) -> str:
        return (
            f"It knows these {len(self.classes)} classes and gives every sequence to one of them, "
            "a stranger's too. Its probabilities were not calibrated."
        )

    def table(self, model: Any, data: Recordings) -> dict[str, list[Any]]:
        ids = list(data.ids or map(str, range(len(data))))
        return {"id": ids, **named_shares(self.classes, self.predict(model, data))}

    def predict(
        self, model: Any, data: Recordings | Sequence[NDArray[np.floating]]
    ) -> NDArray[np.float64]:
        """Probabilities (N, classes) of N sequences, each (T_i, I), as they were recorded."""
        sequences = data.sequences if isinstance(data, Recordings) else data
        if not len(sequences):
            return np.zeros((0, len(self.classes)))
        x, lengths = pad(check_shapes(sequences, self.inputs))
        batches = Padded(x.to(model.mean.dtype), lengths, torch.zeros_like(lengths))
        return self.predictions(run_all(model, batches), model)

    def baselines(self) -> Sequence[Baseline]:
        return (
            majority(lambda part, shares: np.tile(shares, (len(part), 1))),
            ridge_on_summaries(),
            nearest_neighbour(),
        )

    def counted(self, part: Recordings) -> str:
        return f"{len(part)} sequences"
