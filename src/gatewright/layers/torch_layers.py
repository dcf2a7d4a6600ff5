"""The drop-ins: `RNN`, `LSTM` and `GRU` as in `torch.nn`, and `PeepholeLSTM` beside them.

`isinstance(gw.LSTM(...), torch.nn.LSTM)` is false on purpose. Code that asks for torch's class
goes on to torch's kernels: quantization replaces the module, exporters and compilers lower it
by its type, and none of them would run the layer that is there. What code reads of such a
layer is here instead: `all_weights`, `_flat_weights`, `mode` and the names of the parameters.
Ask for `(nn.LSTM, gw.LSTM)` where both are meant.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gatewright.cells.gru import GRU as GRUEquations
from gatewright.cells.lstm import LSTM as LSTMEquations
from gatewright.cells.lstm import PeepholeLSTM as PeepholeEquations
from gatewright.cells.rnn import ElmanRNN
from gatewright.errors import ArgumentError
from gatewright.layers.arguments import check_size
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.torch import TorchWeights


class TorchNamed(Recurrent):
    """A layer that keeps its weights under torch's names, and so exchanges its state_dict."""

    #: The name by which `torch.nn.RNNBase` chooses its kernels; a GRU has it for either reset.
    mode: str
    #: As every recurrent layer of torch has it; of these, `LSTM` alone takes another.
    proj_size: int = 0

    def make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        for layer, reverse in self.places:
            self.store(layer, reverse).make(self.sizes(layer), device, dtype)
        self.register_state_dict_pre_hook(_settle)
        self.register_load_state_dict_post_hook(_hold_again)

    def store(self, layer: int, reverse: bool) -> TorchWeights:
        return TorchWeights(self, self.graph, f"_l{layer}" + ("_reverse" if reverse else ""))

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters by layer and direction, as in torch."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    # Underscored, and read by code for torch's layers all the same.
    @property
    def _all_weights(self) -> list[list[str]]:
        """The parameters' names by layer and direction."""
        return [list(self.store(*place).names()) for place in self.places]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [weight for weights in self.all_weights for weight in weights]

    def flatten_parameters(self) -> None:
        """Does nothing: there is no second copy of the weights. For code that calls it."""


def _settle(module: TorchNamed, *_: Any) -> None:
    for place in module.places:
        module.store(*place).settle()


def _hold_again(module: TorchNamed, _: Any) -> None:
    for place in module.places:
        module.store(*place).hold_again()


class RNN(TorchNamed):
    """`torch.nn.RNN`, with the same arguments, returned values and state_dict.

    >>> import torch, gatewright as gw
    >>> output, h = gw.RNN(3, 4)(torch.zeros(5, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))

    The equations stand in `cells/rnn.py`. Beyond torch: `lengths`, `starts`, `trace`,
    `weights`, `freeze`; see `Recurrent`.
    """

    options: ClassVar = {"nonlinearity": "tanh"}

    @property
    def mode(self) -> str:  # type: ignore[override]
        return f"RNN_{self.nonlinearity.upper()}"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(
            ElmanRNN(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            backend=backend,
            device=device,
            dtype=dtype,
        )


class LSTM(TorchNamed):
    """`torch.nn.LSTM`, with the same arguments, returned values and state_dict.

    >>> import torch, gatewright as gw
    >>> layer = gw.LSTM(3, 4)
    >>> output, (h, c) = layer(torch.zeros(5, 2, 3))
    >>> sorted(layer.trace(torch.zeros(5, 2, 3)))
    ['c', 'f', 'forget', 'g', 'h', 'i', 'learn', 'o', 'remember', 'use', 'x']

    The equations stand in `cells/lstm.py`. Beyond torch: `lengths`, `starts`, `trace`,
    `weights`, `freeze`; see `Recurrent`.
    """

    mode = "LSTM"
    options: ClassVar = {"proj_size": 0}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        check_size("hidden_size", hidden_size)
        if not isinstance(proj_size, int) or not 0 <= proj_size < hidden_size:
            raise ArgumentError(
                f"proj_size={proj_size!r}; expected 0 for none, or a size below "
                f"hidden_size = {hidden_size}"
            )
        self.proj_size = proj_size
        super().__init__(
            LSTMEquations(projection=proj_size),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            backend=backend,
            device=device,
            dtype=dtype,
        )


class GRU(TorchNamed):
    """`torch.nn.GRU`, with the same arguments, returned values and state_dict.

    >>> import torch, gatewright as gw
    >>> output, h = gw.GRU(3, 4)(torch.zeros(5, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))

    Args:
        reset: "after" the product with the hidden state, as in torch and cuDNN, or "before"
            it, as in the paper. The weights are the same; only "before" adds both biases
            of the new value.

    The equations stand in `cells/gru.py`. Beyond torch: `lengths`, `starts`, `trace`,
    `weights`, `freeze`; see `Recurrent`.
    """

    mode = "GRU"
    options: ClassVar = {"reset": "after"}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset: Literal["after", "before"] = "after",
        backend: str = "auto",
    ) -> None:
        self.reset = reset
        super().__init__(
            GRUEquations(reset=reset),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            backend=backend,
            device=device,
            dtype=dtype,
        )


class PeepholeLSTM(Recurrent):
    """An LSTM whose gates see the long-term memory, which torch has not.

    >>> import torch, gatewright as gw
    >>> layer = gw.PeepholeLSTM(3, 4, peephole="full", gates=("f",))
    >>> list(layer.weights("f"))
    ['x', 'h', 'c']

    Args:
        peephole: "diagonal" multiplies the memory by a vector (Gers and Schmidhuber 2000);
            "full" by a matrix, as the lesson teaches it.
        gates: Which of "i", "f" and "o" see it.
        output_reads: Whether o sees the "new" memory or the "old" one.

    The other arguments are those of `LSTM`; the weights are kept by name, as in
    `Recurrent`. The equations stand in `cells/lstm.py`.
    """

    options: ClassVar = {
        "peephole": "diagonal",
        "gates": ("i", "f", "o"),
        "output_reads": "new",
    }

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        peephole: Literal["diagonal", "full"] = "diagonal",
        gates: tuple[str, ...] = ("i", "f", "o"),
        output_reads: Literal["new", "old"] = "new",
        backend: str = "auto",
    ) -> None:
        self.peephole = peephole
        self.gates = gates if isinstance(gates, str) else tuple(gates)
        self.output_reads = output_reads
        super().__init__(
            PeepholeEquations(peephole, self.gates, output_reads),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            backend=backend,
            device=device,
            dtype=dtype,
        )
