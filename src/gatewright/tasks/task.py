"""What a task is: how data become batches, what is read of a network, how it is measured.

A task is a small frozen dataclass that also knows what its training data were like, so that
a saved model can tell whether new data fit. `Model` and the training loop know no task by name.
"""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from gatewright.draw.page.page import Section
from gatewright.draw.plots.passage import Belief
from gatewright.errors import ModelError
from gatewright.schema import typed
from gatewright.tasks.training_ranges import Seen

#: Rows that are measured at once.
EVALUATED = 512


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that says how good a model is."""

    name: str  # as in JSON
    title: str  # as in a table
    higher: bool = False  # whether more is better
    percent: bool = False
    digits: int = 3
    judges: bool = True  # whether more, or less, is better at all

    @property
    def heading(self) -> str:
        """`accuracy, %`: the title, with its unit, for a column of numbers."""
        return f"{self.title}, %" if self.percent else self.title

    def number(self, value: float) -> str:
        """`97.1` or `0.823`."""
        return f"{100 * value:.1f}" if self.percent else f"{value:.{self.digits}f}"

    def cell(self, values: Sequence[float]) -> str:
        """`97.1 ± 0.4`: mean and standard deviation, where there is more than one."""
        shown = self.number(statistics.mean(values))
        return f"{shown} ± {self.number(statistics.stdev(values))}" if len(values) > 1 else shown

    def spread(self, values: Sequence[float]) -> str:
        """`97.1 ± 0.4 %`: the same with its unit, for a sentence."""
        return self.cell(values) + (" %" if self.percent else "")

    def goodness(self, value: float) -> float:
        """The value, turned so that more is better."""
        return value if self.higher else -value

    def lead(self, values: Sequence[float], others: Sequence[float]) -> float:
        """The lead of the mean of `values`; 0.0 where the difference says nothing.

        It says nothing below half a percentage point of a share or 2 % of an error, nor below
        the deviation between seeds.
        """
        mean, other = statistics.mean(values), statistics.mean(others)
        lead = self.goodness(mean) - self.goodness(other)
        margin = 0.005 if self.percent else 0.02 * max(abs(mean), abs(other))
        spreads = [statistics.stdev(one) for one in (values, others) if len(one) > 1]
        return lead if abs(lead) > max([margin, *spreads]) else 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """B sequences, padded at their ends up to the longest one."""

    x: Tensor  # (T, B, I) values, or (T, B) symbols
    lengths: Tensor | None  # (B,), int64; None where all have T steps
    target: Tensor  # what the loss compares with: the task knows its shape
    further: Tensor | None = None  # raw values for `Task.beside`
    carries: bool = False  # whether it goes on where the batch before it ended
    items: float = 0  # over how many items its mean loss is taken, or their weights
    weights: Tensor | None = None  # (B,), where sequences count differently in the loss


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence of a part, to be shown on its way through a network."""

    batch: Batch  # B = 1, without lengths
    about: str  # which one it is
    said: str = ""  # what the model says of it
    belief: Belief | None = None
    symbols: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()  # names of the values of an event
    steps: tuple[str, ...] = ()  # names of the steps, such as times


class Batches(Protocol):
    """One part of the data, ready to be learned from."""

    def __len__(self) -> int:
        """How many rows an epoch has."""

    def steps(self, size: int) -> int:
        """How many batches an epoch has."""

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch of batches of `size`, in random order where the task allows it."""

    def ordered(self, size: int) -> Iterator[Batch]:
        """The same rows once, in their order, for measuring."""

    def spread(self, count: int) -> Batch:
        """At most `count` rows from all over the part, in their order."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A baseline that has learned."""

    predict: Callable[[Any], Any]  # from a part to predictions, in the task's form
    parameters: int | None  # numbers that it has learned; None where it keeps the data


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a practitioner tries first."""

    name: str
    title: str
    about: str
    fit: Callable[[Any, Any], Fitted]  # from a part to learn from, and one of the settings
    settings: Sequence[Any] = (None,)  # the one that does best on validation is taken
    # From the training part, about how long all of it takes; only of a slow baseline, which
    # `train` does without. The test part is not opened for it.
    seconds: Callable[[Any], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """The base of all tasks. `part` is training, validation or test data of the task's type."""

    kind: ClassVar[str]
    title: ClassVar[str]  # in a sentence: "a forecast"
    metrics: ClassVar[tuple[Metric, ...]]  # the first decides
    every_step: ClassVar[bool] = False  # whether the readout reads every step or the last one
    division: ClassVar[str]  # how the parts are taken, in a sentence or two
    reading: ClassVar[str]  # when the readout is asked, in a sentence
    reach: ClassVar[int] = 8  # steps back that the network without a memory sees
    centred: ClassVar[bool] = False  # whether it sees as many steps ahead, and is averaged
    overlap: ClassVar[bool] = False  # whether rows that follow each other share steps

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Values of each event, I."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Values of the readout."""

    @property
    def symbols(self) -> int | None:
        """How many symbols there are, where an event is a symbol and not a vector of values."""
        return None

    @staticmethod
    @abstractmethod
    def split(whole: Any) -> tuple[Any, Any]:
        """Take the test part off a data set that comes without one: (the rest, test)."""

    @abstractmethod
    def parts(self, training: Any, fraction: float, seed: int) -> tuple[Any, Any]:
        """Take a validation part off the training part: (the rest, validation)."""

    @abstractmethod
    def batches(self, part: Any) -> Batches:
        """A part, ready to be learned from."""

    @abstractmethod
    def values(self, training: Any) -> Any:
        """(N, I), all events to learn from: scaling is theirs. None for symbols."""

    def prepare(self, z: Tensor, batch: Batch) -> tuple[Tensor, Any]:
        """A change of the scaled events before the network, and what `finish` has to know."""
        return z, None

    def own_modules(self) -> dict[str, nn.Module]:
        """What a model learns for its task beside network and readout, by name."""
        return {}

    def beside(self, model: Any, batch: Batch) -> Tensor | float:
        """What is added to the outputs, from the batch's `further` values."""
        return 0.0

    def own_buffers(self) -> dict[str, Tensor]:
        """What a model keeps for its task beside its weights, by name."""
        return {}

    def finish(self, outputs: Tensor, kept: Any) -> Tensor:
        """From the readout to what the loss compares: the counterpart of `prepare`."""
        return outputs

    def aim(self, batch: Batch, kept: Any, model: Any) -> Tensor:
        """What the readout is to come to, one a row or step, before `finish`."""
        return batch.target

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        """The mean loss of a batch, a scalar."""

    @abstractmethod
    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> Any:
        """Outputs with their batches, in order, as predictions of the whole part."""

    def predict(self, model: Any, data: Any) -> Any:
        """What a saved model says of new data."""
        raise NotImplementedError

    @abstractmethod
    def ready(self, data: Any) -> tuple[Any, list[str]]:
        """New data as the model takes them, and remarks on what is unlike the training data.

        Raises:
            DataError: if they cannot be used.
        """

    @abstractmethod
    def table(self, model: Any, data: Any) -> dict[str, list[Any]]:
        """What the model says of data that are `ready`, as columns of a table."""

    def variants(self) -> Sequence[Self]:
        """The task itself, and others that set the same in another way, if there are any.

        The one that does best on validation after a short training is taken.
        """
        return (self,)

    def settled_on(self, loss: float, other: float) -> str:
        """Why this variant was taken, from the validation losses of both."""
        raise NotImplementedError

    def calibrate(self, model: Any, validation: Any) -> None:
        """Correct a trained model by what it did on the validation part."""

    @abstractmethod
    def score(self, predicted: Any, part: Any) -> dict[str, float]:
        """All metrics of predictions, a network's or a baseline's."""

    @abstractmethod
    def shown(self, predicted: Any, part: Any) -> dict[str, Any]:
        """What a report shows of predictions, in JSON's types."""

    def shown_of(self, model: Any, part: Any) -> dict[str, Any]:
        """What it shows of the model itself, beside `shown`."""
        return {}

    @abstractmethod
    def sections(self, shown: Mapping[str, Any], whose: str) -> list[Section]:
        """What `shown` gave, drawn; `whose` says which model and data it is."""

    @abstractmethod
    def example(self, model: Any, part: Any) -> Example:
        """The sequence of a part whose gates a report shows."""

    @abstractmethod
    def says(self) -> str:
        """What such a model does, in a sentence of its card."""

    @abstractmethod
    def usage(self) -> str:
        """Lines of Python that use `model`, for its card."""

    @abstractmethod
    def limits(self) -> str:
        """What such a model cannot do, for its card."""

    @abstractmethod
    def baselines(self) -> Sequence[Baseline]:
        """What the networks have to beat."""

    def left_out(self) -> Sequence[str]:
        """Of the baselines, those that cannot run here, and why."""
        return ()

    @abstractmethod
    def counted(self, part: Any) -> str:
        """How much data a part is, in words: "370 recordings"."""

    def to_config(self) -> dict[str, Any]:
        """What `from_config` needs, in JSON's types."""
        stored: dict[str, Any] = {"kind": self.kind}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Seen):
                value = value.to_config()
            stored[field.name] = list(value) if isinstance(value, tuple) else value
        return stored

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "task") -> Self:
        """The task that `to_config` described.

        Raises:
            ModelError: with the path of a field that is not what the task's has to be.
        """
        given = {name: value for name, value in config.items() if name != "kind"}
        task: Self = typed(given, cls, path)
        fact = task.inconsistency()
        if fact is not None:
            raise ModelError(f"{path} is damaged: {fact}")
        return task

    def inconsistency(self) -> str | None:
        """A contradiction between the fields, as a file that was edited may hold, or None."""
        return None


def evenly(rows: int, count: int) -> Tensor:
    """(N,), at most `count` of so many rows, the first and the last among them."""
    return torch.linspace(0, rows - 1, min(count, rows)).round().long()


def run_all(model: Any, batches: Batches) -> list[tuple[Tensor, Batch]]:
    """The outputs on every batch of a part, in order, as the model will be used."""
    return run_each(model, batches.ordered(EVALUATED))


@torch.no_grad()
def run_each(model: Any, batches: Iterable[Batch]) -> list[tuple[Tensor, Batch]]:
    """The outputs on these batches as the model will be used, each with its batch."""
    training = model.training
    model.eval()
    state, pairs = None, []
    try:
        for batch in batches:
            outputs, state = model(batch, state if batch.carries else None)
            pairs.append((outputs, batch))
    finally:
        model.train(training)
    return pairs
