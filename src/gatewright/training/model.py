"""The model that is trained and saved: scaling, one network, and a readout for its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor, nn

from gatewright.data import read
from gatewright.errors import ModelError
from gatewright.layers.saving import describe, rebuild, saveable
from gatewright.schema import mismatch, typed_fields
from gatewright.tasks.registry import task_from_config
from gatewright.tasks.task import Batch, Task
from gatewright.training.window import Window

#: The fields of a model's configuration.
STORED: dict[str, Any] = {
    "task": dict[str, Any],
    "network": str,
    "body": dict[str, Any],
    "dropout": float,
    "reading": dict[str, Any],
}


@saveable("model")
class Model(nn.Module):
    """Does its task on raw values; knows its own scaling, and what it was trained on.

    `gw.save` and `gw.load` take it; `predict` takes data as they were read.

    Args:
        task: What it is to do; also says how many inputs and outputs there are.
        network: The name of the network, for people.
        body: What turns each step into features: a recurrent layer, or a `Window`.
        dropout: Before the readout, while learning.
    """

    body: Any
    mean: Tensor  # (I,), of the training part
    scale: Tensor  # (I,)

    def __init__(self, task: Task, network: str, body: Any, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.task = task
        self.network = network
        self.body = body
        self.reading: dict[str, Any] = {}  # how its data were read, for others to be read so
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(self.body.output_size, task.outputs)
        if task.symbols is not None:
            self.embedding = nn.Embedding(task.symbols, task.inputs)
        else:
            self.register_buffer("mean", torch.zeros(task.inputs))
            self.register_buffer("scale", torch.ones(task.inputs))

        for name, module in task.own_modules().items():
            self.add_module(name, module)
        for name, buffer in task.own_buffers().items():
            self.register_buffer(name, buffer)

    @property
    def hidden_size(self) -> int:
        """Units of the network, H."""
        return int(self.body.hidden_size)

    def fit_scaling(self, training: Any) -> None:
        """Take mean and standard deviation of each channel from the data to learn from."""
        if self.task.symbols is not None:
            return
        values = self.task.values(training)
        deviation = values.std(0)
        # A channel that never changes carries nothing; dividing by it would carry NaN.
        deviation[deviation == 0.0] = 1.0
        self.mean.copy_(torch.from_numpy(values.mean(0)))
        self.scale.copy_(torch.from_numpy(deviation))

    def encode(self, x: Tensor) -> Tensor:
        """Raw values (T, B, I) or symbols (T, B) to what the network reads, (T, B, I)."""
        if self.task.symbols is not None:
            return self.embedding(x)  # type: ignore[no-any-return]
        return (x - self.mean) / self.scale

    def features(self, z: Tensor, lengths: Tensor | None, state: Any = None) -> tuple[Tensor, Any]:
        """What is read of the network: (B, H), or (T, B, H) where the task asks at every step.

        Also the network's state after the last step, for a batch that goes on from here.
        """
        if isinstance(self.body, Window):
            known = torch.full((z.shape[1],), len(z)) if lengths is None else lengths
            if self.task.centred:
                return self.body.mean(z, known), None
            # What it remembers of a batch before is what its window still shows of it.
            before = 0 if state is None else len(state)
            whole = z if state is None else torch.cat([state, z])
            output = self.body(whole, known + before)[before:]
            state = whole[-self.body.reach :]
        else:
            output, state = self.body(z, state, lengths=lengths)
        if self.task.every_step:
            return output, state
        if lengths is None:
            return output[-1], state
        return output[lengths - 1, torch.arange(z.shape[1])], state

    def read(self, z: Tensor, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """From encoded events to the task's outputs, and the state after them."""
        z, kept = self.task.prepare(z, batch)
        return self.answer(z, kept, batch, state)

    def answer(self, z: Tensor, kept: Any, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """The same from events as the network reads them; `kept` is what `prepare` left."""
        features, state = self.features(z, batch.lengths, state)
        features = self.dropout(features)
        outputs = self.readout(features) + self.task.readout_offset(self, batch)
        return self.task.finish(outputs, kept), state

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """From a batch of raw events to the task's outputs, and the state after them."""
        return self.read(self.encode(batch.x), batch, state)

    def check_weights(self) -> None:
        """Refuse weights that are not finite: nothing that they say means anything.

        Raises:
            ModelError: with the name of the first one.
        """
        for name, tensor in self.state_dict().items():
            if not tensor.isfinite().all():
                raise ModelError(
                    f"{name} of the model holds values that are not finite numbers; expected "
                    "trained weights: load the model again, or train it again"
                )

    def predict(self, data: Any) -> Any:
        """The task's answer to new data; see the class of the task."""
        self.check_weights()
        return self.task.predict(self, data)

    def sample(
        self,
        prompt: str | bytes = "",
        *,
        symbols: int = 200,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> str | bytes:
        """What a model of the next symbol writes after `prompt`; see `NextSymbol.sample`."""
        self.check_weights()
        return self.task.sample(self, prompt, symbols, temperature, seed)

    def to_config(self) -> dict[str, Any]:
        """What `from_config` needs; the numbers are in the state_dict."""
        return {
            "task": self.task.to_config(),
            "network": self.network,
            "body": describe(self.body),
            "dropout": self.dropout.p,
            "reading": self.reading,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "model") -> Self:
        """The model of a config, with its weights not yet filled."""
        given = typed_fields(dict(config), STORED, path)
        task = task_from_config(given["task"], f"{path}.task")
        body: Any = rebuild(given["body"], f"{path}.body")
        if getattr(body, "input_size", None) != task.inputs:
            raise ModelError(
                f"{path}.body takes {getattr(body, 'input_size', 'no')} inputs; the task has "
                f"{task.inputs}"
            )
        if not 0.0 <= given["dropout"] <= 1.0:
            raise mismatch(f"{path}.dropout", given["dropout"], "a probability")
        model = cls(task, given["network"], body, dropout=given["dropout"])
        hints = get_type_hints(read)
        arguments = {name: hints[name] for name in hints if name not in ("source", "return")}
        typed_fields(given["reading"], arguments, f"{path}.reading", optional=arguments)
        model.reading = given["reading"]
        return model
