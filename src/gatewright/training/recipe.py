"""The settings of a training, with the measurements that each choice rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Self

from gatewright.designs.design import DESIGNS, PLAIN, Design
from gatewright.errors import ArgumentError
from gatewright.tasks.task import Batches

#: The smallest and the largest value of each setting that is a number.
LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "parameters": (1, math.inf),
        "epochs": (1, math.inf),
        "batch_size": (1, math.inf),
        "learning_rate": (1e-12, 1e3),
        "warmup": (0.0, 1.0),
        "weight_decay": (0.0, 1e3),
        "clip": (1e-12, math.inf),
        "dropout": (0.0, 0.999),
        "noise": (0.0, 1e3),
        "shift": (0.0, 1e3),
        "magnitude": (0.0, 1e3),
        "smoothing": (0.0, 0.999),
        "validation": (0.001, 0.999),
        "keep_from": (0.0, 1.0),
        "patience": (1, math.inf),
        "most_steps": (1, math.inf),
        "least_steps": (0, math.inf),
    }
)


def check_limits(settings: Mapping[str, Any], place: str = "") -> None:
    """Refuse settings of a recipe that are outside of their limits.

    Args:
        place: The beginning of the settings' names in a message.

    Raises:
        ArgumentError: naming the first.
    """
    for name, value in settings.items():
        low, high = LIMITS.get(name, (-math.inf, math.inf))
        if value is not None and not low <= value <= high:
            limits = f"a number from {low:g}" + ("" if high == math.inf else f" to {high:g}")
            raise ArgumentError(f"{place}{name} is {value!r}; expected {limits}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that all networks of one comparison share."""

    design: Design = PLAIN  # of every network but the window
    parameters: int = 15_000  # of each network
    epochs: int = 100
    batch_size: int = 27
    learning_rate: float = 5e-3  # the highest of the schedule
    warmup: float = 0.05  # share of the steps in which the rate rises
    weight_decay: float = 0.1
    clip: float = 1.0  # largest norm of the gradient
    dropout: float = 0.1  # before the readout
    noise: float = 0.0  # added at each step, in standard deviations of a channel
    shift: float = 0.0  # added to a channel over a whole recording, in standard deviations
    magnitude: float = 0.0  # spread of a random factor of each whole recording
    smoothing: float = 0.0  # share of each label that is spread over all classes while learning
    validation: float = 0.2  # share of the training part that choices are made on
    keep_from: float = 0.0  # share of the epochs after which weights may be kept
    patience: int | None = None  # epochs without a better loss after which training ends
    most_steps: int | None = None  # upper limit of the batches of an epoch
    least_steps: int = 0  # lower limit of the batches of all epochs: few data get more epochs
    memory: int | None = None  # steps that a network starts for, by `gw.init.horizon_`
    chunk: int | None = None  # steps that gradients reach back from one answer to a sequence
    recompute: int | None = None  # steps between the states that are kept; True for the root
    device: str = "cpu"  # that networks are trained on
    precision: str = "float32"  # of the products while learning: or bfloat16, float16
    seconds: float | None = None  # time limit; training ends with its best weights so far

    def steps_per_epoch(self, batches: Batches) -> int:
        """Batches of an epoch on these data."""
        steps = batches.steps(self.batch_size)
        return steps if self.most_steps is None else min(steps, self.most_steps)

    def fitted(self, batches: Batches) -> Recipe:
        """The recipe with smaller batches and more epochs where data are few."""
        # At least 8 batches an epoch, but none of fewer than 4 rows.
        size = min(self.batch_size, max(len(batches) // 8, 4))
        epochs = max(self.epochs, -(-self.least_steps // batches.steps(size)))
        return replace(self, batch_size=size, epochs=epochs)

    def to_config(self) -> dict[str, Any]:
        """The settings in JSON's types."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "design": self.design.to_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The recipe that `to_config` described."""
        return cls(**{**config, "design": Design.from_config(config["design"])})

    def shortened(self, share: float) -> Recipe:
        """The recipe with a share of its epochs, and at least one."""
        return replace(self, epochs=max(round(share * self.epochs), 1))


# Chosen for the vowels by five-fold cross-validation inside the 270 recordings of the
# training part, four seeds each. A fold holds 54 consecutive recordings, because the test part
# was recorded after the training part; of the other 216, 45 chose the epoch. The test part was
# not used. Accuracy in percent for LSTM / GRU / RNN, with a standard error of about 0.8:
#
#   these settings                              97.8 / 97.9 / 96.4
#   budget 10,000                               96.9 / 97.7 / 96.1
#   weight decay 0.01                           97.6 / 97.7 / 95.4
#   decay 0.01, budget 10,000                   97.2 / 97.7 / 96.1
#   decay 0.01, learning rate 0.01              97.4 / 97.5 / 95.1
#   decay 0.01, 60 epochs                       96.7 / 98.0 / 95.7
#
# With noise of 0.1 and no shift the LSTM stayed at 92. Reading the mean over the steps instead
# of the last step cost one or two points; a second direction gained the LSTM and the GRU
# nothing. The best of the last quarter of the epochs, or simply the last epoch, did better by
# half a point than the best of all epochs.

VOWELS = Recipe(noise=0.5, shift=0.5, keep_from=0.75)

#: Sequences below which only designs that need no training are tried, unless the budget is for
#: whole trainings. Five-fold cross-validation inside the training parts of six public sets of 36
#: to 270 sequences, log loss in brackets: an untrained network of an earlier design 90.8 %
#: (0.312), convolutional 88.7 % (0.332, 600 steps, 6 to 14 s), both ways 84.1 % (0.424). Short
#: trainings on so few choose by chance.
FEW_SEQUENCES = 300
#: Validation parts that untrained designs are compared on where no other is tried: they are cheap.
UNTRAINED_FOLDS = 5

#: By name of a recipe: what its variants change, the simplest first. The first is trained where
#: the budget does not pay for a choice.
TRIED: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType(
    {
        "classify": (
            # Random weights have nothing to repeat. About 96 units a direction.
            {
                "design": DESIGNS["untrained"],
                "parameters": 530_000,
                "epochs": 1,
                "least_steps": 0,
            },
            {"design": DESIGNS["convolutional"], "parameters": 60_000},
        ),
        "tag": ({}, {"design": DESIGNS["both-ways"]}),
    }
)

#: By name: the recipe of a bundled data set that has one, and the recipe of each task.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "vowels": VOWELS,
        # The trials of the designs used these: a random factor and smoothed labels in addition to
        # noise, and a rate that rises over the first third.
        "classify": Recipe(
            batch_size=32,
            learning_rate=3e-3,
            warmup=0.3,
            weight_decay=0.01,
            noise=0.1,
            magnitude=0.1,
            smoothing=0.05,
            most_steps=200,
            least_steps=1000,
            keep_from=0.5,
        ),
        "forecast": Recipe(
            batch_size=64,
            epochs=60,
            learning_rate=3e-3,
            weight_decay=0.01,
            dropout=0.2,
            patience=15,
            most_steps=200,
            least_steps=600,
        ),
        # Bits a character on the validation part of the bundled prose, GRU, a third of the
        # steps: one layer of 280,000 parameters with 32 streams 1.91 after 5 epochs, with 16
        # streams 1.79, and these settings 1.71; after 7 epochs 1.77 and 1.69, after 10 epochs 1.65.
        # With 13 epochs, one seed took 4 min 41 s on a core of a 2-core EPYC.
        "next symbol": Recipe(
            design=Design(layers=2, dropout=0.2, input_dropout=0.1),
            parameters=675_000,
            batch_size=16,
            epochs=13,
            learning_rate=3e-3,
            weight_decay=0.01,
            dropout=0.25,
            validation=0.1,
            patience=4,
            least_steps=600,
        ),
        "tag": Recipe(batch_size=16, noise=0.1, most_steps=200, least_steps=1000, keep_from=0.5),
    }
)
