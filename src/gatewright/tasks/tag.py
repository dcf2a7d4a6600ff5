"""A class at every step of a sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data.containers.tagged import Tagged
from gatewright.errors import DataError
from gatewright.tasks.label_batches import Labelled
from gatewright.tasks.labelled import class_weights, majority, named_shares
from gatewright.tasks.padding import Padded, check_shapes, pad, valid_steps
from gatewright.tasks.task import Baseline, Batch, Example, run_all
from gatewright.tasks.training_ranges import Seen


@dataclass(frozen=True, kw_only=True)
class Tag(Labelled):
    """Tell the class of every step; predictions are probabilities, one (T_i, classes) a sequence.

    A step is judged by what the network has seen up to it, so that it can be used on a stream.
    """

    kind: ClassVar[str] = "tag"
    title: ClassVar[str] = "a class at every step"
    items: ClassVar[str] = "steps"
    division: ClassVar[str] = (
        "Whole sequences are kept together where there are several; of a few long ones the last "
        "steps are taken. Each channel is scaled by mean and deviation of what was learned from."
    )
    reading: ClassVar[str] = "A network is read at every step, and sees what came until then."
    every_step: ClassVar[bool] = True

    @classmethod
    def of(cls, training: Tagged) -> Self:
        """The task that these sequences set."""
        if np.count_nonzero(training.counts) < 2:
            raise DataError(
                f"every step of {training.name} is of one class; expected at least two: "
                "there is nothing to tell apart"
            )
        return cls(
            classes=training.classes,
            seen=Seen.of(training),
            weights=class_weights(training.counts),
        )

    @staticmethod
    def split(whole: Tagged) -> tuple[Tagged, Tagged]:
        return last_part(whole, 0.2)

    def parts(self, training: Tagged, fraction: float, seed: int) -> tuple[Tagged, Tagged]:
        if len(training) < 5:
            return last_part(training, fraction)
        order = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(len(training)))
        size = max(round(fraction * len(training)), 1)
        return training.take(np.sort(order[size:])), training.take(np.sort(order[:size]))

    @staticmethod
    def joined(given: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(given)

    def batches(self, part: Tagged) -> Padded:
        x, lengths = pad(part.sequences)
        target = torch.zeros(len(x), len(part), dtype=torch.int64)
        for row, labels in enumerate(part.labels):
            target[: len(labels), row] = torch.from_numpy(labels.copy())
        return Padded(x, lengths, target, each=True)

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        assert batch.lengths is not None
        inside = valid_steps(len(outputs), batch.lengths)
        return self.entropy(outputs[inside], batch.target[inside])

    def predictions(
        self, pairs: Iterable[tuple[Tensor, Batch]], model: Any
    ) -> list[NDArray[np.float64]]:
        found = []
        for outputs, batch in pairs:
            assert batch.lengths is not None
            probabilities = outputs.softmax(-1).double().numpy()
            found += [probabilities[:length, row] for row, length in enumerate(batch.lengths)]
        return found

    def example(self, model: Any, part: Tagged) -> Example:
        steps = min(len(part.labels[0]), 100)
        x, _ = pad([part.sequences[0][:steps]])
        batch = Batch(x, None, torch.from_numpy(part.labels[0][:steps, None].copy()))
        return Example(
            batch,
            f"The first {steps} steps of the first sequence of the test part.",
            channels=self.seen.channels,
        )

    def says(self) -> str:
        return (
            f"It tells at every step which of {len(self.classes)} classes it is: "
            f"{', '.join(self.classes)}. It reads {len(self.seen.channels)} channels."
        )

    def usage(self) -> str:
        return (
            "probabilities = model.predict(sequences)  # one (time, classes) a sequence\n"
            "names = [model.task.classes[at] for at in probabilities[0].argmax(-1)]"
        )

    def limits(self) -> str:
        return (
            f"It knows these {len(self.classes)} classes and gives every step to one of them. "
            "Its probabilities were not calibrated."
        )

    def table(self, model: Any, data: Tagged) -> dict[str, list[Any]]:
        ids = data.ids or tuple(map(str, range(len(data))))
        found = self.predict(model, data)
        return {
            "id": [one for one, steps in zip(ids, found, strict=True) for _ in steps],
            "step": [step for steps in found for step in range(len(steps))],
            **named_shares(self.classes, np.concatenate(found)),
        }

    def predict(
        self, model: Any, data: Tagged | Sequence[NDArray[np.floating]]
    ) -> list[NDArray[np.float64]]:
        """Probabilities (T_i, classes) of each sequence (T_i, I), as they were recorded."""
        sequences = data.sequences if isinstance(data, Tagged) else data
        if not len(sequences):
            return []
        x, lengths = pad(check_shapes(sequences, self.inputs))
        target = torch.zeros(x.shape[:2], dtype=torch.int64)
        batches = Padded(x.to(model.mean.dtype), lengths, target, each=True)
        return self.predictions(run_all(model, batches), model)

    def baselines(self) -> Sequence[Baseline]:
        return (
            majority(lambda part, shares: [np.tile(shares, (len(one), 1)) for one in part.labels]),
        )

    def counted(self, part: Tagged) -> str:
        return f"{int(part.lengths.sum()):,} steps in {len(part)} sequences"


def last_part(tagged: Tagged, fraction: float) -> tuple[Tagged, Tagged]:
    """(the rest, the last `fraction`): whole sequences where there are several, else steps."""
    if len(tagged) >= 5:
        cut = len(tagged) - max(round(fraction * len(tagged)), 1)
        return tagged.take(range(cut)), tagged.take(range(cut, len(tagged)))
    cuts = [len(one) - max(round(fraction * len(one)), 1) for one in tagged.labels]
    if min(cuts) < 1:
        raise DataError(
            f"{tagged.name} has a sequence of {int(tagged.lengths.min())} steps: too few to "
            "take a part off to measure on; give longer sequences or more of them"
        )
    return (
        tagged.steps((at, slice(0, cut)) for at, cut in enumerate(cuts)),
        tagged.steps((at, slice(cut, None)) for at, cut in enumerate(cuts)),
    )
