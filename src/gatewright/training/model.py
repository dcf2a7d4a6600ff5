"""The model that is trained and saved: scaling, one network, and a readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.errors import SizeError
from gatewright.layers.saving import describe, rebuild, saveable
from gatewright.training.batches import pad
from gatewright.training.networks import find_network
from gatewright.training.window import Window


@saveable("classifier")
class Classifier(nn.Module):
    """Tells the class of a sequence of raw values; knows its own scaling and class names.

    >>> model = Classifier("lstm", channels=12, hidden_size=40, classes=["calm", "storm"])
    >>> model(torch.zeros(20, 3, 12), torch.tensor([20, 7, 12])).shape
    torch.Size([3, 2])

    `gw.save` and `gw.load` take it; `predict` takes arrays as they were recorded.
    """

    mean: Tensor  # (I,), of the training part
    scale: Tensor  # (I,)

    def __init__(
        self,
        network: str,
        channels: int,
        hidden_size: int,
        classes: Sequence[str],
        *,
        dropout: float = 0.0,
        body: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        self.hidden_size = hidden_size
        self.classes = tuple(classes)
        self.body = find_network(network).build(channels, hidden_size) if body is None else body
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden_size, len(self.classes))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit_scaling(self, sequences: Sequence[NDArray[np.float32]]) -> None:
        """Take mean and standard deviation of each channel from these sequences (T_i, I)."""
        values = np.concatenate(sequences).astype(np.float64)
        deviation = values.std(0)
        # A channel that never changes carries nothing; dividing by it would carry NaN.
        deviation[deviation == 0.0] = 1.0
        self.mean.copy_(torch.from_numpy(values.mean(0)))
        self.scale.copy_(torch.from_numpy(deviation))

    def standardise(self, x: Tensor) -> Tensor:
        """Raw values (T, B, I) to values with mean 0 and deviation 1."""
        return (x - self.mean) / self.scale

    def features(self, z: Tensor, lengths: Tensor) -> Tensor:
        """Standardised values (T, B, I) and lengths (B,) to what is read of the network, (B, H)."""
        if isinstance(self.body, Window):
            return self.body(z, lengths)  # type: ignore[no-any-return]
        _, states = self.body(z, lengths=lengths)
        # The first state is the short-term memory, the output; each is (1, B, H).
        last: Tensor = states[0] if isinstance(states, tuple) else states
        return last[0]

    def classify(self, z: Tensor, lengths: Tensor) -> Tensor:
        """Standardised values (T, B, I) and lengths (B,) to one logit a class, (B, classes)."""
        return self.readout(self.dropout(self.features(z, lengths)))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Raw values (T, B, I) and lengths (B,) to one logit a class, (B, classes)."""
        return self.classify(self.standardise(x), lengths)

    @torch.no_grad()
    def predict(self, sequences: Sequence[NDArray[np.float32]]) -> Tensor:
        """Probabilities (N, classes) for N recordings, each (T_i, I), as they were recorded."""
        for at, sequence in enumerate(sequences):
            if (
                np.ndim(sequence) != 2
                or len(sequence) < 1
                or np.shape(sequence)[1] != self.channels
            ):
                raise SizeError(
                    f"sequence {at} has shape {np.shape(sequence)}; "
                    f"expected (time, {self.channels}) with at least one step"
                )
        if not len(sequences):
            return torch.zeros(0, len(self.classes))
        x, lengths = pad(sequences)
        training = self.training
        try:
            self.eval()
            logits: Tensor = self(x.to(self.mean), lengths.to(self.mean.device))
            return logits.softmax(-1)
        finally:
            self.train(training)

    def to_config(self) -> dict[str, Any]:
        """What `from_config` needs; the numbers are in the state_dict."""
        config = {
            "network": self.network,
            "channels": self.channels,
            "hidden_size": self.hidden_size,
            "classes": list(self.classes),
            "dropout": self.dropout.p,
        }
        if isinstance(self.body, Window):
            return {**config, "reach": self.body.reach}
        return {**config, "body": describe(self.body)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The model of a config, with its weights not yet filled."""
        find_network(config["network"])
        channels, hidden_size = config["channels"], config["hidden_size"]
        if "body" in config:
            body = rebuild(config["body"])
        else:
            body = Window(channels, hidden_size, reach=config["reach"])
        return cls(
            config["network"],
            channels,
            hidden_size,
            config["classes"],
            dropout=config["dropout"],
            body=body,
        )
