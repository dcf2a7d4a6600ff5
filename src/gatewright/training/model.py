"""The model that is trained and saved: scaling, one network, and a readout for its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor, nn

from gatewright.data import read
from gatewright.designs.backpropagation import WHOLE, Backpropagation
from gatewright.designs.masks import last_step
from gatewright.designs.network import SequenceNetwork
from gatewright.errors import ModelError
from gatewright.layers.finite import check_finite
from gatewright.layers.precision import check_precision, layers_in
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.saving import describe, rebuild, saveable
from gatewright.schema import mismatch, typed_fields
from gatewright.tasks.registry import task_from_config
from gatewright.tasks.task import Batch, Task
from gatewright.training.window import WindowNetwork

#: The fields of a model's configuration.
STORED: dict[str, Any] = {
    "task": dict[str, Any],
    "network": str,
    "body": dict[str, Any],
    "dropout": float,
    "reading": dict[str, Any],
    "completion": list[int],
}


class TiedReadout(nn.Module):
    """A readout whose matrix is that of the embedding: few weights for many symbols.

    After Press and Wolf 2017 (arXiv:1608.05859), with a projection to the embedding's size.
    """

    def __init__(self, features: int, embedding: nn.Embedding) -> None:
        super().__init__()
        self.projection = nn.Linear(features, embedding.embedding_dim)
        # In a tuple, so that its matrix is stored once: as a part of the model.
        self.shared = (embedding,)
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        # Small, as the weights of a readout are; `scale` makes the input's features as large again.
        nn.init.normal_(embedding.weight, std=1.0 / self.scale)

    @property
    def scale(self) -> float:
        """The factor of the embedding where the network reads it."""
        return float(self.shared[0].embedding_dim ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, features) to logits (T, B, symbols)."""
        return nn.functional.linear(self.projection(x), self.shared[0].weight, self.bias)


@saveable("model")
class Model(nn.Module):
    """A network with the scaling of its inputs and a readout, which does its task on raw values.

    `gw.save` and `gw.load` take it; `predict` takes data as `read` gives them.

    Args:
        task: The task, which also fixes the number of inputs and outputs.
        network: The name of the network, for people.
        body: The module that turns steps into features: a recurrent layer, a
            `SequenceNetwork` or a `WindowNetwork`.
        dropout: Share of the features that is dropped before the readout, while learning.
    """

    body: Any
    completion: Any  # the module of `Task.completion`, or None
    mean: Tensor  # (I,), of the training part
    scale: Tensor  # (I,)

    def __init__(self, task: Task, network: str, body: Any, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.task = task
        self.network = network
        self.body = body
        self.reading: dict[str, Any] = {}  # arguments that read new data like its own
        self.backpropagation: Backpropagation = WHOLE  # while it learns; not stored
        self.dropout = nn.Dropout(dropout)
        # A network that is read at every step has the features of its recurrent layers there.
        layers = self.recurrent if task.every_step else None
        features = self.body if layers is None else layers
        self.readout: Any = nn.Linear(features.output_size, task.outputs)
        if task.symbols is not None:
            self.embedding = nn.Embedding(task.symbols, task.inputs)
            if task.tied:
                self.readout = TiedReadout(features.output_size, self.embedding)
        else:
            self.register_buffer("mean", torch.zeros(task.inputs))
            self.register_buffer("scale", torch.ones(task.inputs))

        for name, module in task.own_modules().items():
            self.add_module(name, module)
        for name, buffer in task.own_buffers().items():
            self.register_buffer(name, buffer)
        self.completion = task.completion()

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return next(self.parameters()).device

    @property
    def recurrent(self) -> Recurrent | None:
        """The recurrent layers of the network, or None if it has none."""
        body = self.body.recurrent if isinstance(self.body, SequenceNetwork) else self.body
        return body if isinstance(body, Recurrent) else None

    @property
    def streamed(self) -> Recurrent | None:
        """The recurrent layers of a network that could answer after every step, or None.

        They read the events as they are, forwards, and are read at the last or at every step.
        """
        if isinstance(self.body, SequenceNetwork):
            design = self.body.design
            reads_steps = self.task.every_step or design.readout == ("last",)
            return None if design.needs_whole_sequence or not reads_steps else self.recurrent
        return self.recurrent

    def events(self, batch: Batch) -> Tensor:
        """The events that the recurrent layers read for a batch of raw values, (T, B, C)."""
        z, _ = self.task.prepare(self.encode(batch.x), batch)
        if isinstance(self.body, SequenceNetwork):
            return self.body.events(z, batch.lengths)[0]
        return z

    @property
    def hidden_size(self) -> int:
        """Units of the network, H."""
        return int(self.body.hidden_size)

    def fit_scaling(self, training: Any) -> None:
        """Set the scaling to mean and standard deviation of each channel of `training`."""
        if self.task.symbols is not None:
            return
        values = self.task.values(training)
        deviation = values.std(0)
        # A channel that never changes has deviation 0, and dividing by that gives NaN.
        deviation[deviation == 0.0] = 1.0
        self.mean.copy_(torch.from_numpy(values.mean(0)))
        self.scale.copy_(torch.from_numpy(deviation))
        self.task.start(self, training)

    def encode(self, x: Tensor) -> Tensor:
        """Scale raw values (T, B, I), or embed symbols (T, B): (T, B, I) for the network."""
        if self.task.symbols is not None:
            embedded: Tensor = self.embedding(x)
            return embedded * self.readout.scale if self.task.tied else embedded
        return (self.task.transform(x) - self.mean) / self.scale

    def features(
        self, z: Tensor, lengths: Tensor | None, state: Any = None, starts: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The features for the readout: (B, H), or (T, B, H) where the task asks at every step.

        Also the network's state after the last step, for a batch that continues these sequences.

        Args:
            starts: True at the first step of a sequence, (T, B), where a row reads several.
        """
        if isinstance(self.body, SequenceNetwork):
            if self.task.every_step:
                return self.body.steps(z, lengths, state, starts, self.backpropagation)
            return self.body(z, lengths, self.backpropagation), None
        if isinstance(self.body, WindowNetwork):
            steps = torch.full((z.shape[1],), z.shape[0], device=z.device)
            steps = steps if lengths is None else lengths
            if self.task.centred:
                return self.body.mean(z, steps), None
            if self.task.every_step:
                return self.body.steps(z, steps, state, starts)
            return last_step(self.body(z, steps), steps), None
        if self.task.every_step:
            return self.backpropagation.run(self.body, z, state, lengths=lengths, starts=starts)
        return self.backpropagation.last(self.body, z, lengths), None

    def read(self, z: Tensor, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """Encoded events to the task's outputs, and the state after them."""
        z, context = self.task.prepare(z, batch)
        return self.answer(z, context, batch, state)

    def answer(
        self, z: Tensor, context: Any, batch: Batch, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Prepared events to the task's outputs, and the state after them.

        Args:
            z, context: What the task's `prepare` gave; its `finish` needs the context.
        """
        features, state = self.features(z, batch.lengths, state, batch.starts)
        features = self.dropout(features)
        outputs = self.readout(features) + self.task.readout_offset(self, batch)
        return self.task.finish(outputs, context), state

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """A batch of raw events to the task's outputs, and the state after them."""
        outputs, state = self.read(self.encode(batch.x), batch, state)
        return self.completed(outputs, batch), state

    def completed(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The outputs of the network together with what the task adds to them after training."""
        return outputs if self.completion is None else self.task.complete(outputs, batch, self)

    def check_weights(self) -> None:
        """Refuse weights that are not finite: their predictions mean nothing.

        Raises:
            ModelError: with the name of the first such weight.
        """
        check_finite(self)

    def predict(self, data: Any, *, precision: str | None = None) -> Any:
        """Predict for new data, in the form that the class of the task describes.

        >>> import gatewright as gw
        >>> model = gw.load("wake_word")                                    # doctest: +SKIP
        >>> model.predict(recordings, precision="int8")                     # doctest: +SKIP

        Args:
            data: What `read` gives, of the kind that the model was trained on.
            precision: "float32", or "int8": the recurrent layers of all its networks compute as an
                export in int8 does (docs/int8.md). Without it, each runs on its own backend.

        Raises:
            ArgumentError: if there is no such precision.
            ModelError: if weights are not finite.
            DataError: if the data are of another type, or do not fit the model.
        """
        self.check_weights()
        self.task.check_type(data, plain=True)
        if precision is None:
            return self.task.predict(self, data)
        with layers_in(self, int8=check_precision(precision)):
            return self.task.predict(self, data)

    def sample(
        self,
        prompt: str | bytes = "",
        *,
        symbols: int = 200,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> str | bytes:
        """Continue `prompt` with a model of the next symbol; see `NextSymbol.sample`."""
        self.check_weights()
        return self.task.sample(self, prompt, symbols, temperature, seed)

    def to_config(self) -> dict[str, Any]:
        """The model for `from_config`, without its numbers, which are in the state_dict."""
        return {
            "task": self.task.to_config(),
            "network": self.network,
            "body": describe(self.body),
            "dropout": self.dropout.p,
            "reading": self.reading,
            **self._stored_completion(),
        }

    def _stored_completion(self) -> dict[str, Any]:
        """The sizes of the completion's tensors, which depend on the training part."""
        return {} if self.completion is None else {"completion": self.completion.sizes}

    def _resize_completion(self, sizes: list[int] | None, path: str) -> None:
        """Make room for the tensors of a stored completion."""
        if sizes is None:
            return
        if self.completion is None:
            raise ModelError(f"{path}.completion is {sizes}; the task has none")
        self.completion.resize(sizes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "model") -> Self:
        """The model of a config, before its weights are loaded."""
        values = typed_fields(dict(config), STORED, path, optional=("completion",))
        task = task_from_config(values["task"], f"{path}.task")
        body: Any = rebuild(values["body"], f"{path}.body")
        if getattr(body, "input_size", None) != task.inputs:
            raise ModelError(
                f"{path}.body takes {getattr(body, 'input_size', 'no')} inputs; the task has "
                f"{task.inputs}"
            )
        if not 0.0 <= values["dropout"] <= 1.0:
            raise mismatch(f"{path}.dropout", values["dropout"], "a probability")
        model = cls(task, values["network"], body, dropout=values["dropout"])
        hints = get_type_hints(read)
        arguments = {name: hints[name] for name in hints if name not in ("source", "return")}
        typed_fields(values["reading"], arguments, f"{path}.reading", optional=arguments)
        model.reading = values["reading"]
        model._resize_completion(values.get("completion"), path)
        return model
