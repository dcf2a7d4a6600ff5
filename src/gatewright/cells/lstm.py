"""The LSTM with the lesson's four gates, and its variants."""

from __future__ import annotations

from typing import Any, Literal

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.language.functions import Update, diagonal, linear, sigmoid, state, tanh


class LSTM(Cell):
    """The cell of `torch.nn.LSTM`: learn, forget, remember and use gates on two memories.

    Source: Hochreiter and Schmidhuber 1997, "Long short-term memory"; with the forget gate
    of Gers, Schmidhuber and Cummins 2000, "Learning to forget", eqs. 1 to 7.

    Attributes:
        projection: A smaller size for the short-term memory, torch's `proj_size` (Sak,
            Senior and Beaufays 2014, "Long short-term memory recurrent neural network
            architectures for large scale acoustic modeling", eq. 6); 0 for none.
    """

    projection: int = 0

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h))
        o = sigmoid(linear(x, h))
        learn = i * g
        forget = f * c
        remember = learn + forget
        use = o * tanh(remember)
        h = linear(use, size=self.projection, bias=False) if self.projection else use
        return state(h=h, c=remember)


class ProjectedLSTM(LSTM):
    """LSTM with a smaller short-term memory: a matrix projects what is used.

    Source: Sak, Senior and Beaufays 2014, "Long short-term memory recurrent neural network
    architectures for large scale acoustic modeling", eq. 6; as in torch's `proj_size`.

    Attributes:
        projection: The size of the short-term memory. In the paper it is a quarter of the
            hidden size (512 of 2048); the default is a quarter of 128.
    """

    projection: int = 32


class LessonLSTM(Cell):
    """LSTM whose use gate reads the output of the forget gate, a variant in the lesson.

    `use = sigmoid(W_v [h, x] + b_v) * tanh(W_u forget + b_u)`, with its own matrix.
    Source: the lesson. The other gates are those of `LSTM`.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h))
        learn = i * g
        forget = f * c
        remember = learn + forget
        v = sigmoid(linear(x, h))
        u = tanh(linear(forget))
        use = v * u
        return state(h=use, c=remember)


class PeepholeLSTM(Cell):
    """LSTM whose gates also see the long-term memory.

    Source: Gers and Schmidhuber 2000, "Recurrent nets that time and count", who multiply the
    memory by a vector ("diagonal"). The lesson multiplies it by a matrix ("full").

    Attributes:
        peephole: "diagonal" or "full".
        gates: The gates with a peephole, of i, f and o.
        output_reads: Let o see the "new" memory, as in the paper, or the "old" memory.
    """

    peephole: Literal["diagonal", "full"] = "diagonal"
    gates: tuple[str, ...] = ("i", "f", "o")
    output_reads: Literal["new", "old"] = "new"

    def __post_init__(self) -> None:
        if self.peephole not in ("diagonal", "full"):
            raise ArgumentError(f'peephole={self.peephole!r}; give "diagonal" or "full"')
        if not isinstance(self.gates, tuple | list) or not set(self.gates) <= {"i", "f", "o"}:
            raise ArgumentError(f'gates={self.gates!r}; give a tuple of some of "i", "f", "o"')
        if self.output_reads not in ("new", "old"):
            raise ArgumentError(f'output_reads={self.output_reads!r}; give "new" or "old"')

    def gate(self, name: str, x: Any, h: Any, c: Any) -> Any:
        """The value of a gate, with a peephole if the cell gives it one."""
        if name not in self.gates:
            return sigmoid(linear(x, h))
        if self.peephole == "full":
            return sigmoid(linear(x, h, c=c))
        return sigmoid(linear(x, h) + diagonal(c=c))

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = self.gate("i", x, h, c)
        f = self.gate("f", x, h, c)
        learn = i * g
        forget = f * c
        remember = learn + forget
        o = self.gate("o", x, h, remember if self.output_reads == "new" else c)
        use = o * tanh(remember)
        return state(h=use, c=remember)
