"""The drop-ins: `RNN`, `LSTM` and `GRU` as in `torch.nn`; also `PeepholeLSTM`.

`isinstance(gw.LSTM(...), torch.nn.LSTM)` is false on purpose. Code that asks for torch's class
then uses torch's kernels: quantization replaces the module, exporters and compilers lower it
by its type, and none of them would run the layer that is there. The attributes that code reads
of such a layer are here instead: `all_weights`, `_flat_weights`, `mode` and the names of the
parameters. Ask for `(nn.LSTM, gw.LSTM)` where both are meant.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewright.errors import ArgumentError
from gatewright.layers.arguments import check_size
from gatewright.layers.built_in import BUILT_IN, as_gates
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.torch import TorchWeights


class TorchLayer(Recurrent):
    """A layer whose weights have torch's names, so that it exchanges state_dicts with torch."""

    #: The name by which `torch.nn.RNNBase` chooses its kernels; the same for both GRUs.
    mode: str
    #: All recurrent layers of torch have it; only `LSTM` takes another value.
    proj_size: int = 0

    def make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        for layer, reverse in self.places:
            self.store(layer, reverse).make(self.sizes(layer), device, dtype)
        self.flatten_parameters()
        self.register_state_dict_pre_hook(_write_frozen)
        self.register_load_state_dict_post_hook(_read_frozen)

    def store(self, layer: int, reverse: bool) -> TorchWeights:
        assert self.built_in is not None
        suffix = f"_l{layer}" + ("_reverse" if reverse else "")
        return TorchWeights(self, self.graph, self.built_in.torch_gates, suffix)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters by layer and direction, as in torch."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    # Private names, which code for torch's layers reads nevertheless.
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
        """Move the parameters into one block of memory on a GPU, as cuDNN reads them.

        Done when the layer gets there. Elsewhere there is nothing to do.
        """
        names, own = self._flat_weights_names, self._parameters
        if all(own.get(name) is not None for name in names):
            nn.RNNBase.flatten_parameters(self)  # type: ignore[arg-type]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Convert or move the parameters, as `to` and `half` do."""
        result = super()._apply(fn, recurse)
        self.flatten_parameters()
        return result


def _write_frozen(layer: TorchLayer, *_: Any) -> None:
    """Before a state_dict is taken, write frozen gates into the parameters."""
    for place in layer.places:
        layer.store(*place).write_frozen()


def _read_frozen(layer: TorchLayer, _: Any) -> None:
    """After a state_dict is loaded, take frozen gates from the parameters."""
    for place in layer.places:
        layer.store(*place).read_frozen()


class RNN(TorchLayer, built_in=BUILT_IN["RNN"]):
    """`torch.nn.RNN`, with the same arguments, returned values and state_dict.

    >>> import torch, gatewright as gw
    >>> output, h = gw.RNN(3, 4)(torch.zeros(5, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))

    The equations are in `cells/rnn.py`. New here: `lengths`, `starts`, `trace`, `weights` and
    `freeze`; see `Recurrent`.
    """

    nonlinearity: Literal["tanh", "relu"]

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
        super().__init__(
            self.choose_cell(nonlinearity=nonlinearity),
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


class LSTM(TorchLayer, built_in=BUILT_IN["LSTM"]):
    """`torch.nn.LSTM`, with the same arguments, returned values and state_dict.

    >>> import torch, gatewright as gw
    >>> layer = gw.LSTM(3, 4)
    >>> output, (h, c) = layer(torch.zeros(5, 2, 3))
    >>> sorted(layer.trace(torch.zeros(5, 2, 3)))
    ['c', 'f', 'forget', 'g', 'h', 'i', 'learn', 'o', 'remember', 'use', 'x']

    The equations are in `cells/lstm.py`. New here: `lengths`, `starts`, `trace`, `weights` and
    `freeze`; see `Recurrent`.
    """

    mode = "LSTM"

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
        super().__init__(
            self.choose_cell(proj_size=proj_size),
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


class GRU(TorchLayer, built_in=BUILT_IN["GRU"]):
    """`torch.nn.GRU`, with the same arguments, returned values and state_dict.

    >>> import torch, gatewright as gw
    >>> output, h = gw.GRU(3, 4)(torch.zeros(5, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))

    Args:
        reset: "after" the product with the hidden state, as in torch and cuDNN, or "before"
            it, as in the paper. The weights are the same; only "before" adds both biases
            of the new value.

    The equations are in `cells/gru.py`. New here: `lengths`, `starts`, `trace`, `weights` and
    `freeze`; see `Recurrent`.
    """

    mode = "GRU"
    reset: Literal["after", "before"]

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
        super().__init__(
            self.choose_cell(reset=reset),
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


class PeepholeLSTM(Recurrent, built_in=BUILT_IN["PeepholeLSTM"]):
    """An LSTM whose gates see the long-term memory; torch has no such layer.

    >>> import torch, gatewright as gw
    >>> layer = gw.PeepholeLSTM(3, 4, peephole="full", gates=("f",))
    >>> list(layer.weights("f"))
    ['x', 'h', 'c']

    Args:
        peephole: "diagonal" multiplies the memory by a vector (Gers and Schmidhuber 2000);
            "full" by a matrix, as the lesson teaches it.
        gates: Those of "i", "f" and "o" that see it.
        output_reads: Whether o sees the "new" memory or the "old" one.

    The other arguments are those of `LSTM`; the weights are stored by name, as in
    `Recurrent`. The equations are in `cells/lstm.py`.
    """

    peephole: Literal["diagonal", "full"]
    gates: tuple[str, ...]
    output_reads: Literal["new", "old"]

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
        super().__init__(
            self.choose_cell(peephole=peephole, gates=as_gates(gates), output_reads=output_reads),
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
