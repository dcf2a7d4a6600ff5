"""Policies of `RecurrentPPO`: with an LSTM they are sb3-contrib's own, and any cell fits in."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gatewright as gw
from docs_examples import run_example
from gatewright.errors import ArgumentError, SizeError
from tolerances import close

pytest.importorskip("sb3_contrib", reason="needs the extra rl")

from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from sb3_contrib.ppo_recurrent import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from gatewright.rl import episodes, paired_layer, policies

OBSERVATIONS, ACTIONS = spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(4)


class Delayed(gw.Cell):
    """A network that also reads the event before the present one, of the input's size."""

    def step(self, x, h, last):
        return gw.state(h=gw.tanh(gw.linear(x, h, last)), last=x)


#: Cells with a single state, two of one size, two sizes, four states and a start of −inf, an
#: output smaller than the hidden size, and a state whose size differs by layer.
CELLS = {
    **{name: name for name in ("gru", "peephole_lstm", "scrn", "slstm")},
    "projected": gw.CELLS["projected_lstm"](projection=3),
    "delayed": Delayed,
}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
#: Rows, steps, units.
B, T, H = 3, 7, 5


@pytest.fixture(autouse=True)
def log_of_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training of stable-baselines3 write its log here, not into /tmp, where it stays."""
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "log"))


def policy(kind: Any, *, actions: Any = ACTIONS, observations: Any = OBSERVATIONS, **options: Any):
    torch.manual_seed(0)
    return kind(observations, actions, lambda _: 1e-3, **{"lstm_hidden_size": H, **options})


def rollout(layers: int, width: int, actions: Any) -> dict[str, Any]:
    """Draw what `evaluate_actions` reads: sequences as the buffer flattens them, random starts."""
    draw = np.random.default_rng(1)

    def numbers(*shape: int) -> Tensor:
        return torch.tensor(draw.normal(size=shape), dtype=torch.float32)

    states = [(numbers(layers, B, width), numbers(layers, B, width)) for _ in range(2)]
    actions.seed(0)
    return {
        "obs": numbers(B * T, 3),
        "actions": torch.as_tensor(np.array([actions.sample() for _ in range(B * T)])),
        "lstm_states": RNNStates(*states),
        "episode_starts": torch.tensor(draw.random(B * T) < 0.3, dtype=torch.float32),
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_lstm_layers": 2, "net_arch": {"pi": [6], "vf": []}, "lstm_kwargs": {"bias": False}},
        {"enable_critic_lstm": False, "share_features_extractor": False},
        {"shared_lstm": True, "enable_critic_lstm": False, "ortho_init": False},
        {"actions": spaces.Box(-1.0, 1.0, (2,)), "use_sde": True, "activation_fn": torch.nn.ReLU},
    ],
    ids=["default", "layers", "critic-without", "shared", "continuous"],
)
def test_an_lstm_is_the_peers_own(options: dict[str, Any]):
    """A seed gives the same weights; values, log-probabilities and gradients are the same."""
    peer, own = policy(MlpLstmPolicy, **options), policy(gw.rl.MlpPolicy, **options)
    assert own.lstm_hidden_state_shape == peer.lstm_hidden_state_shape
    data = rollout(options.get("n_lstm_layers", 1), H, own.action_space)
    results = []
    for network in (peer, own):
        values, log_prob, entropy = network.evaluate_actions(**data)
        loss = (values.flatten() * torch.linspace(-1, 1, B * T)).sum() + log_prob.square().sum()
        loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        results.append([values, log_prob, *gradients, *network.parameters()])
        results[-1] += [] if entropy is None else [entropy]
    close(results[1], results[0])


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_step_is_the_peers_own(deterministic: bool):
    """The call that collects: actions, values, log-probabilities and the states after it."""
    results = []
    for network in (policy(MlpLstmPolicy), policy(gw.rl.MlpPolicy)):
        states = rollout(1, H, ACTIONS)["lstm_states"]
        draw = torch.Generator().manual_seed(2)
        steps: list[Any] = []
        with torch.no_grad():
            for step in range(4):
                obs = torch.randn(B, 3, generator=draw)
                starts = (torch.rand(B, generator=draw) < 0.5).float()
                steps.append(network.predict_values(obs, states.vf, starts))
                torch.manual_seed(step)
                actions, *answers, states = network(obs, states, starts, deterministic)
                steps += [actions.float(), *answers, *states.pi, *states.vf]
        results.append(steps)
    close(results[1], results[0])


def trained(kind: Any, steps: int = 48, **options: Any) -> tuple[RecurrentPPO, Tensor]:
    """A model after two rollouts, and what it saw in the last one."""
    env = make_vec_env("CartPole-v1", 2, seed=0)
    sizes = {"n_steps": steps, "batch_size": 32, "n_epochs": 2}
    model = RecurrentPPO(kind, env, seed=0, device="cpu", policy_kwargs=options, **sizes)
    model.learn(2 * 2 * steps)
    return model, torch.as_tensor(model.rollout_buffer.observations)


def test_a_seed_trains_as_the_peer_does(tmp_path: Path):
    """The same rollouts and the same weights after training, and then the peer's file continues."""
    sizes = {"lstm_hidden_size": H, "net_arch": [8]}
    peer, seen = trained(MlpLstmPolicy, **sizes)
    own, also_seen = trained(gw.rl.MlpPolicy, **sizes)
    close(also_seen, seen)
    close(list(own.policy.parameters()), list(peer.policy.parameters()))
    peer.save(tmp_path / "peer")
    classes = {"policy_class": gw.rl.MlpPolicy}
    loaded = RecurrentPPO.load(tmp_path / "peer", custom_objects=classes, device="cpu")
    assert isinstance(loaded.policy, gw.rl.MlpPolicy)
    obs = np.ones((2, 4), np.float32)
    close(_predicted(loaded, obs), _predicted(peer, obs))
    loaded.set_env(make_vec_env("CartPole-v1", 2, seed=0))
    loaded.learn(96)  # with the peer's optimizer


def _predicted(model: Any, obs: Any) -> list[Tensor]:
    """Actions and states of three steps, with an episode that begins in the second row."""
    results, state = [], None
    for starts in ([True, True], [False, True], [False, False]):
        action, state = model.predict(obs, state, np.array(starts), deterministic=True)
        results += [torch.as_tensor(value, dtype=torch.float32) for value in (action, *state)]
    return results


@every_cell
def test_a_whole_rollout_is_its_steps(cell: Any):
    """Starts within one call do what those between the calls of a collector do."""
    network = policy(gw.rl.MlpPolicy, cell=cell, n_lstm_layers=2)
    layers, _, width = network.lstm_hidden_state_shape
    data = rollout(layers, width, ACTIONS)
    states = data["lstm_states"].pi
    by_step = {name: data[name].unflatten(0, (B, T)) for name in ("obs", "episode_starts")}
    by_step["episode_starts"][:, 0] = 1.0  # the states that are passed are not read
    starts = by_step["episode_starts"].flatten()
    answer, last = network.get_distribution(data["obs"], states, starts)
    whole = answer.distribution.logits.unflatten(0, (B, T))
    steps = []
    for t in range(T):
        answer, states = network.get_distribution(
            by_step["obs"][:, t], states, by_step["episode_starts"][:, t]
        )
        steps.append(answer.distribution.logits)
    close(whole, torch.stack(steps, 1))
    close(list(last), list(states))
    # As the layer alone computes it, with its states in its own form.
    alone = network.lstm_actor.layer
    x, marks = by_step["obs"].transpose(0, 1), by_step["episode_starts"].transpose(0, 1).bool()
    output, _ = alone(x, starts=marks)
    logits = network.action_net(network.mlp_extractor.forward_actor(output.transpose(0, 1)))
    close(whole, logits.log_softmax(-1))


@every_cell
def test_a_model_trains_saves_and_loads(cell: Any, tmp_path: Path):
    model, _ = trained(gw.rl.MlpPolicy, steps=16, cell=cell, lstm_hidden_size=H)
    obs = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    expected = _predicted(model, obs)
    assert all(value.isfinite().all() or str(cell) == "slstm" for value in expected)
    model.save(tmp_path / "model")
    close(_predicted(RecurrentPPO.load(tmp_path / "model", device="cpu"), obs), expected)
    model.policy.save(tmp_path / "policy")
    close(_predicted(gw.rl.MlpPolicy.load(tmp_path / "policy", device="cpu"), obs), expected)


def test_a_prediction_without_a_state_begins_an_episode():
    """Zeros would not do: the stabiliser of this cell starts from −inf."""
    network = policy(gw.rl.MlpPolicy, cell="slstm")
    layers, _, width = network.lstm_hidden_state_shape
    zeros = (np.zeros((layers, 2, width), np.float32),) * 2
    obs = np.ones((2, 3), np.float32)
    _, fresh = network.predict(obs)
    _, marked = network.predict(obs, zeros, np.ones(2))
    _, not_marked = network.predict(obs, zeros, np.zeros(2))
    np.testing.assert_array_equal(fresh[0], marked[0])
    assert np.abs(fresh[0] - not_marked[0]).max() > 1e-3
    _, single = network.predict(obs[0])
    np.testing.assert_allclose(single[0], fresh[0][:, :1], rtol=1e-6)


@pytest.mark.parametrize(
    ("peer", "own", "observations"),
    [
        (CnnLstmPolicy, "CnnPolicy", spaces.Box(0, 255, (1, 36, 36), np.uint8)),
        (
            MultiInputLstmPolicy,
            "MultiInputPolicy",
            spaces.Dict({"a": spaces.Box(-1.0, 1.0, (3,)), "b": spaces.Discrete(2)}),
        ),
    ],
)
def test_other_observations_are_read_as_the_peer_reads_them(peer: Any, own: str, observations: Any):
    observations.seed(0)
    sample = observations.sample()
    results = []
    for kind in (peer, getattr(gw.rl, own)):
        network = policy(kind, observations=observations)
        action, state = network.predict(sample, deterministic=True)
        results.append([torch.as_tensor(value, dtype=torch.float32) for value in (action, *state)])
        assert np.abs(state[0]).max() > 0
    close(results[1], results[0])


@pytest.mark.slow(instead="test_a_model_trains_saves_and_loads")
def test_only_a_memory_solves_the_task_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # the example saves its model
    example = run_example("stable_baselines3")
    assert example["mean"] == 1.0
    env = make_vec_env(example["Cue"], 16, seed=0)
    blind = PPO("MlpPolicy", env, n_steps=32, batch_size=256, gamma=0.9, device="cpu")
    blind.learn(4_096)
    assert evaluate_policy(blind, make_vec_env(example["Cue"], 16, seed=9), 64)[0] < 0.75


@pytest.mark.parametrize("module", [episodes, paired_layer, policies])
def test_the_examples_run(module: Any):
    assert doctest.testmod(module).failed == 0


# Refusals.
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shared_lstm": True}, ArgumentError, "enable_critic_lstm are both true"),
        (
            {
                "shared_lstm": True,
                "enable_critic_lstm": False,
                "share_features_extractor": False,
            },
            ArgumentError,
            "share_features_extractor=True",
        ),
        ({"cell": "gru_d"}, ArgumentError, "also reads mask, delta"),
        ({"cell": "grru"}, ArgumentError, "did you mean gru"),
        ({"cell": "mut1"}, SizeError, "they must be equal"),
        ({"lstm_kwargs": {"bidirectional": True}}, ArgumentError, "bidirectional was given"),
        ({"lstm_hidden_size": 0}, SizeError, "lstm_hidden_size=0"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], error: Any, message: str):
    with pytest.raises(error, match=message):
        policy(gw.rl.MlpPolicy, **options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "gatewright.rl.policies", raising=False)
    monkeypatch.delattr(gw.rl, "policies", raising=False)
    monkeypatch.setitem(sys.modules, "sb3_contrib.common.recurrent.policies", None)
    with pytest.raises(ArgumentError, match=r"sb3_contrib: pip install 'gatewright\[rl\]'"):
        gw.rl.MlpPolicy  # noqa: B018
    with pytest.raises(AttributeError, match="LstmPolicy"):
        gw.rl.LstmPolicy  # noqa: B018
