"""What the two tasks with classes are alike in, whether a sequence or a step has one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.draw.page.page import Section
from gatewright.draw.plots.confusion import confusion_section
from gatewright.tasks.labelled import (
    ACCURACY,
    MACRO_F1,
    confusion,
    label_scores,
    ready_sequences,
)
from gatewright.tasks.task import Metric, Task
from gatewright.tasks.training_ranges import Seen


@dataclass(frozen=True, kw_only=True)
class Labelled(Task):
    """Tell classes of items: of `Recordings` the sequences, of `Tagged` the steps."""

    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY, MACRO_F1)
    items: ClassVar[str]  # what has a class, in the plural

    classes: tuple[str, ...]
    seen: Seen  # what the training data were like
    weights: tuple[float, ...] | None = None  # of the classes in the loss

    def inconsistency(self) -> str | None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            return "its classes are none, or one of them is there twice"
        if self.weights is not None and len(self.weights) != len(self.classes):
            return f"it has {len(self.weights)} weights for {len(self.classes)} classes"
        if self.weights is not None and min(self.weights) < 0:
            return "a class has a weight below 0"
        return self.seen.inconsistency()

    @property
    def inputs(self) -> int:
        return len(self.seen.channels)

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @staticmethod
    @abstractmethod
    def joined(given: Any) -> NDArray[Any]:
        """Labels or predictions of a part as one array, an item a row."""

    def values(self, training: Any) -> NDArray[np.float64]:
        return np.concatenate(training.sequences).astype(np.float64)

    def entropy(
        self, outputs: Tensor, target: Tensor, item_weights: Tensor | None = None
    ) -> Tensor:
        """The mean cross entropy of items, with a rare class made to be heard.

        Where items have weights (N,) of their own, the sum over them and not their number
        divides, as with the weights of the classes.
        """
        weight = None if self.weights is None else outputs.new_tensor(self.weights)
        if item_weights is None:
            return nn.functional.cross_entropy(outputs, target, weight=weight)
        losses = nn.functional.cross_entropy(outputs, target, weight=weight, reduction="none")
        each = item_weights.to(losses) * (1.0 if weight is None else weight[target])
        mean: Tensor = (losses * item_weights).sum() / each.sum()
        return mean

    def score(self, predicted: Any, part: Any) -> dict[str, float]:
        said = self.joined(predicted).argmax(-1)
        return label_scores(said, self.joined(part.labels), len(self.classes))

    def shown(self, predicted: Any, part: Any) -> dict[str, Any]:
        said = self.joined(predicted).argmax(-1)
        return {"confusion": confusion(said, self.joined(part.labels), len(self.classes))}

    def sections(self, shown: Mapping[str, Any], whose: str) -> list[Section]:
        caption = f"{whose} Colour: share of the row."
        return [confusion_section(shown["confusion"], self.classes, caption, self.items)]

    def ready(self, data: Any) -> tuple[Any, list[str]]:
        return ready_sequences(self.seen, self.classes, data)
