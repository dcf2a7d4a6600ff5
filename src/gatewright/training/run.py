"""One training run of a comparison: which network, on which data, with which seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch

from gatewright.data import Recordings, load, stratified_split
from gatewright.training.batches import Batch
from gatewright.training.loop import History, train
from gatewright.training.model import Classifier
from gatewright.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Run:
    """All that a run depends on, so that it comes out the same in whichever process."""

    data: str
    network: str
    hidden_size: int
    seed: int
    recipe: Recipe

    def to_json(self) -> dict[str, Any]:
        """In JSON's types, for a process of its own."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(**{**given, "recipe": Recipe(**given["recipe"])})

    def parts(self) -> tuple[Recordings, Recordings]:
        """The recordings to learn from and those to choose on. The test part stays closed."""
        return stratified_split(load(self.data).train, self.recipe.validation, self.seed)

    def model(self, training: Recordings) -> Classifier:
        """The network before its first step, scaled to what it will learn from."""
        model = Classifier(
            self.network,
            training.channels,
            self.hidden_size,
            training.classes,
            dropout=self.recipe.dropout,
        )
        model.fit_scaling(training.sequences)
        return model


def perform(run: Run, on_epoch: Any = lambda history: None) -> tuple[Classifier, History]:
    """Train the network of a run from its seed; the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        training, validation = run.parts()
        model = run.model(training)
        history = train(
            model,
            Batch.of(training),
            Batch.of(validation),
            run.recipe,
            seed=run.seed,
            on_epoch=on_epoch,
        )
    return model, history
