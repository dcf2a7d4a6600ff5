"""A layer in TorchRL: it computes what `LSTMModule` and `GRUModule` compute, with any cell."""

from __future__ import annotations

import doctest
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatewright as gw
from docs_examples import run_example
from gatewright.errors import ArgumentError
from tolerances import close, random_loss

pytest.importorskip("torchrl", reason="needs torchrl")
pytest.importorskip("gymnasium", reason="needs the extra rl")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # TorchRL announces its own
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.collectors import Collector
    from torchrl.envs import GymEnv, InitTracker, TransformedEnv
    from torchrl.modules import (
        GRUModule,
        LSTMModule,
        ProbabilisticActor,
        ValueOperator,
        canonicalize_rnn_subset,
        set_recurrent_mode,
    )
    from torchrl.modules.utils import get_primers_from_module
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    from gatewright.rl import recurrent_module

#: Rows, steps, values of a step, units.
B, T, I, H = 4, 9, 3, 5
STATES = {"lstm": ["recurrent_state_h", "recurrent_state_c"], "gru": ["recurrent_state_h"]}


def modules(kind: str, layers: int = 1) -> tuple[Any, Any]:
    """TorchRL's module and ours, with the same weights and keys."""
    torch.manual_seed(0)
    states = STATES[kind]
    keys = {
        "in_keys": ["x", *states],
        "out_keys": ["y", *(("next", state) for state in states)],
    }
    peer = {"lstm": LSTMModule, "gru": GRUModule}[kind](I, H, num_layers=layers, **keys)
    layer = gw.convert(peer.lstm if kind == "lstm" else peer.gru)
    return peer, gw.rl.RecurrentModule(layer, **keys)


def rollout(kind: str, batch: tuple[int, ...], layers: int = 1) -> TensorDict:
    """Inputs, random starts, and states that are zero at a start, as a primer resets them."""
    draw = torch.Generator().manual_seed(1)
    data = TensorDict({"x": torch.randn(*batch, I, generator=draw)}, batch)
    data["is_init"] = torch.rand(*batch, 1, generator=draw) < 0.3
    for state in STATES[kind]:
        values = torch.randn(*batch, layers, H, generator=draw)
        data[state] = torch.where(data["is_init"].unsqueeze(-1), 0.0, values)
    return data


def answers(module: Any, data: TensorDict, *, recurrent: bool) -> list[Tensor]:
    """The output, the states after the last step, and the gradients of input and weights."""
    data = data.clone()
    x = data["x"].requires_grad_()
    with set_recurrent_mode(recurrent):
        module(data)
    last = (..., -1, slice(None), slice(None)) if recurrent else ...
    results = [data["y"], *(data["next", key][last] for key in module.in_keys[1:-1])]
    grads = torch.autograd.grad(random_loss(results), [x, *module.parameters()])
    return [*results, *grads]


@pytest.mark.parametrize("recurrent", [True, False], ids=["recurrent", "sequential"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", STATES)
def test_values_and_gradients_are_the_peers(kind: str, layers: int, recurrent: bool):
    peer, own = modules(kind, layers)
    for batch in ((B, T), (T,), (2, B, T)):
        data = rollout(kind, batch, layers)
        results = [answers(module, data, recurrent=recurrent) for module in (peer, own)]
        close(results[1], results[0], f"{batch}")


def test_states_that_are_missing_start():
    """As in the peer: a tensordict of the first step needs no primer."""
    peer, own = modules("lstm")
    data = rollout("lstm", (B, T)).select("x", "is_init")
    for recurrent in (True, False):
        results = [answers(module, data, recurrent=recurrent) for module in (peer, own)]
        close(results[1], results[0])
    del data["is_init"]
    with pytest.raises(KeyError, match="is_init"):
        own(data)
    with pytest.raises(KeyError, match="recurrent_state_c"):
        own(rollout("lstm", (B, T)).exclude("recurrent_state_c"))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: gw.Recurrent("slstm", I, H, batch_first=True),
        lambda: gw.Recurrent("scrn", I, H, num_layers=2),
        lambda: gw.Recurrent(Learned, I, H),
    ],
    ids=["starts from −inf", "two sizes", "learned start"],
)
def test_a_rollout_is_its_steps(layer: Callable[[], gw.Recurrent]):
    """One call computes what a collector does step by step, whatever the cell starts from."""
    torch.manual_seed(0)
    module = gw.rl.RecurrentModule(layer(), in_key="x", out_key="y")
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5)
    data = rollout("gru", (B, T)).select("x", "is_init")
    data["is_init"][:, 0] = True
    steps, states = [], TensorDict({}, [B])
    for t in range(T):
        step = module(data[:, t].clone().update(states))
        steps.append(step["y"])
        states = step["next"]
    with set_recurrent_mode(True):
        whole = module(data)
    close(whole["y"], torch.stack(steps, 1))
    for key, state in states.items():
        close(whole["next", key][:, -1], state)


class Learned(gw.Cell):
    """A network whose memory starts from learned values."""

    initial = {"h": gw.parameter(start=0.3)}  # noqa: RUF012  (as users write it)

    def step(self, x, h):
        return gw.state(h=gw.tanh(gw.linear(x, h)))


def agent(cell: str) -> tuple[Any, Any, Any]:
    """An environment, and an actor and a critic that share a memory."""
    torch.manual_seed(0)
    memory = gw.rl.RecurrentModule(gw.Recurrent(cell, 4, 8), in_key="observation", out_key="y")
    env = TransformedEnv(GymEnv("CartPole-v1"), InitTracker())
    env.append_transform(get_primers_from_module(memory))
    env.set_seed(0)
    logits = TensorDictModule(nn.Linear(8, 2), in_keys=["y"], out_keys=["logits"])
    actor = ProbabilisticActor(
        TensorDictSequential(memory, logits),
        in_keys=["logits"],
        out_keys=["action"],
        distribution_class=torch.distributions.OneHotCategorical,
        return_log_prob=True,
    )
    critic = TensorDictSequential(memory, ValueOperator(nn.Linear(8, 1), in_keys=["y"]))
    return env, actor, critic


@pytest.mark.parametrize("cell", ["gru", "slstm"])
def test_a_collector_and_a_loss_take_it(cell: str):
    env, actor, critic = agent(cell)
    collector = Collector(env, actor, frames_per_batch=96, total_frames=96)
    data = next(iter(collector))
    collector.shutdown()
    assert data["is_init"].sum() > 1  # several episodes in a row
    collected = data["action_log_prob"].clone()
    GAE(gamma=0.99, lmbda=0.95, value_network=critic, shifted=True)(data)
    # By default the values of both ends of all steps are mapped, which the peer cannot.
    estimates = [data.clone(recurse=False) for _ in range(2)]
    for estimate, without_map in zip(estimates, (True, False), strict=True):
        GAE(gamma=0.9, lmbda=0.9, value_network=critic, deactivate_vmap=without_map)(estimate)
    close(estimates[0]["advantage"], estimates[1]["advantage"])
    loss = ClipPPOLoss(actor, critic)
    terms = loss(data)
    # The policy has not changed, so the loss sees the probabilities of the collection again.
    with set_recurrent_mode(True):
        close(actor.get_dist(data).log_prob(data["action"]).detach(), collected)
    assert terms["ESS"] == pytest.approx(1, rel=1e-4)
    (terms["loss_objective"] + terms["loss_critic"] + terms["loss_entropy"]).backward()
    gradients = {name: weight.grad for name, weight in loss.named_parameters()}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in gradients.values())


def test_the_example_of_the_page_runs():
    weights = run_example("torchrl")["memory"].parameters()
    assert all(weight.grad.abs().sum() > 0 for weight in weights)


def test_the_examples_run():
    assert doctest.testmod(recurrent_module).failed == 0


def test_the_keys_that_it_reads_are_those_of_the_peer():
    _, own = modules("lstm")
    state = ["recurrent_state_h", "recurrent_state_c"]
    expected = ["x", *state, "is_init", "y", *(("next", key) for key in state)]
    assert own.canonical_keys == expected
    data = rollout("lstm", (B, T))
    data["x"] = data["x"].transpose(0, 1).contiguous().transpose(0, 1)
    assert canonicalize_rnn_subset(data, [own])["x"].is_contiguous()


GRU = gw.GRU(I, H)


class Delayed(gw.Cell):
    """A network that also reads the event before the present one, of the input's size."""

    def step(self, x, h, last):
        return gw.state(h=gw.tanh(gw.linear(x, h, last)), last=x)


def marked(batch: tuple[int, ...], *, recurrent: bool, axis: tuple[int, ...] = ()) -> Tensor:
    """The output where every step begins an episode; `axis` is the last one of the marks."""
    torch.manual_seed(0)
    module = gw.rl.RecurrentModule(
        gw.GRU(I, H), in_key="x", out_key="y", default_recurrent_mode=recurrent
    )
    marks = torch.ones((*batch, *axis), dtype=torch.bool)
    return module(TensorDict({"x": torch.ones(*batch, I), "is_init": marks}, batch))["y"]


@pytest.mark.parametrize(("batch", "recurrent"), [((), False), ((2,), False), ((2, 1), True)])
def test_marks_may_have_no_axis_of_their_own(batch: tuple[int, ...], recurrent: bool):
    close(marked(batch, recurrent=recurrent), marked(batch, recurrent=recurrent, axis=(1,)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gw.rl.RecurrentModule(nn.GRU(I, H), in_key="x", out_key="y"), "gw.convert"),
        (lambda: gw.rl.RecurrentModule(GRU, out_key="y"), "either in_key or in_keys"),
        (
            lambda: gw.rl.RecurrentModule(GRU, ["x", "h", "c"], out_key="y"),
            "in_keys names 3 entries.*expected 2",
        ),
        (
            lambda: gw.rl.RecurrentModule(gw.Recurrent("gru_d", I, H), in_key="x", out_key="y"),
            "also reads mask, delta",
        ),
        (
            lambda: gw.rl.RecurrentModule(
                gw.Recurrent(Delayed, I, H, num_layers=2), in_key="x", out_key="y"
            ),
            r"state last has another size at each layer \(\[3, 5\]\)",
        ),
        (
            lambda: gw.rl.RecurrentModule(GRU, ["x", "h"], ["y", "h"]).make_tensordict_primer(),
            "'next', 'h'",
        ),
        (
            lambda: gw.rl.RecurrentModule(
                GRU, in_key="x", out_key="y", default_recurrent_mode=True
            )(TensorDict({"x": torch.zeros(I), "is_init": torch.ones(1, dtype=torch.bool)})),
            "no batch axis",
        ),
        (lambda: marked((2, 0), recurrent=True), "rollouts of 0 steps"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Any], message: str):
    with pytest.raises(ArgumentError, match=message):
        make()
