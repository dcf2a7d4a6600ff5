"""Compare the policies and modules of `gatewright.rl` with their peers' own, in one run.

    python benchmarks/rl.py                    # all parts, into benchmarks/results/rl.json
    python benchmarks/rl.py --parts policies --frames 4096 --seeds 1

A part replaces its own figures in the file and leaves the others as they are. `python
docs/make_figures.py` writes them into docs/reinforcement-learning.md.

Policies: CartPole with its velocities hidden, so that a policy needs a memory. From each seed four
policies learn side by side: in each turn, every one of them collects a rollout and trains on it,
each timed. After all frames each plays 20 episodes without exploration.

Modules: the module of TorchRL, and ours with the same weights, on one rollout whose episodes begin
at random: a forward and backward pass in recurrent mode, and one step as a collector makes it.
Their outputs are compared before they are timed, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from torch import nn

import gatewright as gw
from gatewright.bench.machine import machine
from gatewright.bench.timing import in_turns, ratio

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "rl.json"
#: Environments, and steps of each in a rollout.
ENVIRONMENTS, STEPS = 8, 32
#: Of the four policies alike.
PPO_OPTIONS: dict[str, Any] = {
    "n_steps": STEPS,
    "batch_size": ENVIRONMENTS * STEPS,
    "n_epochs": 10,
    "learning_rate": 1e-3,
    "gamma": 0.98,
    "gae_lambda": 0.8,
    "device": "cpu",
}
#: The cell of each policy; the peer's LSTM is the first.
POLICIES: dict[str, str | None] = {
    "sb3-contrib, LSTM": None,
    "Gatewright, lstm": "lstm",
    "Gatewright, gru": "gru",
    "MLP": None,
}
PEER, WITHOUT_MEMORY = "sb3-contrib, LSTM", "MLP"
#: Rows, steps, input, units of the modules' rollouts.
ROLLOUTS = [(8, 32, 64, 64), (16, 128, 64, 128), (32, 128, 64, 256)]
#: The share of the steps of a rollout at which an episode begins.
RESETS = 0.03
Figures = dict[str, Any]


class MaskedCartPole(gymnasium.ObservationWrapper[Any, Any, Any]):
    """CartPole that shows the cart's position and the pole's angle, and no velocity."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        space: Any = self.env.observation_space
        self.observation_space = gymnasium.spaces.Box(space.low[::2], space.high[::2])

    def observation(self, observation: Any) -> Any:
        """The position and the angle."""
        return observation[::2]


# The policies.
def make_model(name: str, seed: int, units: int) -> PPO | RecurrentPPO:
    """A model that has not learned yet, with environments of its own."""
    env = make_vec_env(MaskedCartPole, ENVIRONMENTS, seed=seed)
    options = {**PPO_OPTIONS, "seed": seed}
    if name == WITHOUT_MEMORY:
        return PPO("MlpPolicy", env, **options)
    own: dict[str, Any] = {"lstm_hidden_size": units}
    if name == PEER:
        return RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=own, **options)
    own["cell"] = POLICIES[name]
    return RecurrentPPO(gw.rl.MlpPolicy, env, policy_kwargs=own, **options)


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """A function whose duration is appended to a list at each call."""

    def call(*arguments: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        result = function(*arguments, **options)
        seconds.append(time.perf_counter() - begin)
        return result

    return call


def learn(seed: int, frames: int, units: int) -> dict[str, Figures]:
    """Train all policies from one seed, a rollout of each in turns."""
    models = {name: make_model(name, seed, units) for name in POLICIES}
    results: dict[str, Figures] = {name: {"collect": [], "train": []} for name in POLICIES}
    for name, model in models.items():
        # `learn` calls both through the model.
        for method, part in (("collect_rollouts", "collect"), ("train", "train")):
            setattr(model, method, timed(getattr(model, method), results[name][part]))
    for _ in range(frames // (ENVIRONMENTS * STEPS)):
        for model in models.values():
            model.learn(ENVIRONMENTS * STEPS, reset_num_timesteps=False)
    for name, model in models.items():
        env = make_vec_env(MaskedCartPole, ENVIRONMENTS, seed=1000 + seed)
        results[name]["return"] = evaluate_policy(model, env, 20)[0]
        last = [episode["r"] for episode in model.ep_info_buffer or ()]
        results[name]["learning"] = statistics.mean(last)
        print(f"seed {seed}: {name}: {results[name]['return']:.1f}", flush=True)
    return results


# The modules.
def modules(batch: int, steps: int, inputs: int, units: int) -> Iterator[Figures]:
    """Time the modules on rollouts of one size."""
    # Here: the policies and the page need no TorchRL.
    from tensordict import TensorDict
    from torchrl.modules import GRUModule, LSTMModule, set_recurrent_mode

    def whole(module: nn.Module) -> list[torch.Tensor]:
        """The output of a rollout, and the gradients of the weights."""
        with set_recurrent_mode(True):
            output = module(data.copy())["y"]
        return [output, *torch.autograd.grad(output.square().mean(), [*module.parameters()])]

    @torch.no_grad()
    def single(module: nn.Module) -> torch.Tensor:
        """The output of one step of every environment."""
        output: torch.Tensor = module(step.copy())["y"]
        return output

    for kind, peer_class in (("lstm", LSTMModule), ("gru", GRUModule)):
        torch.manual_seed(0)
        peer = peer_class(inputs, units, in_key="x", out_key="y")
        states, after = peer.in_keys[1:-1], peer.out_keys[1:]
        own = gw.rl.RecurrentModule(gw.convert(getattr(peer, kind)), ["x", *states], ["y", *after])
        data = TensorDict({"x": torch.randn(batch, steps, inputs)}, [batch, steps])
        data["is_init"] = torch.rand(batch, steps, 1) < RESETS
        for key in states:
            data[key] = torch.zeros(batch, steps, 1, units)
        step = data[:, 0].clone()
        torch.testing.assert_close(whole(own), whole(peer), atol=1e-4, rtol=1e-3)
        for mode, run in (("rollout", whole), ("step", single)):
            pairs = in_turns(partial(run, own), partial(run, peer), seconds=4)
            print(f"{kind}, {mode} of {batch, steps, inputs, units}: {ratio(pairs)}", flush=True)
            sizes = {"batch": batch, "steps": steps, "inputs": inputs, "units": units}
            yield {"cell": kind, "mode": mode, **sizes, "seconds": pairs}


def store(figures: Figures, part: str) -> None:
    """Write the figures, with the machine that a part was measured on."""
    figures.setdefault("machines", {})[part] = machine()
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, store the figures, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", default=["policies", "modules"])
    parser.add_argument("--frames", type=int, default=32_768, help="of each training (32768)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each policy (3)")
    parser.add_argument("--units", type=int, default=64, help="of a policy's memory (64)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if "policies" in options.parts:
        seeds = [learn(seed, options.frames, options.units) for seed in range(options.seeds)]
        figures["policies"] = {"frames": options.frames, "units": options.units, "seeds": seeds}
        store(figures, "policies")
    if "modules" in options.parts:
        figures["modules"] = [row for sizes in ROLLOUTS for row in modules(*sizes)]
        store(figures, "modules")


if __name__ == "__main__":
    main()
