"""How the networks of a comparison are trained: every choice, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that all networks of one comparison share."""

    budget: int = 10_000  # parameters of each network
    epochs: int = 60
    batch_size: int = 27
    learning_rate: float = 1e-2  # at its highest
    warmup: float = 0.05  # share of the steps in which the rate rises
    weight_decay: float = 1e-2
    clip: float = 1.0  # largest norm of the gradient
    dropout: float = 0.1  # before the readout
    noise: float = 0.5  # at each step, in standard deviations of a channel
    shift: float = 0.5  # of a whole recording, likewise
    validation: float = 0.2  # share of the training part that choices are made on
    keep_from: float = 0.75  # share of the epochs after which weights may be kept


#: The settings for each data set that has some of its own.
RECIPES: Mapping[str, Recipe] = MappingProxyType({"vowels": Recipe()})
