"""`PairedLayer`: a layer whose states have the form in which sb3-contrib stores them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.cells import known_name
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.torch_layers import GRU, LSTM, RNN
from gatewright.rl.episodes import check_agent_layer, run_episodes

#: Two tensors of one shape, `(layers, B, size)`: hidden and cell states where torch's LSTM runs.
Pair = tuple[Tensor, Tensor]

#: Names of cells that become a drop-in, whose weights a layer of torch exchanges.
DROP_INS: Mapping[str, Callable[..., Recurrent]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class PairedLayer(nn.Module):
    """A layer with all its states in two tensors of one shape, as sb3-contrib stores them.

    >>> layer = PairedLayer("slstm", 3, 4)
    >>> pair = torch.zeros(1, 2, 16), torch.zeros(1, 2, 16)  # four states of 4 units
    >>> output, pair = layer(torch.zeros(2, 5, 3), pair, torch.ones(2, 5, dtype=torch.bool))
    >>> output.shape, pair[0].shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 16]))

    A single state is the first tensor, and two of one size are both, each `(L, B, size)`. All other
    states are side by side in the first, `(1, B, sum of the sizes)`. What is not used is zero.

    Attributes:
        layer: The layer: `gw.RNN`, `gw.LSTM` or `gw.GRU` for their cells, else a `gw.Recurrent`.
        input_size: Values of each step, I.
        num_layers, hidden_size: The first and last size of both tensors. `RecurrentPPO` reads
            these names.

    Weights that a layer of torch saved are loaded too.
    """

    def __init__(
        self,
        cell: Cell | type[Cell] | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        for option in {"bidirectional", "batch_first"} & options.keys():
            raise ArgumentError(
                f"{option} was given in lstm_kwargs; an agent reads one step after another, so "
                "leave it out"
            )
        sizes = input_size, hidden_size, num_layers
        name = known_name(cell, DROP_INS) if isinstance(cell, str) else ""
        if name in DROP_INS:
            self.layer = DROP_INS[name](*sizes, **options)
        else:
            self.layer = Recurrent(cell, *sizes, **options)
        check_agent_layer(self.layer)
        form = self.layer.form
        #: The sizes of each state, by layer.
        self._sizes = [form.state_sizes(name) for name in form.graph.states]
        every_size = {size for sizes in self._sizes for size in sizes}
        #: Whether each state is a tensor of the pair as it is.
        self._fits = len(self._sizes) <= 2 and len(every_size) == 1
        self.input_size = input_size
        if self._fits:
            self.num_layers, self.hidden_size = num_layers, self._sizes[0][0]
        else:
            self.num_layers, self.hidden_size = 1, sum(sum(sizes) for sizes in self._sizes)
        self.register_load_state_dict_pre_hook(_accept_torch_names)

    def forward(self, x: Tensor, pair: Pair, starts: Tensor) -> tuple[Tensor, Pair]:
        """Run rollouts `(B, T, I)`; see `run_episodes`.

        Returns:
            The output `(B, T, O)`, and the pair after the last step.
        """
        # The buffer of sb3-contrib cuts a rollout into rows wherever an episode begins.
        first_only = not starts[:, 1:].any()
        before = self._unpack(pair)
        output, states = run_episodes(self.layer, x, before, starts, first_only=first_only)
        return output, self._pack(states)

    def _pack(self, states: list[Any]) -> Pair:
        if self._fits:
            return states[0], states[1] if len(states) == 2 else torch.zeros_like(states[0])
        # Each state is `(L, B, size)`, or a list of `(1, B, size)` if its size differs by layer.
        rows = [rows.flatten(0, -2) for state in states for rows in state]
        hidden = torch.cat(rows, -1).unsqueeze(0)
        return hidden, torch.zeros_like(hidden)

    def _unpack(self, pair: Pair) -> list[Any]:
        if self._fits:
            return list(pair[: len(self._sizes)])
        rows = iter(pair[0][0].split([size for sizes in self._sizes for size in sizes], -1))
        states: list[Any] = []
        for sizes in self._sizes:
            layers = [next(rows) for _ in sizes]
            differ = len(set(sizes)) > 1
            states.append([row.unsqueeze(0) for row in layers] if differ else torch.stack(layers))
        return states


def _accept_torch_names(layer: PairedLayer, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load the weights of a layer of torch, which has its parameters itself."""
    own = f"{prefix}layer."
    for name in [name for name in state if name.startswith(prefix)]:
        if not name.startswith(own):
            state[own + name.removeprefix(prefix)] = state.pop(name)
