"""The history of a training: losses and metrics by epoch, and the reason why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from gatewright.schema import stored_hints

#: Reasons why a training ended before its last epoch, as `History.stopped` has them.
BY_HAND = "ended by hand"
TIME_OVER = "its time was over"
#: Names of fields in results.json and estimator.json, where they differ from those here.
_STORED_AS = {"best_epoch": "kept"}
#: Fields that are stored only where they have a value; earlier versions did not have them.
_OPTIONAL = ("start_loss", "start")


@dataclass(frozen=True, slots=True)
class Epoch:
    """A completed epoch, for whoever watches a training."""

    number: int  # from 1
    train_loss: float
    validation_loss: float
    validation: dict[str, float]  # the task's metrics
    learning_rate: float  # of the next step
    seconds: float  # processor time since the training began


@dataclass(slots=True)
class History:
    """Losses and metrics at the end of each epoch, and the epoch whose weights the model has."""

    train_loss: list[float] = field(default_factory=list)  # while learning: with noise and dropout
    validation_loss: list[float] = field(default_factory=list)  # as the model will be used
    validation: list[dict[str, float]] = field(default_factory=list)  # the task's metrics
    best_epoch: int = -1  # index of the epoch whose weights the model has now; -1 is the start
    # Loss and metrics on the validation part before the first step, where a model is useful then.
    start_loss: float | None = None
    start: dict[str, float] = field(default_factory=dict)
    stopped: str = ""  # the reason, if it ended before its last epoch
    seconds: float = 0.0  # processor time in total
    step_seconds: float = 0.0  # processor time of one training step, the median
    step_bytes: int = 0  # memory that a forward pass saves for its backward pass

    @property
    def has_best(self) -> bool:
        """True if there are weights that were measured."""
        return self.best_epoch >= 0 or self.start_loss is not None

    @property
    def best_loss(self) -> float:
        """The loss on the validation part of the weights that the model has now."""
        if self.best_epoch < 0 and self.start_loss is not None:
            return self.start_loss
        return self.validation_loss[self.best_epoch]

    @property
    def best(self) -> dict[str, float]:
        """The metrics on the validation part of the weights that the model has now."""
        return self.validation[self.best_epoch] if self.best_epoch >= 0 else self.start

    @best.setter
    def best(self, values: dict[str, float]) -> None:
        if self.best_epoch >= 0:
            self.validation[self.best_epoch] = values
        else:
            self.start = values

    def to_json(self) -> dict[str, Any]:
        """The history in JSON's types, as results.json has it: there `best_epoch` is "kept"."""
        return {
            _STORED_AS.get(name, name): value
            for name, value in asdict(self).items()
            if value or name not in _OPTIONAL
        }

    @classmethod
    def stored_fields(cls) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The types of the fields that `to_json` writes, and the names of the optional ones."""
        hints = {_STORED_AS.get(name, name): hint for name, hint in stored_hints(cls).items()}
        return hints, _OPTIONAL

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The history that `to_json` wrote.

        Raises:
            TypeError: for a name that is not a field.
        """
        names = {stored: name for name, stored in _STORED_AS.items()}
        return cls(**{names.get(name, name): value for name, value in values.items()})
