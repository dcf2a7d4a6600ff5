"""The mean of several trained models of one task, as one model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from gatewright.errors import ModelError
from gatewright.layers.saving import describe, rebuild, saveable
from gatewright.schema import typed_fields
from gatewright.tasks.task import Batch
from gatewright.training.model import Model


@saveable("ensemble")
class Ensemble(Model):
    """Several models of one task, whose answers are averaged.

    Their errors differ where their weights started from other numbers, and cancel out in part. In
    every other respect it is its first member: that one's layers are traced and examined.

    Args:
        members: Trained models of the same task, the best first.
    """

    def __init__(self, members: Sequence[Model]) -> None:
        nn.Module.__init__(self)  # the parts of a model are those of the members
        first = members[0]
        self.task = first.task
        self.network = first.network
        self.reading = dict(first.reading)
        # What a task calibrates belongs to the mean, not to a member.
        for name in self.task.own_buffers():
            self.register_buffer(name, getattr(first, name).clone())
        self.completion = self.task.completion()
        self.members = nn.ModuleList(map(_without_completion, members))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "members":
                raise
            return getattr(self.members[0], name)

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """A batch of raw events to the mean of the outputs, and the states of all members."""
        states = [None] * len(self.members) if state is None else state
        results = [member(batch, own) for member, own in zip(self.members, states, strict=True)]
        outputs = self.task.mean_outputs(torch.stack([outputs for outputs, _ in results]))
        return self.completed(outputs, batch), tuple(after for _, after in results)

    def to_config(self) -> dict[str, Any]:
        """The members for `from_config`, without their numbers."""
        return {
            "members": [describe(member) for member in self.members],
            "reading": self.reading,
            **self._stored_completion(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "ensemble") -> Self:
        """The ensemble of a config, before its weights are loaded."""
        hints = {"members": list[Any], "reading": dict[str, Any], "completion": list[int]}
        values = typed_fields(dict(config), hints, path, optional=("completion",))
        members: list[Any] = [
            rebuild(member, f"{path}.members[{position}]")
            for position, member in enumerate(values["members"])
        ]
        if not members or not all(type(member) is Model for member in members):
            raise ModelError(f"{path}.members holds no models; expected at least one")
        if any(member.task != members[0].task for member in members):
            raise ModelError(f"{path}.members holds models of different tasks")
        ensemble = cls(members)
        ensemble.reading = members[0].reading
        ensemble._resize_completion(values.get("completion"), path)
        return ensemble


def _without_completion(member: Model) -> Model:
    """The same network with an empty completion: the mean has one for all of its members."""
    if member.completion is None:
        return member
    bare = copy.copy(member)
    bare._modules = {**member._modules, "completion": member.task.completion()}
    return bare
