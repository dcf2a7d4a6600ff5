"""RNN, LSTM and GRU with the options of ONNX and Keras that the cells of the library lack.

ONNX's operators RNN, LSTM and GRU have other activations, a bound on what enters them (`clip`)
and one gate for learning and forgetting (`input_forget`); a file may start the states at
constants. Written here as cells, they run on the same kernels as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from gatewright.deploy.incoming.activations import SIGMOID, TANH, Activation
from gatewright.language.cell import Cell
from gatewright.language.functions import (
    Update,
    diagonal,
    linear,
    maximum,
    minimum,
    parameter,
    state,
)


class ImportedCell(Cell):
    """The options that the cells of this file share.

    Attributes:
        clip: What enters an activation is limited to [-clip, clip]; 0 for no limit.
        starts: Whether the states start at vectors of the file.
    """

    clip: float = 0.0
    starts: bool = False
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    @property
    def initial(self) -> Mapping[str, Any]:  # type: ignore[override]  # it depends on a field
        """The start of each state: a parameter, or 0."""
        return dict.fromkeys(self.state_names, parameter()) if self.starts else {}

    def clipped(self, value: Any) -> Any:
        """A value within the bounds of `clip`."""
        return maximum(minimum(value, self.clip), -self.clip) if self.clip else value


class ImportedRNN(ImportedCell):
    """RNN of a file: the simple recurrent network with any activation.

    Source: ONNX's operator RNN and Keras's SimpleRNN.
    """

    new: Activation = TANH

    def step(self, x: Any, h: Any) -> Update:
        h = self.new(self.clipped(linear(x, h)))
        return state(h=h)


class ImportedLSTM(ImportedCell):
    """LSTM of a file, with any activations, a clip and coupled gates.

    Source: ONNX's operator LSTM and Keras's LSTM.

    Attributes:
        gate, new, used: The activations of the gates, of the new value and of the memory that is
            used; ONNX's f, g and h.
        coupled: Forget as much as is learned, f = 1 - i; ONNX's `input_forget`.
        peepholes: Let the gates see the long-term memory.
    """

    gate: Activation = SIGMOID
    new: Activation = TANH
    used: Activation = TANH
    coupled: bool = False
    peepholes: bool = False
    state_names: ClassVar[tuple[str, ...]] = ("h", "c")

    def open(self, x: Any, h: Any, c: Any) -> Any:
        """The value of a gate."""
        total = linear(x, h) + diagonal(c=c) if self.peepholes else linear(x, h)
        return self.gate(self.clipped(total))

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = self.new(self.clipped(linear(x, h)))
        i = self.open(x, h, c)
        f = 1 - i if self.coupled else self.open(x, h, c)
        learn = i * g
        forget = f * c
        remember = learn + forget
        o = self.open(x, h, remember)
        use = o * self.used(remember)
        return state(h=use, c=remember)


class ImportedGRU(ImportedCell):
    """GRU of a file, with any activations and a clip.

    Source: ONNX's operator GRU and Keras's GRU.

    Attributes:
        gate, new: The activations of the gates and of the new value; ONNX's f and g.
        reset: Apply r "after" or "before" the product with the old memory.
    """

    gate: Activation = SIGMOID
    new: Activation = TANH
    reset: Literal["after", "before"] = "after"

    def step(self, x: Any, h: Any) -> Update:
        r = self.gate(self.clipped(linear(x, h)))
        z = self.gate(self.clipped(linear(x, h)))
        if self.reset == "after":
            total = linear(x, name="n") + r * linear(h, name="n")
        else:
            total = linear(x, h=r * h, name="n")
        n = self.new(self.clipped(total))
        h = (1 - z) * n + z * h
        return state(h=h)
