"""Policies for `RecurrentPPO` of sb3-contrib, with any cell as their memory."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.layers.arguments import check_size, find_cell
from gatewright.layers.form import Form
from gatewright.rl.paired_layer import Pair, PairedLayer


class MlpPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's `MlpLstmPolicy` with any cell in place of torch's LSTM.

    >>> import gatewright as gw
    >>> from sb3_contrib import RecurrentPPO
    >>> options = {"cell": "gru", "lstm_hidden_size": 8}
    >>> model = RecurrentPPO(gw.rl.MlpPolicy, "CartPole-v1", policy_kwargs=options, device="cpu")
    >>> model.policy.lstm_actor.layer
    GRU(4, 8)

    With the cell "lstm" a seed gives the weights, actions and values of `MlpLstmPolicy`, up to
    rounding, and a model that was trained with it can be loaded:
    `RecurrentPPO.load(path, custom_objects={"policy_class": gw.rl.MlpPolicy})`.

    Args:
        cell: A cell, its class, or a name from `gatewright.CELLS`. "rnn", "lstm" and "gru" have
            the parameters of torch's layers.
        lstm_hidden_size: Units of each layer, H.
        n_lstm_layers: Layers, L.
        shared_lstm: Whether the critic reads the output of the actor's layer, without gradients.
        enable_critic_lstm: Whether the critic has a layer of its own. If neither is true, it sees
            only the present observation.
        lstm_kwargs: Further arguments of the layer: `bias`, `dropout`, `backend`.
        **options: The other arguments of `MlpLstmPolicy`, such as `net_arch`.

    Raises:
        ArgumentError, SizeError: where the arguments do not fit the cell or each other.
    """

    #: The network that turns observations into features, unless another is passed.
    extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        cell: Cell | type[Cell] | str = "lstm",
        lstm_hidden_size: int = 256,
        n_lstm_layers: int = 1,
        shared_lstm: bool = False,
        enable_critic_lstm: bool = True,
        lstm_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if shared_lstm and enable_critic_lstm:
            raise ArgumentError(
                "shared_lstm and enable_critic_lstm are both true; the critic reads either the "
                "actor's layer or its own: set one of them to False"
            )
        if shared_lstm and not options.get("share_features_extractor", True):
            raise ArgumentError(
                "shared_lstm=True with share_features_extractor=False; a layer that both share "
                "reads the features that both share: set share_features_extractor=True"
            )
        check_size("lstm_hidden_size", lstm_hidden_size)
        check_size("n_lstm_layers", n_lstm_layers)
        self.cell = cell
        self.lstm_sizes = lstm_hidden_size, n_lstm_layers
        options.setdefault("features_extractor_class", self.extractor)
        # Past the constructor of the class above, which does what follows with torch's LSTM. The
        # order of the layers is its own, so that a seed draws the same weights.
        super(RecurrentActorCriticPolicy, self).__init__(
            observation_space, action_space, lr_schedule, **options
        )
        self.lstm_kwargs = lstm_kwargs or {}
        self.shared_lstm = shared_lstm
        self.enable_critic_lstm = enable_critic_lstm
        self.lstm_actor = self._make_layer()  # type: ignore[assignment]
        self.critic = None
        self.lstm_critic = None
        if enable_critic_lstm:
            self.lstm_critic = self._make_layer()  # type: ignore[assignment]
        elif not shared_lstm:
            self.critic = nn.Linear(self.features_dim, self.lstm_output_dim)
        # Of a single environment.
        self.lstm_hidden_state_shape = self.lstm_actor.num_layers, 1, self.lstm_actor.hidden_size
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _make_layer(self) -> PairedLayer:
        return PairedLayer(self.cell, self.features_dim, *self.lstm_sizes, **self.lstm_kwargs)

    def _build_mlp_extractor(self) -> None:
        """Make the networks of actor and critic, which read the cell's output."""
        graph = find_cell(self.cell).graph
        form = Form(graph, self.features_dim, *self.lstm_sizes, directions=1, batch_first=False)
        self.lstm_output_dim = form.output_size
        super()._build_mlp_extractor()

    @staticmethod
    def _process_sequence(  # type: ignore[override]
        features: Tensor,
        lstm_states: Pair,
        episode_starts: Tensor,
        lstm: PairedLayer,
    ) -> tuple[Tensor, Pair]:
        """Run the layer over all sequences in one call.

        Args:
            features: `(B * T, I)`, sequence after sequence.
            lstm_states: The states before the first steps.
            episode_starts: `(B * T)`, other than 0 at the first step of an episode.

        Returns:
            The output `(B * T, O)`, and the states after the last steps.
        """
        sequences = lstm_states[0].shape[1]
        x = features.reshape(sequences, -1, lstm.input_size)
        starts = episode_starts.reshape(sequences, -1) != 0
        output, states = lstm(x, lstm_states, starts)
        return output.flatten(0, 1), states

    def predict(
        self,
        observation: np.ndarray[Any, Any] | dict[str, np.ndarray[Any, Any]],
        state: tuple[np.ndarray[Any, Any], ...] | None = None,
        episode_start: np.ndarray[Any, Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray[Any, Any], tuple[np.ndarray[Any, Any], ...] | None]:
        """Return the actions for observations, and the states after them.

        As in sb3-contrib; without a state, an episode begins.
        """
        if state is None:
            # Not every cell starts from the zeros that are passed where there is no state.
            tensor, _ = self.obs_to_tensor(observation)
            first = next(iter(tensor.values())) if isinstance(tensor, dict) else tensor
            episode_start = np.ones(len(first), dtype=bool)
        return super().predict(observation, state, episode_start, deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        hidden_size, num_layers = self.lstm_sizes
        return super()._get_constructor_parameters() | {
            "share_features_extractor": self.share_features_extractor,
            "cell": self.cell,
            "lstm_hidden_size": hidden_size,
            "n_lstm_layers": num_layers,
            "shared_lstm": self.shared_lstm,
            "enable_critic_lstm": self.enable_critic_lstm,
            "lstm_kwargs": self.lstm_kwargs,
        }


class CnnPolicy(MlpPolicy):
    """sb3-contrib's `CnnLstmPolicy` with any cell: observations are images; see `MlpPolicy`."""

    extractor = NatureCNN


class MultiInputPolicy(MlpPolicy):
    """sb3-contrib's `MultiInputLstmPolicy` with any cell: observations are dictionaries.

    The arguments are those of `MlpPolicy`.
    """

    extractor = CombinedExtractor
