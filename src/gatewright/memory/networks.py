"""The networks of the lesson's comparison, and how an answer is read off each at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gatewright.layers.init import chrono_
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.torch_layers import GRU, LSTM, RNN, PeepholeLSTM
from gatewright.memory.tasks import Task


class Reader(nn.Module):
    """A network that is read at every step: a body, and one linear layer on its output.

    >>> Reader(LSTM(10, 32), 32, 8)(torch.zeros(21, 4, 10)).shape
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


class Window(nn.Module):
    """The network without memory: one feed-forward layer on the last `width` steps.

    >>> Window(10, 32)(torch.zeros(21, 4, 10))[0].shape
    torch.Size([21, 4, 32])
    """

    def __init__(self, input_size: int, hidden_size: int, *, width: int = 10) -> None:
        super().__init__()
        self.width = width
        self.hidden = nn.Linear(width * input_size, hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """(T, B, I) to (T, B, H); before the first step the window is zero."""
        before = x.new_zeros(self.width - 1, *x.shape[1:])
        windows = torch.cat([before, x]).unfold(0, self.width, 1)  # (T, B, I, width)
        return torch.relu(self.hidden(windows.flatten(2))), None


@dataclass(frozen=True, slots=True)
class Network:
    """One row of the comparison.

    Attributes:
        title: What it is called.
        build: From input size and units to a body, which gives `(T, B, units)` first.
    """

    title: str
    build: Callable[[int, int], nn.Module]

    def reader(self, task: Task, units: int) -> Reader:
        """The network for a task, with its weights as it starts them."""
        return Reader(self.build(task.inputs, units), units, task.outputs)


#: How many steps a chrono start is made for, in the comparison: its longest lag.
CHRONO = 200


def chrono_lstm(inputs: int, units: int) -> nn.Module:
    """An LSTM whose forget gates start nearly open, each for a time of its own."""
    return chrono_(LSTM(inputs, units), t_max=CHRONO)


#: What the lesson compares, each as torch starts it; and what a start for long lags changes.
NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "window": Network("window of 10", Window),
        "rnn": Network("RNN", RNN),
        "lstm": Network("LSTM", LSTM),
        "lesson_lstm": Network(
            "lesson LSTM", lambda inputs, units: Recurrent("lesson_lstm", inputs, units)
        ),
        "peephole_lstm": Network("peephole LSTM", PeepholeLSTM),
        "gru": Network("GRU", GRU),
        "chrono_lstm": Network("LSTM, chrono start", chrono_lstm),
    }
)
