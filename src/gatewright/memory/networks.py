"""The networks of the lesson's comparison, with a readout at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gatewright.layers.init import chrono_
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.torch_layers import GRU, LSTM, RNN, PeepholeLSTM
from gatewright.memory.tasks import MemoryTask


class StepReader(nn.Module):
    """A network with an answer at every step: a body, and one linear layer on its output.

    >>> StepReader(LSTM(10, 32), 32, 8)(torch.zeros(21, 4, 10)).shape
    torch.Size([21, 4, 8])
    """

    def __init__(self, body: nn.Module, units: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.readout = nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, I) to (T, B, outputs)."""
        output, _ = self.body(x)
        return self.readout(output)  # type: ignore[no-any-return]


class LastStepsNetwork(nn.Module):
    """A network without memory: one feed-forward layer on the last `width` steps.

    >>> LastStepsNetwork(10, 32)(torch.zeros(21, 4, 10))[0].shape
    torch.Size([21, 4, 32])
    """

    def __init__(self, input_size: int, hidden_size: int, *, width: int = 10) -> None:
        super().__init__()
        self.width = width
        self.hidden = nn.Linear(width * input_size, hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """(T, B, I) to (T, B, H); steps before the first are zero."""
        before = x.new_zeros(self.width - 1, *x.shape[1:])
        windows = torch.cat([before, x]).unfold(0, self.width, 1)  # (T, B, I, width)
        return torch.relu(self.hidden(windows.flatten(2))), None


@dataclass(frozen=True, slots=True)
class ComparedNetwork:
    """A network of the comparison.

    Attributes:
        title: Its name for people.
        build: From input size and units to a body, whose first result is `(T, B, units)`.
    """

    title: str
    build: Callable[[int, int], nn.Module]

    def reader(self, task: MemoryTask, units: int) -> StepReader:
        """The network for a task, with fresh weights."""
        return StepReader(self.build(task.inputs, units), units, task.outputs)


#: The memory of the chrono start in steps: the longest lag of the comparison.
CHRONO_STEPS = 200


def chrono_lstm(inputs: int, units: int) -> nn.Module:
    """An LSTM whose forget gates start nearly open, each unit with its own time constant."""
    return chrono_(LSTM(inputs, units), t_max=CHRONO_STEPS)


#: The networks of the lesson as torch initialises them, and an LSTM initialised for long lags.
NETWORKS: Mapping[str, ComparedNetwork] = MappingProxyType(
    {
        "window": ComparedNetwork("window of 10", LastStepsNetwork),
        "rnn": ComparedNetwork("RNN", RNN),
        "lstm": ComparedNetwork("LSTM", LSTM),
        "lesson_lstm": ComparedNetwork(
            "lesson LSTM", lambda inputs, units: Recurrent("lesson_lstm", inputs, units)
        ),
        "peephole_lstm": ComparedNetwork("peephole LSTM", PeepholeLSTM),
        "gru": ComparedNetwork("GRU", GRU),
        "chrono_lstm": ComparedNetwork("LSTM, chrono start", chrono_lstm),
    }
)
