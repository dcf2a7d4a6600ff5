"""The contract of a task: batches, the readout of a network, its loss and its metrics.

A task is a small frozen dataclass. Its fields come from the training data and are stored with the
model, so that new data can be checked against them. Models and the training loop use only this
contract. The words and figures of a task are in its `Presentation`, its opponents in the registry.
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from gatewright.data import Reading
from gatewright.errors import ArgumentError, DataError, ModelError
from gatewright.schema import typed
from gatewright.tasks.metric import Metric

#: Rows per batch when a whole part is evaluated.
EVALUATION_BATCH = 512


@dataclass(frozen=True, slots=True)
class Batch:
    """B sequences, padded at their ends up to the longest one."""

    x: Tensor  # (T, B, I) values, or (T, B) symbols
    lengths: Tensor | None  # (B,), int64; None where all have T steps
    target: Tensor  # the truth that the loss compares with; its shape depends on the task
    further: Tensor | None = None  # raw values that `readout_offset` or `complete` uses
    carries: bool = False  # whether the state after the previous batch is carried into this one
    items: float = 0  # number of items that the mean loss is taken over, or the sum of weights
    weights: Tensor | None = None  # (B,), weights of the sequences in the loss
    starts: Tensor | None = None  # (T, B), True at the first step of a sequence within a row

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device."""
        if self.x.device == device:
            return self
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


class Batches(Protocol):
    """One part of the data in a form to train on."""

    def __len__(self) -> int:
        """Return the number of rows in an epoch."""

    def steps(self, size: int) -> int:
        """Return the number of batches in an epoch."""

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield one epoch in batches of `size`, in random order where the task allows it."""

    def ordered(self, size: int) -> Iterator[Batch]:
        """Yield the same rows once, in their own order, for evaluation."""

    def excerpt(self, count: int) -> Batch:
        """Return at most `count` rows, evenly spaced over the part, in their own order."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Base class of all tasks.

    `part` is training, validation or test data in the type that the task works on; `model` is the
    `Model` that is trained for it.
    """

    kind: ClassVar[str]  # its name in configurations and on the command line
    data_type: ClassVar[type[Any]]  # of the data that it is for
    plain_types: ClassVar[tuple[type[Any], ...]] = ()  # that `predict` takes in addition
    takes: ClassVar[str]  # these types in words
    metrics: ClassVar[tuple[Metric, ...]]  # the first one decides
    every_step: ClassVar[bool] = False  # whether the readout reads every step or only the last one
    reach: ClassVar[int] = 8  # steps back that the window network, which has no memory, sees
    centred: ClassVar[bool] = False  # whether it sees as many steps ahead, and is averaged
    overlap: ClassVar[bool] = False  # whether neighbouring rows of a part share steps
    closed_form: ClassVar[bool] = False  # whether a read-out can be fitted by `ridge_readout`

    # Data: parts and batches.

    @staticmethod
    @abstractmethod
    def split(whole: Any) -> tuple[Any, Any]:
        """Split a test part off data that come without one: (the rest, test)."""

    @abstractmethod
    def parts(self, training: Any, fraction: float, seed: int) -> tuple[Any, Any]:
        """Split a validation part off the training part: (the rest, validation)."""

    def in_chunks(self, steps: int) -> Self:
        """Return the task with batches of so many steps, where it has an answer at every step.

        A task with one answer for a sequence has whole ones: there a recipe's `chunk` says how
        far gradients reach back.
        """
        return self

    def half(self, training: Any) -> Any:
        """Return half of what is learned from."""
        return self.parts(training, 0.5, 0)[0]

    @abstractmethod
    def batches(self, part: Any) -> Batches:
        """Return a part as batches."""

    @abstractmethod
    def values(self, training: Any) -> Any:
        """Return all training events, (N, I), which the scaling is taken from; None for symbols."""

    # Network: its input, its readout and its loss.

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Values per event, I."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Values of the readout per row or step."""

    @property
    def symbols(self) -> int | None:
        """Size of the alphabet where events are symbols; None where they are vectors of values."""
        return None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the values of an event, in their order; none where events are symbols."""
        return ()

    @property
    def tied(self) -> bool:
        """True if the readout of symbols shares the matrix of their embedding."""
        return False

    def own_modules(self) -> dict[str, nn.Module]:
        """Return the learned modules that the task adds to network and readout, by name."""
        return {}

    def own_buffers(self) -> dict[str, Tensor]:
        """Return the stored tensors that the task adds to the model's weights, by name."""
        return {}

    def transform(self, x: Tensor) -> Tensor:
        """Transform raw values (..., I) before they are scaled."""
        return x

    @property
    def start_counts(self) -> bool:
        """True if a model is useful before its first step, so that its start may be the best."""
        return False

    def start(self, model: Any, training: Any) -> None:
        """Set what a model starts from, in place; by default only its random weights."""

    def completion(self) -> nn.Module | None:
        """Return the module with which `complete` works, empty, or None if there is none.

        It learns nothing by gradients. A mean of several models has one for all of them.
        """
        return None

    def complete(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        """Return the outputs of a network together with what `model.completion` knows.

        It is called where there is such a module, but not while the network learns.
        """
        return outputs

    def prepare(self, z: Tensor, batch: Batch) -> tuple[Tensor, Any]:
        """Transform the scaled events before the network; also return what `finish` needs."""
        return z, None

    def readout_offset(self, model: Any, batch: Batch) -> Tensor | float:
        """Return what is added to the readout, computed from the batch's `further` values."""
        return 0.0

    def finish(self, outputs: Tensor, context: Any) -> Tensor:
        """Turn the readout into outputs that the loss compares; `context` is from `prepare`."""
        return outputs

    def readout_target(self, batch: Batch, context: Any, model: Any) -> Tensor:
        """Return the target in the readout's own scale, before `finish`."""
        return batch.target

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        """Return the mean loss of a batch, a scalar."""

    def mass(self, batch: Batch) -> float:
        """Return what the mean loss of a batch divides by: its rows, or a sum of weights."""
        return float(batch.x.shape[1])

    def learning_loss(
        self, outputs: Tensor, batch: Batch, model: Any, smoothing: float = 0.0
    ) -> Tensor:
        """Return the loss that is learned from; `smoothing` spreads a share of each label."""
        return self.loss(outputs, batch, model)

    def mean_outputs(self, outputs: Tensor) -> Tensor:
        """Return the mean of the outputs of several models, (models, ...).

        Outputs are logits: the mean is that of the probabilities, as their logarithm.
        """
        return outputs.log_softmax(-1).logsumexp(0) - math.log(len(outputs))

    def taught_loss(self, outputs: Tensor, taught: Tensor, batch: Batch, model: Any) -> Tensor:
        """Return the mean loss of outputs against those of a model that teaches.

        Raises:
            ArgumentError: if models of this task cannot be taught.
        """
        raise ArgumentError(
            f"a model of the task {self.kind} cannot be distilled: expected classes of sequences, "
            "classes of steps, or a forecast"
        )

    def answers(self, outputs: Tensor, batch: Batch, model: Any) -> dict[str, Tensor]:
        """Return what `predict` computes from a batch's outputs, by name, for exported models.

        "y" are the probabilities of the classes or symbols, or a forecast in the data's units.
        """
        return {"y": outputs.softmax(-1)}

    def design_problem(self, design: Any) -> str | None:
        """Return why a network of this `Design` cannot do the task, or None."""
        if self.every_step and design.segment > 1:
            return f"segment is {design.segment}, and this task has an answer at every step"
        if not design.trained and not self.closed_form:
            return "trained is False, which only a class for a whole sequence can be learned with"
        return None

    # Measurement.

    @abstractmethod
    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> Any:
        """Join outputs and their batches, in order, to the predictions of a whole part."""

    @abstractmethod
    def score(self, predicted: Any, part: Any) -> dict[str, float]:
        """Return all metrics of predictions, whether of a network or of a baseline."""

    def calibrate(self, model: Any, validation: Any) -> bool:
        """Correct a trained model in place by its errors on the validation part.

        Return whether it is better than its start; if not, it is its start again.
        """
        return True

    def calibrate_mean(self, model: Any, members: Iterable[Any], validation: Any) -> None:
        """Correct the mean of several models, each of which is corrected, in place."""
        self.calibrate(model, validation)

    def refit(self, model: Any, validation: Any) -> None:
        """Learn from the validation part too, in place, after everything was measured on it."""

    def variants(self) -> Sequence[Self]:
        """Return the task and, if there are any, other formulations of the same task.

        The one with the lowest validation loss after a short training is used.
        """
        return (self,)

    def with_longer_window(self, training: Any, validation: float) -> Self | None:
        """Return the task with twice the window, or None where there is none or too few data.

        Args:
            training: The training part, which a share `validation` is split off of.
        """
        return None

    # New data.

    def check_type(self, data: Any, *, plain: bool = False) -> None:
        """Refuse new data that are not of the task's type, or with `plain` of its plain types.

        Raises:
            DataError: with the types that it takes, and a hint.
        """
        # A string is a sequence too, though not one of arrays.
        is_plain = isinstance(data, self.plain_types) and (
            str in self.plain_types or not isinstance(data, str | bytes)
        )
        if isinstance(data, self.data_type) or (plain and is_plain):
            return
        expected = self.takes if plain else self.data_type.__name__
        if isinstance(data, Reading):
            hint = "give its .data or .test"
        elif isinstance(data, str | os.PathLike):
            hint = "read the file first: gw.read(...).data"
        elif hasattr(data, "columns"):  # a dataframe
            hint = "read it first: gw.read(...).data"
        else:
            hint = "give data like those of its training"
        raise DataError(
            f"the data are of type {type(data).__name__}; the model's task is {self.kind}, which "
            f"takes {expected}: {hint}"
        )

    @abstractmethod
    def adapt(self, data: Any) -> tuple[Any, list[str]]:
        """Bring new data into the model's form; also return remarks on unusual values.

        Raises:
            DataError: if the data cannot be used.
        """

    @abstractmethod
    def predict(self, model: Any, data: Any) -> Any:
        """Return the predictions of a trained model for new data."""

    @abstractmethod
    def table(self, model: Any, data: Any) -> dict[str, list[Any]]:
        """Return the predictions for data from `adapt` as columns of a table."""

    def sample(
        self, model: Any, prompt: str | bytes, count: int, temperature: float, seed: int
    ) -> str | bytes:
        """Continue a prompt by `count` symbols; only a model of text can."""
        raise ArgumentError(f"this model's task is {self.kind}; only a text can be sampled")

    # Storage.

    def to_config(self) -> dict[str, Any]:
        """Return the fields in JSON's types, for `from_config`."""
        stored: dict[str, Any] = {"kind": self.kind}
        for field in fields(self):
            value = getattr(self, field.name)
            if hasattr(value, "to_config"):
                value = value.to_config()
            stored[field.name] = list(value) if isinstance(value, tuple) else value
        return stored

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "task") -> Self:
        """Return the task that `to_config` described.

        Raises:
            ModelError: with the path of a field whose value is not valid.
        """
        values = {name: value for name, value in config.items() if name != "kind"}
        task: Self = typed(values, cls, path)
        contradiction = task.inconsistency()
        if contradiction is not None:
            raise ModelError(f"{path} is damaged: {contradiction}")
        return task

    def inconsistency(self) -> str | None:
        """Return a contradiction between the fields, as in an edited file, or None."""
        return None


def evenly(rows: int, count: int) -> Tensor:
    """Return at most `count` of `rows` positions, evenly spaced from the first to the last."""
    return torch.linspace(0, rows - 1, min(count, rows)).round().long()


def run_all(model: Any, batches: Batches) -> Iterator[tuple[Tensor, Batch]]:
    """Run the model on all batches of a part, in order, in eval mode; yield (outputs, batch)."""
    return run_each(model, batches.ordered(EVALUATION_BATCH))


def run_each(model: Any, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Batch]]:
    """Run the model on these batches in eval mode; yield the outputs of each with its batch."""
    state = None
    device = next(model.parameters()).device
    for batch in (batch.to(device) for batch in batches):
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                outputs, state = model(batch, state if batch.carries else None)
        finally:
            model.train(training)
        yield outputs, batch
