"""`RecurrentModule`: a layer as a module of TorchRL."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase, unravel_key_list
from tensordict.nn import TensorDictModuleBase, dispatch
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.data import Unbounded
from torchrl.envs import TensorDictPrimer
from torchrl.modules import recurrent_mode

from gatewright.errors import ArgumentError
from gatewright.layers.recurrent import Recurrent
from gatewright.rl.episodes import check_agent_layer, run_episodes


class RecurrentModule(TensorDictModuleBase):  # type: ignore[misc]
    """A layer in TorchRL: as `LSTMModule` and `GRUModule`, with any cell.

    >>> import torch, gatewright as gw
    >>> from tensordict import TensorDict
    >>> from torchrl.modules import set_recurrent_mode
    >>> module = gw.rl.RecurrentModule(gw.GRU(3, 8), in_key="observation", out_key="features")
    >>> is_init = torch.zeros(2, 5, 1, dtype=torch.bool)
    >>> rollout = TensorDict({"observation": torch.zeros(2, 5, 3), "is_init": is_init}, [2, 5])
    >>> with set_recurrent_mode(True):
    ...     module(rollout)["features"].shape
    torch.Size([2, 5, 8])

    In sequential mode, which is the default, every element of a tensordict is one step of its own
    environment. In recurrent mode the last axis of its batch is the time, and the whole rollout is
    one call of the layer. The losses and value estimators of TorchRL turn that mode on; elsewhere
    `torchrl.modules.set_recurrent_mode` does.

    `is_init`, which `InitTracker` writes, marks the first step of an episode: the cell's starts
    take the place of the states there, whatever the tensordict holds. States in a tensordict have
    the shape `(*batch, L * D, size)`. In recurrent mode those after the last step are written
    there, and zeros at all other steps.

    Args:
        layer: A `gw.Recurrent` or a drop-in; in recurrent mode a bidirectional one too.
        in_keys: The keys of the input and of each state, in the order of the cell's step, and
            optionally "is_init".
        out_keys: The keys of the output and of each state after the step. The primer needs
            `("next", key)` for a state's `key`.
        in_key, out_key: Only the keys of input and output; the states are named
            "recurrent_state_h" and so on.
        default_recurrent_mode: The mode where `set_recurrent_mode` sets none.

    Raises:
        ArgumentError: where the keys do not fit the cell, or the cell does not fit an agent.
    """

    def __init__(
        self,
        layer: Recurrent,
        in_keys: Sequence[NestedKey] | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        *,
        in_key: NestedKey | None = None,
        out_key: NestedKey | None = None,
        default_recurrent_mode: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(layer, Recurrent):
            raise ArgumentError(
                f"layer is a {type(layer).__name__}; give a layer such as gw.LSTM(3, 8), or "
                "convert a torch layer with gw.convert"
            )
        check_agent_layer(layer)
        form = layer.form
        names = list(form.graph.states)
        for name in names:
            if form.differs_by_layer(name):
                raise ArgumentError(
                    f"state {name} has another size at each layer ({form.state_sizes(name)}), and "
                    "a key of a tensordict has one size; use one layer"
                )
        self.layer = layer
        states = [f"recurrent_state_{name}" for name in names]
        after: list[NestedKey] = [("next", state) for state in states]
        self.in_keys = [*_keys("in", in_key, in_keys, states), "is_init"]
        self.out_keys = _keys("out", out_key, out_keys, after)
        self._default_recurrent_mode = default_recurrent_mode

    @property
    def recurrent_mode(self) -> bool:
        """True if the last axis of a tensordict's batch is the time."""
        mode: bool | None = recurrent_mode()
        return self._default_recurrent_mode if mode is None else mode

    @property
    def canonical_keys(self) -> list[NestedKey]:
        """All keys that are read or written, as `canonicalize_rnn_subset` asks for them."""
        return [*self.in_keys, *self.out_keys]

    @dispatch  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Run the layer, and write the output and the states after it into the tensordict."""
        shape = tensordict.shape
        if self.recurrent_mode and not shape:
            raise ArgumentError(
                "the tensordict has no batch axis; in recurrent mode its last one is the time: "
                "pass rollouts, or call the module in sequential mode"
            )
        if self.recurrent_mode and not shape[-1]:
            raise ArgumentError(
                f"the tensordict has the batch {tuple(shape)}: rollouts of 0 steps; pass at least "
                "one step"
            )
        batch = shape[:-1] if self.recurrent_mode else shape
        rows, steps = batch.numel(), shape[-1] if self.recurrent_mode else 1

        def by_row(value: Tensor) -> Tensor:
            """`(*batch, ...)` as `(B, T, ...)`."""
            return value.reshape(rows, steps, *value.shape[len(shape) :])

        input_key, *state_keys, init_key = self.in_keys
        x = by_row(tensordict[input_key])
        starts = tensordict[init_key].reshape(rows, steps)  # with or without a last axis of 1
        present = tensordict.keys(include_nested=True)
        if any(key in present for key in state_keys):
            before = [by_row(tensordict[key])[:, 0] for key in state_keys]
        else:  # an episode starts, and what stands for its states is not read
            starts = torch.cat([torch.ones_like(starts[:, :1]), starts[:, 1:]], 1)
            shapes = [self._state_shape(name) for name in self.layer.graph.states]
            before = [x.new_zeros(rows, *state_shape) for state_shape in shapes]
        before = [state.transpose(0, 1).contiguous() for state in before]  # (L * D, B, size)
        output, states = run_episodes(self.layer, x, before, starts, first_only=steps == 1)
        tensordict.set(self.out_keys[0], output.reshape(*shape, output.shape[-1]))
        for key, state in zip(self.out_keys[1:], states, strict=True):
            last = state.transpose(0, 1).unsqueeze(1)  # (B, 1, L * D, size)
            earlier = last.new_zeros(rows, steps - 1, *last.shape[2:])
            tensordict.set(key, torch.cat([earlier, last], 1).reshape(*shape, *last.shape[2:]))
        return tensordict

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """Return the transform that adds the states to what an environment resets and carries.

        >>> import gatewright as gw
        >>> module = gw.rl.RecurrentModule(gw.GRU(3, 8), in_key="observation", out_key="features")
        >>> module.make_tensordict_primer().primers["recurrent_state_h"].shape
        torch.Size([1, 8])

        Raises:
            ArgumentError: if a state's key after the step is not `("next", key)`.
        """
        keys = list(zip(self.in_keys[1:-1], self.out_keys[1:], strict=True))
        for key, after in keys:
            if after != ("next", *_parts(key)):
                raise ArgumentError(
                    f"the state {key!r} is written to {after!r}; an environment carries it to the "
                    f"following step from {('next', *_parts(key))!r}: name it so in out_keys"
                )
        shapes = [self._state_shape(name) for name in self.layer.graph.states]
        return TensorDictPrimer(
            {key: Unbounded(shape=shape) for (key, _), shape in zip(keys, shapes, strict=True)},
            expand_specs=True,
        )

    def _state_shape(self, name: str) -> tuple[int, int]:
        """(L * D, size)."""
        form = self.layer.form
        return form.num_layers * form.directions, form.state_sizes(name)[0]


def _keys(
    side: str,
    key: NestedKey | None,
    keys: Sequence[NestedKey] | None,
    states: Sequence[NestedKey],
) -> list[NestedKey]:
    """The keys of one side without "is_init", from either form of the arguments."""
    if (key is None) == (keys is None):
        raise ArgumentError(f"give either {side}_key or {side}_keys: the first names the states")
    listed: list[NestedKey] = unravel_key_list(list(keys) if keys is not None else [key, *states])
    if side == "in" and listed[-1] == "is_init":
        listed.pop()
    if len(listed) != 1 + len(states):
        raise ArgumentError(
            f"{side}_keys names {len(listed)} entries, {listed}; expected {1 + len(states)}: the "
            f"{side}put and {len(states)} of the cell's states"
        )
    return listed


def _parts(key: NestedKey) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)
