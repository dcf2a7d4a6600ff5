"""Everything that a user may do to a layer between two calls, as rules of a random walk.

A rule changes both layers of a pair, or calls them in a special way, and compares our calls with
the oracle's. Its random numbers come from one seed, so a step is the same in any walk.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import multiprocessing
import os
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

from gatewright.errors import GatewrightError
from walk_subjects import (
    LAYOUTS,
    LIMITS,
    Call,
    Form,
    Pair,
    agree,
    draw_forms,
    flat,
    perform,
    plain,
    relaid,
    require_close,
    twin,
)

Rule = Callable[[Pair, random.Random], None]


@dataclass(frozen=True)
class Entry:
    """A rule, how often it is drawn, and whether it needs the reference as its oracle."""

    apply: Rule
    weight: float
    reference: bool


RULES: dict[str, Entry] = {}


def rule(weight: float = 1.0, *, reference: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule under its function's name."""

    def enter(function: Rule) -> Rule:
        RULES[function.__name__] = Entry(function, weight, reference)
        return function

    return enter


def padded(pair: Pair, draw: random.Random) -> Form:
    """A form of padded sequences, whose tensors have axes of steps and rows."""
    return Form(draw.choice((1, 2, 4)), draw.choice((1, 3, 8)), "padded", draw.random() < 0.5)


# Changes of the weights.
@rule(2)
def requires_grad_of_any_subset(pair: Pair, draw: random.Random) -> None:
    def change(layer: nn.Module, own: random.Random) -> None:
        share = own.choice((0.0, 0.2, 0.5, 1.0))
        for weight in layer.parameters():
            weight.requires_grad_(own.random() < share)
            # Zeros of an earlier call, where the oracle may have none, would stay in a weight that
            # is frozen now.
            if weight.grad is not None and not weight.grad.any():
                weight.grad = None

    pair.each(change, draw.randrange(2**31))
    pair.compare(draw, times=3)


@rule(2)
def only_biases_or_only_matrices(pair: Pair, draw: random.Random) -> None:
    def change(layer: nn.Module, own: random.Random) -> None:
        axes = own.choice((1, 2))
        for weight in layer.parameters():
            weight.requires_grad_(weight.dim() == axes)

    pair.each(change, draw.randrange(2**31))
    pair.compare(draw, times=3)


@rule(reference=True)
def freeze_a_product(pair: Pair, draw: random.Random) -> None:
    products = pair.ours.products
    if not products:
        return
    name, frozen = draw.choice(products), draw.random() < 0.6
    pair.each(lambda layer, own: layer.freeze(name, frozen), 0)
    pair.compare(draw)


def new_numbers(weight: Tensor) -> Tensor:
    return 0.4 * torch.randn(weight.shape, dtype=weight.dtype)


@rule(2)
def swap_data(pair: Pair, draw: random.Random) -> None:
    def change(layer: nn.Module, own: random.Random) -> None:
        for weight in layer.parameters():
            if own.random() < 0.6:
                weight.data = relaid(new_numbers(weight), own.choice(LAYOUTS))

    pair.each(change, draw.randrange(2**31))
    pair.compare(draw, times=3)


@rule()
def expanded_weights(pair: Pair, draw: random.Random) -> None:
    """Weights whose rows, or columns, are one piece of memory."""

    def change(layer: nn.Module, own: random.Random) -> None:
        for weight in layer.parameters():
            if weight.dim() == 2 and own.random() < 0.5:
                row = new_numbers(weight[:1] if own.random() < 0.5 else weight[:, :1])
                weight.data = row.expand(weight.shape)

    saved = [copy.deepcopy(layer.state_dict()) for layer in pair.both]
    pair.each(change, draw.randrange(2**31))
    pair.compare(draw, times=3)
    for layer, state in zip(pair.both, saved, strict=True):
        for weight in layer.parameters():
            weight.data = weight.data.clone(memory_format=torch.contiguous_format)
        layer.load_state_dict(state)


@rule()
def one_flat_buffer(pair: Pair, draw: random.Random) -> None:
    """All weights are views of one tensor, as in distributed training."""

    def change(layer: nn.Module, own: random.Random) -> None:
        weights = list(layer.parameters())
        if not weights:
            return
        buffer = torch.cat([one.detach().reshape(-1) for one in weights])
        begin = 0
        for weight in weights:
            weight.data = buffer[begin : begin + weight.numel()].view(weight.shape)
            begin += weight.numel()

    pair.each(change, 0)
    pair.compare(draw, times=3)


def weight_of(layer: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds a parameter, and the parameter's name there."""
    path, _, leaf = name.rpartition(".")
    return layer.get_submodule(path), leaf


@rule()
def tie_or_replace_parameters(pair: Pair, draw: random.Random) -> None:
    def change(layer: nn.Module, own: random.Random) -> None:
        names = [name for name, _ in layer.named_parameters(remove_duplicate=False)]
        for name in names:
            module, leaf = weight_of(layer, name)
            weight = getattr(module, leaf)
            alike = [
                other
                for other in names
                if getattr(*weight_of(layer, other)).shape == weight.shape and other != name
            ]
            chance = own.random()
            if chance < 0.2 and alike:
                setattr(module, leaf, getattr(*weight_of(layer, own.choice(alike))))
            elif chance < 0.5:
                setattr(module, leaf, nn.Parameter(new_numbers(weight), own.random() < 0.8))

    pair.each(change, draw.randrange(2**31))
    pair.compare(draw, times=3)


@rule()
def untie(pair: Pair, draw: random.Random) -> None:
    def change(layer: nn.Module, own: random.Random) -> None:
        for name, weight in list(layer.named_parameters(remove_duplicate=False)):
            module, leaf = weight_of(layer, name)
            setattr(module, leaf, nn.Parameter(weight.detach().clone()))

    pair.each(change, 0)
    pair.compare(draw)


@rule()
def data_shared_by_two_parameters(pair: Pair, draw: random.Random) -> None:
    def change(layer: nn.Module, own: random.Random) -> None:
        weights = list(layer.parameters())
        for weight in weights:
            alike = [
                other for other in weights if other.shape == weight.shape and other is not weight
            ]
            if alike and own.random() < 0.5:
                weight.data = own.choice(alike).data

    pair.each(change, draw.randrange(2**31))
    pair.compare(draw, times=3)
    untie(pair, draw)


@rule()
def load_state(pair: Pair, draw: random.Random) -> None:
    def change(layer: nn.Module, own: random.Random) -> None:
        state = {name: new_numbers(one) for name, one in layer.state_dict().items()}
        layer.load_state_dict(state, assign=own.random() < 0.5)
        layer.requires_grad_(True)

    pair.each(change, draw.randrange(2**31))
    pair.compare(draw)


@rule()
def reset_parameters(pair: Pair, draw: random.Random) -> None:
    pair.each(lambda layer, own: layer.reset_parameters(), draw.randrange(2**31))
    # torch draws pruned weights last.
    pair.ours.load_state_dict(pair.theirs.state_dict())
    pair.compare(draw)


@rule()
def optimizer_steps(pair: Pair, draw: random.Random) -> None:
    if not any(weight.requires_grad for weight in pair.ours.parameters()):
        return
    kind = draw.choice((torch.optim.SGD, torch.optim.AdamW))
    foreach = draw.choice((True, False, None))
    optimizers = [
        kind(layer.parameters(), lr=1e-3, foreach=foreach, weight_decay=0.01) for layer in pair.both
    ]
    for _ in range(2):
        pair.each(lambda layer, own: layer.zero_grad(), 0)
        pair.compare(draw, times=1, mode="backward")
        # A weight that no result depends on (an output that is the state before the step, after
        # one step) has a gradient of zeros here and none in the oracle: weight decay tells them
        # apart.
        for weight, other in zip(pair.ours.parameters(), pair.theirs.parameters(), strict=True):
            if other.grad is None and weight.grad is not None:
                assert not weight.grad.any()
                weight.grad = None
        if kind is torch.optim.SGD:  # AdamW magnifies rounding where gradients are near zero
            for optimizer in optimizers:
                optimizer.step()
    for weight, other in zip(pair.ours.parameters(), pair.theirs.parameters(), strict=True):
        require_close(weight, other, "weight after steps", LIMITS[pair.dtype])
        with torch.no_grad():  # moved to float64, rounding in float32 would look like a fault
            weight.copy_(other)


@rule()
def move_to_another_dtype(pair: Pair, draw: random.Random) -> None:
    dtype = draw.choice((torch.float64, torch.float32))
    pair.each(lambda layer, own: layer.to(dtype), 0)
    if dtype != pair.dtype:
        pair.each(lambda layer, own: layer.zero_grad(), 0)
    for weight in pair.ours.parameters():
        assert weight.dtype == dtype
    pair.dtype = dtype
    pair.compare(draw)


@rule(reference=True)
def half_precision(pair: Pair, draw: random.Random) -> None:
    before = copy.deepcopy(pair.ours), copy.deepcopy(pair.theirs), pair.dtype
    pair.each(lambda layer, own: layer.to(torch.bfloat16), 0)
    pair.each(lambda layer, own: layer.zero_grad(), 0)
    pair.dtype = torch.bfloat16
    pair.compare(draw, mode=draw.choice(("none", "no_grad")), limit=0.2)
    pair.ours, pair.theirs, pair.dtype = before


@rule()
def wrong_shapes_and_dtypes(pair: Pair, draw: random.Random) -> None:
    """A wrong shape of an argument or weight is an error in both; later calls are right."""
    pair.compare(draw, times=1)
    form = padded(pair, draw)
    call = pair.draw_call(draw, form, "none")
    fault = draw.choice(("event size", "event dtype", "states", "weight", "rank"))
    if fault == "event size":
        call.event = torch.cat([call.event, call.event], -1)
    if fault == "event dtype":
        call.event = call.event.to(torch.int64)
    if fault == "rank":
        call.event = call.event[None]
    if fault == "states":
        call.states = [torch.zeros(1, 2, 99, dtype=pair.dtype) for _ in pair.ours.graph.states]
        call.asks = [False] * (1 + len(call.states))
    weights = [max(layer.parameters(), key=Tensor.numel, default=None) for layer in pair.both]
    if fault == "weight":
        if weights[0] is None or any("held" in name for name, _ in pair.ours.named_buffers()):
            return  # a frozen gate is read from its buffer
        saved = [one.data for one in weights if one is not None]
        for weight in weights:
            if weight is not None:
                weight.data = torch.cat([weight.data, weight.data])
    call.asks = [False] * len(call.asks)
    # torch's own LSTM takes a recurrent matrix of twice the rows at inference (oneDNN).
    for layer in [pair.ours] if fault == "weight" else pair.both:
        outcome = perform(layer, call, plain)
        assert isinstance(outcome.error, GatewrightError | RuntimeError | ValueError | TypeError), (
            f"{fault}: {type(layer).__name__} gives {outcome.outline}, {outcome.error!r}"
        )
    del outcome
    gc.collect()  # tracebacks hold nodes of autograd that know the weight's wrong shape
    if fault == "weight":
        for weight, data in zip(weights, saved, strict=True):
            if weight is not None:
                weight.data = data
    pair.compare(draw, times=1)


@rule()
def prune_a_weight(pair: Pair, draw: random.Random) -> None:
    """Pruned weights are computed before each call; then they are made permanent."""
    names = [name for name, one in pair.ours.named_parameters() if one.dim() == 2]
    if not names:
        return
    name = draw.choice(names)
    where = [weight_of(layer, name) for layer in pair.both]
    if len(list(pair.ours.named_parameters())) != len(
        list(pair.ours.named_parameters(remove_duplicate=False))
    ):
        return  # a tied weight would be pruned on one of its two names
    for module, leaf in where:  # torch can prune only contiguous weights
        weight = getattr(module, leaf)
        weight.data = weight.data.contiguous()
    pair.each(lambda layer, own: prune.random_unstructured(*weight_of(layer, name), amount=0.4), 7)
    pair.compare(draw, times=3)
    for module, leaf in where:
        prune.remove(module, leaf)
    pair.compare(draw)


class Halved(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


@rule(reference=True)
def parametrize_a_weight(pair: Pair, draw: random.Random) -> None:
    names = [name for name, _ in pair.ours.named_parameters()]
    if not names or len(names) != len(list(pair.ours.named_parameters(remove_duplicate=False))):
        return
    name = draw.choice(names)
    for layer in pair.both:
        parametrize.register_parametrization(*weight_of(layer, name), Halved())
    pair.compare(draw, times=3)
    for layer in pair.both:
        parametrize.remove_parametrizations(*weight_of(layer, name))
    pair.compare(draw)


@rule()
def zero_grad(pair: Pair, draw: random.Random) -> None:
    to_none = draw.random() < 0.5
    pair.each(lambda layer, own: layer.zero_grad(set_to_none=to_none), 0)
    pair.compare(draw, mode="backward")


@rule()
def change_a_gradient_in_place(pair: Pair, draw: random.Random) -> None:
    pair.compare(draw, times=1, mode="backward")

    both = list(zip(pair.ours.parameters(), pair.theirs.parameters(), strict=True))
    for parameter, other in both:
        # Of the two, one may have zeros where the other has no gradient.
        if draw.random() < 0.5 and parameter.grad is not None and other.grad is not None:
            parameter.grad.add_(1)
            other.grad.add_(1)
    for parameter, other in both:
        if parameter.grad is not None and other.grad is not None:
            require_close(parameter.grad, other.grad, "changed gradient", LIMITS[pair.dtype])
    pair.compare(draw, times=1, mode="backward")


@rule()
def gradients_share_no_memory(pair: Pair, draw: random.Random) -> None:
    """Each gradient that autograd gives can be changed without changing another one."""

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        asked = [one for one in layer.parameters() if one.requires_grad]
        outputs = [one for one in flat(result) if one.requires_grad]
        if asked and outputs:
            gradients = torch.autograd.grad(
                outputs,
                asked,
                [torch.ones_like(one) for one in outputs],
                allow_unused=True,
                retain_graph=True,
            )
            places = [one for one in gradients if one is not None]
            for gradient in places:
                others = [(other, other.clone()) for other in places if other is not gradient]
                gradient.add_(1)
                assert all(torch.equal(*pair) for pair in others), "two gradients share memory"
        return result

    pair.compare(draw, forward, mode="none")


# Changes of attributes.
@rule(2)
def set_attributes(pair: Pair, draw: random.Random) -> None:
    name = draw.choice(("batch_first", "dropout", "training"))
    if name == "batch_first":
        value: Any = draw.random() < 0.5
    elif name == "dropout":
        value = draw.choice((0.0, 0.3, 1.0))
    else:
        value = draw.random() < 0.5
    if name == "dropout" and pair.ours.num_layers == 1:
        return
    for layer in pair.both:
        setattr(layer, name, value)
        if name == "training":
            layer.train(value)
    pair.compare(draw, times=3)


@rule()
def other_shapes(pair: Pair, draw: random.Random) -> None:
    pair.forms = draw_forms(draw, pair.ours, pair.of_torch)
    pair.compare(draw, times=1)


@rule(reference=True)
def another_backend(pair: Pair, draw: random.Random) -> None:
    pair.ours.backend = "reference"
    pair.compare(draw, times=1)
    pair.ours.backend = "auto"
    pair.compare(draw, times=1)


# Copies.
@rule()
def deep_copy(pair: Pair, draw: random.Random) -> None:
    old = pair.ours, pair.theirs
    pair.ours, pair.theirs = copy.deepcopy(old)
    pair.compare(draw)
    pair.ours, pair.theirs = old
    pair.compare(draw)


@rule()
def pickle_and_back(pair: Pair, draw: random.Random) -> None:
    saved = [pickle.dumps(layer) for layer in pair.both]
    grads = [[one.grad for one in layer.parameters()] for layer in pair.both]
    pair.theirs, pair.ours = map(pickle.loads, saved)
    if draw.random() < 0.5:
        file = io.BytesIO()
        torch.save(pair.ours, file)
        file.seek(0)
        pair.ours = torch.load(file, weights_only=False)
    del grads
    pair.each(lambda layer, own: layer.zero_grad(), 0)
    pair.compare(draw, times=3)


@rule()
def share_memory(pair: Pair, draw: random.Random) -> None:
    if draw.random() < 0.5:
        pair.each(lambda layer, own: layer.share_memory(), 0)
    pair.compare(draw)


# Ways to call.
@rule(2)
def plain_calls(pair: Pair, draw: random.Random) -> None:
    pair.compare(draw, times=4)


@rule(2)
def only_arguments_need_gradients(pair: Pair, draw: random.Random) -> None:
    before = [[one.requires_grad for one in layer.parameters()] for layer in pair.both]
    pair.each(lambda layer, own: layer.requires_grad_(False), 0)
    form = pair.draw_form(draw)
    form = Form(form.steps, form.batch, form.kind, True)
    for turn in range(2):
        call = pair.draw_call(draw, form, "grad")
        call.asks = [turn == 0, *[draw.random() < 0.7 for _ in call.states]]
        pair.hold(call, plain)
    for layer, flags in zip(pair.both, before, strict=True):
        for weight, flag in zip(layer.parameters(), flags, strict=True):
            weight.requires_grad_(flag)


@rule()
def backward_twice(pair: Pair, draw: random.Random) -> None:
    """The same graph is used again, with other gradients."""

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        outputs = flat(result)
        for _ in range(2):
            # Drawn for all results: for the layers, different ones may be without a gradient.
            # By shape: `randn_like` fills memory in the order of the strides, which may differ.
            some = [(one, torch.randn(one.shape, dtype=one.dtype)) for one in outputs]
            some = [(one, gradient) for one, gradient in some if one.requires_grad]
            if some:
                torch.autograd.backward(*zip(*some, strict=True), retain_graph=True)
        return result

    pair.compare(draw, forward, mode="backward")


@rule()
def second_derivatives(pair: Pair, draw: random.Random) -> None:
    if pair.dtype != torch.float64:
        return  # torch's kernels have no such gradient in float32

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        outputs = flat(layer(*args, **kwargs))
        leaves = [
            tensor
            for tensor in (*flat([part for part in args if part is not None]), *layer.parameters())
            if tensor.requires_grad
        ]
        outputs = [one for one in outputs if one.requires_grad]
        if not leaves or not outputs:
            return outputs or [torch.zeros(())]
        total = torch.stack([(one * one).sum() for one in outputs]).sum()
        first = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
        return [one for one in first if one is not None and one.any()] or [torch.zeros(())]

    pair.compare(draw, forward, times=1, mode="backward")


@rule()
def hooks_on_tensors(pair: Pair, draw: random.Random) -> None:
    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        for tensor in (*flat(args), *layer.parameters()):
            if tensor.requires_grad:
                handles.append(tensor.register_hook(lambda gradient: gradient * 3))
        result = layer(*args, **kwargs)
        for tensor in flat(result):
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: gradient + 1)
        return result

    handles: list[Any] = []
    pair.compare(draw, forward, times=1)
    for handle in handles:
        handle.remove()
    pair.compare(draw, times=1)


@rule()
def hooks_on_modules(pair: Pair, draw: random.Random) -> None:
    handles: list[Any] = []
    for layer in pair.both:
        handles += [
            layer.register_forward_pre_hook(lambda module, args: args),
            layer.register_forward_hook(
                lambda module, args, result: (
                    (2 * result[0], result[1]) if isinstance(result[0], Tensor) else None
                )
            ),
            layer.register_full_backward_pre_hook(lambda module, gradients: gradients),
            layer.register_full_backward_hook(
                lambda module, inputs, outputs: tuple(
                    None if gradient is None else 2 * gradient for gradient in inputs
                )
            ),
        ]
    pair.compare(draw)
    for handle in handles:
        handle.remove()
    pair.compare(draw, times=1)


@rule()
def saved_tensors_hooks(pair: Pair, draw: random.Random) -> None:
    restore = draw.choice(("clone", "transposed", "numpy", "cpu"))

    def unpack(saved: Any) -> Tensor:
        if restore == "numpy":
            return torch.from_numpy(saved)
        return relaid(saved, "transposed") if restore == "transposed" else saved.clone()

    def pack(tensor: Tensor) -> Any:
        return tensor.detach().numpy().copy() if restore == "numpy" else tensor.detach()

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        hooks: Any = torch.autograd.graph.saved_tensors_hooks(pack, unpack)
        # torch's own LSTM in float32 (oneDNN) ignores the strides of what a hook returns, and
        # its gradient is then off by 0.08.
        if restore == "cpu" or (restore == "transposed" and isinstance(layer, nn.LSTM)):
            hooks = torch.autograd.graph.save_on_cpu()
        with hooks:
            return layer(*args, **kwargs)

    pair.compare(draw, forward, times=3)


@rule(2)
def recomputed(pair: Pair, draw: random.Random) -> None:
    """Our layers' own checkpoints, in segments of k steps."""
    k = draw.choice((True, 1, 2, 5))

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        own = {"recompute": k} if layer is pair.ours else {}
        return layer(*args, **kwargs, **own)

    pair.compare(draw, forward, times=3)


@rule(2)
def checkpointed(pair: Pair, draw: random.Random) -> None:
    reentrant = draw.random() < 0.4
    form = pair.draw_form(draw)
    if form.kind in ("sorted", "unsorted"):
        form = padded(pair, draw)

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        def function(event: Any, *states: Tensor) -> Any:
            hx = None if not states else states[0] if len(states) == 1 else states
            return tuple(flat(layer(event, hx, **kwargs)))

        event, *more = args
        states = flat(more[0]) if more else []
        return checkpoint(function, event, *states, use_reentrant=reentrant)

    for _ in range(3):
        call = pair.draw_call(draw, form, "backward")
        call.asks[0] = True
        pair.hold(call, forward)


@rule()
def functional_calls(pair: Pair, draw: random.Random) -> None:
    seed = draw.randrange(2**31)

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(seed)
        own = {name: new_numbers(one) for name, one in layer.named_parameters()}
        return torch.func.functional_call(layer, own, args, kwargs)

    pair.compare(draw, forward)
    pair.compare(draw, times=1)


@rule()
def under_vmap(pair: Pair, draw: random.Random) -> None:
    """A map over a further axis is a loop over it."""
    pair.each(lambda layer, own: layer.eval(), 0)
    if pair.ours.graph.inputs.keys() != {pair.ours.graph.equations.event}:
        return
    form = Form(draw.choice((1, 3)), draw.choice((1, 4)), "padded", False)
    events = torch.stack([pair.draw_call(draw, form).event for _ in range(3)])
    with torch.no_grad():
        mapped = torch.func.vmap(lambda event: tuple(flat(pair.ours(event))))(events)
        rows = [flat(pair.theirs(event)) for event in events]
    for actual, expected in zip(mapped, zip(*rows, strict=True), strict=True):
        require_close(actual, torch.stack(expected), "mapped", LIMITS[pair.dtype])
    pair.compare(draw, times=1)


@rule()
def forward_mode_derivatives(pair: Pair, draw: random.Random) -> None:
    if pair.dtype != torch.float64 or len(pair.ours.graph.inputs) > 1:
        return
    form = padded(pair, draw)
    event = pair.draw_call(draw, form).event
    tangent = torch.randn_like(event)
    results = []
    for layer in pair.both:
        torch.manual_seed(3)
        results.append(torch.func.jvp(lambda x, on=layer: tuple(flat(on(x))), (event,), (tangent,)))
    for actual, expected in zip(flat(results[1]), flat(results[0]), strict=True):
        require_close(actual, expected, "forward mode", LIMITS[pair.dtype])


@rule()
def function_gradients(pair: Pair, draw: random.Random) -> None:
    if len(pair.ours.graph.inputs) > 1:
        return
    event = pair.draw_call(draw, padded(pair, draw)).event
    results = []
    for layer in pair.both:
        torch.manual_seed(3)
        own = {name: one.detach() for name, one in layer.named_parameters()}

        def loss(weights: Any, x: Tensor, on: nn.Module = layer) -> Tensor:
            return torch.func.functional_call(on, weights, (x,))[0].square().sum()

        results.append(torch.func.grad(loss, argnums=(0, 1))(own, event))
    (theirs, their_event), (ours, our_event) = results
    require_close(our_event, their_event, "event", LIMITS[pair.dtype])
    for name, gradient in theirs.items():
        require_close(ours[name], gradient, name, LIMITS[pair.dtype])


@rule()
def inference_tensors(pair: Pair, draw: random.Random) -> None:
    """Tensors made in inference mode, and calls in it."""
    pair.compare(draw, mode="inference")

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode():
            states = layer(*args, **kwargs)[1]
        return layer(args[0], states, **kwargs)

    pair.compare(draw, forward, mode="no_grad")


@rule()
def autocast(pair: Pair, draw: random.Random) -> None:
    """Autocast gives nearly the numbers of full precision, and ends with its block."""
    pair.each(lambda layer, own: layer.eval(), 0)
    if pair.dtype != torch.float32 or "slstm" in pair.name:
        return
    form = padded(pair, draw)
    call = pair.draw_call(draw, form, "no_grad")
    expected = perform(pair.theirs, call, plain)

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return layer(*args, **kwargs)

    for mode in ("no_grad", "none", "backward"):
        call.mode = mode
        outcome = perform(pair.ours, call, forward)
        assert outcome.error is None, repr(outcome.error)
        for actual, other in zip(outcome.tensors, expected.tensors, strict=True):
            require_close(actual.to(other.dtype), other, "autocast", 0.15)
    pair.each(lambda layer, own: layer.zero_grad(), 0)
    pair.compare(draw, times=2)


@rule()
def number_of_threads(pair: Pair, draw: random.Random) -> None:
    torch.set_num_threads(draw.choice((1, 2, 3)))
    pair.compare(draw, times=3)


@contextlib.contextmanager
def setting(name: str) -> Iterator[None]:
    """One of torch's global settings, for a while."""
    if name == "default dtype":
        torch.set_default_dtype(torch.float64)
    elif name == "deterministic":
        torch.use_deterministic_algorithms(True)
    elif name == "anomaly":
        torch.autograd.set_detect_anomaly(True)
    elif name == "no mkldnn":
        torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
        torch.autograd.set_detect_anomaly(False)
        torch.backends.mkldnn.set_flags(True)


@rule()
def global_settings(pair: Pair, draw: random.Random) -> None:
    with setting(draw.choice(("default dtype", "deterministic", "anomaly", "no mkldnn"))):
        pair.compare(draw)
    pair.compare(draw, times=1)


# What happens between forward and backward.
@rule(2)
def outputs_changed_in_place(pair: Pair, draw: random.Random) -> None:
    """Outputs belong to the caller: changing them spoils neither gradients nor each other.

    The oracle keeps copies, since torch refuses some of the changes.
    """

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        outputs = flat(result)
        if layer is pair.ours:
            for index, output in enumerate(outputs):
                others = [
                    (other, other.detach().clone()) for other in outputs if other is not output
                ]
                if index in chosen:
                    output.mul_(2)
                for other, before in others:
                    assert torch.equal(other.detach().nan_to_num(), before.nan_to_num()), (
                        "two outputs share memory"
                    )
            return outputs
        return [2 * one if at in chosen else one for at, one in enumerate(outputs)]

    chosen = {at for at in range(6) if draw.random() < 0.5}
    form = pair.draw_form(draw)
    if form.steps and form.batch:  # without steps or rows, plain operations run and may refuse
        pair.compare(draw, forward, form=form)


@rule(2)
def weights_moved_before_backward(pair: Pair, draw: random.Random) -> None:
    """The weights move in memory, with the same numbers, between forward and backward."""
    layout = draw.choice(LAYOUTS)

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        for weight in layer.parameters():
            weight.data = relaid(weight.data, layout)
        return result

    for _ in range(3):
        pair.compare(draw, forward, mode=draw.choice(("backward", "grad")))


@rule()
def weights_changed_before_backward(pair: Pair, draw: random.Random) -> None:
    """A weight that was changed in place before the backward pass is noticed."""
    weights = [one for one in pair.ours.parameters() if one.dim() == 2 and one.requires_grad]
    if not weights:
        return
    event = pair.draw_call(draw, padded(pair, draw)).event.requires_grad_()
    form = pair.draw_call(draw, padded(pair, draw))
    if form.further:
        return
    for _ in range(2):
        result = flat(pair.ours(event))
        loss = torch.stack([one.square().sum() for one in result if one.requires_grad]).sum()
        with torch.no_grad():
            saved = [one.clone() for one in weights]
            for weight in weights:
                weight.add_(1)
        with contextlib.suppress(
            RuntimeError
        ):  # no error is right too, where nothing reads the weight
            torch.autograd.grad(loss, [event, *weights], allow_unused=True)
        with torch.no_grad():
            for weight, before in zip(weights, saved, strict=True):
                weight.copy_(before)
    pair.compare(draw)


@rule()
def dtype_changed_before_backward(pair: Pair, draw: random.Random) -> None:
    """An answer or an error, and no crash; the next calls are right."""
    call = pair.draw_call(draw, padded(pair, draw), "none")
    args, kwargs = call.arguments(call.leaves())
    other = torch.float32 if pair.dtype == torch.float64 else torch.float64
    outputs = [one for one in flat(pair.ours(*args, **kwargs)) if one.requires_grad]
    weights = [one for one in pair.ours.parameters() if one.requires_grad]
    if not outputs or not weights:
        return
    pair.ours.to(other)
    with contextlib.suppress(RuntimeError):
        torch.autograd.grad([one.sum() for one in outputs], weights, allow_unused=True)
    pair.ours.to(pair.dtype)
    pair.ours.load_state_dict(pair.theirs.state_dict())
    pair.each(lambda layer, own: layer.zero_grad(), 0)
    pair.compare(draw)


@rule(2)
def carried_states(pair: Pair, draw: random.Random) -> None:
    """Chunks of a sequence: states are passed to the next call, detached or not."""
    cut = draw.random() < 0.5

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output, states = layer(*args, **kwargs)
        outputs = [output]
        for _ in range(2):
            if cut:
                states = (
                    states.detach()
                    if isinstance(states, Tensor)
                    else tuple(one.detach() for one in states)
                )
            output, states = layer(args[0], states, **kwargs)
            outputs.append(output)
        return [*outputs, states]

    if pair.ours.num_layers > 1 and not pair.of_torch:
        return  # a state may have another size at each layer
    pair.compare(draw, forward)


@rule()
def backward_in_another_thread(pair: Pair, draw: random.Random) -> None:
    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        outputs = [one for one in flat(result) if one.requires_grad]

        def run() -> None:
            torch.autograd.backward(
                outputs, [torch.ones_like(one) for one in outputs], retain_graph=True
            )

        if outputs:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        return result

    pair.compare(draw, forward, mode="backward")


@rule()
def many_threads(pair: Pair, draw: random.Random) -> None:
    """Threads that call one layer at once, or each a copy."""
    pair.each(
        lambda layer, own: layer.eval(), 0
    )  # in training, threads would draw noise from one generator
    form = pair.draw_form(draw)
    calls = [pair.draw_call(draw, form, draw.choice(("grad", "none", "no_grad"))) for _ in range(6)]
    expected = [perform(pair.theirs, call, plain) for call in calls]
    one_layer = draw.random() < 0.6
    layers = [pair.ours if one_layer else copy.deepcopy(pair.ours) for _ in calls]
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(perform, layers, calls, [plain] * len(calls)))
    for actual, other in zip(outcomes, expected, strict=True):
        agree(actual, other, LIMITS[pair.dtype])


# Other processes.
@rule(0.5)
def in_a_forked_process(pair: Pair, draw: random.Random) -> None:
    """Ours runs in a child of a process that has used threads, where torch's own may hang."""
    form = pair.draw_form(draw)
    calls = [pair.draw_call(draw, form, draw.choice(("grad", "no_grad"))) for _ in range(3)]
    expected = [perform(pair.theirs, call, plain) for call in calls]
    child = os.fork()
    if not child:
        status = 1
        try:
            for call, outcome in zip(calls, expected, strict=True):
                agree(perform(pair.ours, call, plain), outcome, LIMITS[pair.dtype])
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert not status, f"a forked process ended with {status}"
    pair.compare(draw)


def spawned(layer: nn.Module, call: Call, answers: Any) -> None:
    """Send a call's outputs back, made in a process of its own."""
    call.mode = "no_grad"
    outcome = perform(layer, call, plain)
    answers.put([one.tolist() for one in outcome.tensors])


@rule(0.02)
def in_a_spawned_process(pair: Pair, draw: random.Random) -> None:
    context = multiprocessing.get_context("spawn")
    call = pair.draw_call(draw, pair.draw_form(draw), "no_grad")
    pair.each(lambda layer, own: layer.eval(), 0)
    answers = context.SimpleQueue()
    process = context.Process(target=spawned, args=(pair.ours, call, answers))
    process.start()
    results = answers.get()
    process.join(60)
    assert process.exitcode == 0
    expected = perform(pair.theirs, call, plain)
    for numbers, other in zip(results, expected.tensors, strict=True):
        actual = torch.tensor(numbers, dtype=other.dtype).view(other.shape)
        require_close(actual, other, "spawned", LIMITS[pair.dtype])


class Outputs(Dataset):
    """A layer's outputs, computed where the data is loaded."""

    def __init__(self, layer: nn.Module, events: list[Tensor]) -> None:
        self.layer, self.events = layer, events

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: int) -> Tensor:
        with torch.no_grad():
            return self.layer(self.events[index])[0]


@rule(0.1)
def in_the_workers_of_a_loader(pair: Pair, draw: random.Random) -> None:
    pair.each(lambda layer, own: layer.eval(), 0)
    if len(pair.ours.graph.inputs) > 1:
        return
    form = Form(3, 2, "padded", False)
    events = [pair.draw_call(draw, form).event for _ in range(4)]
    loader = DataLoader(Outputs(pair.ours, events), batch_size=2, num_workers=1)
    rows = [row for batch in loader for row in batch]
    for row, event in zip(rows, events, strict=True):
        with torch.no_grad():
            require_close(row, pair.theirs(event)[0], "loaded", LIMITS[pair.dtype])
    pair.compare(draw, times=1)


@rule(0.15)
def compiled(pair: Pair, draw: random.Random) -> None:
    """torch.compile, with shapes that change."""
    torch._dynamo.reset()
    compiled_layer = torch.compile(
        pair.ours, backend=draw.choice(("eager", "aot_eager")), dynamic=draw.choice((None, True))
    )

    def forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (compiled_layer if layer is pair.ours else layer)(*args, **kwargs)

    pair.each(lambda layer, own: layer.eval(), 0)
    form = pair.draw_form(draw)
    modes = ("none", "no_grad", "grad")
    pair.compare(draw, forward, form=form, times=1, mode=draw.choice(modes))
    if form.kind == "padded" and form.steps:
        other = Form(form.steps + 2, form.batch, "padded", form.states)
        pair.compare(draw, forward, form=other, times=1, mode=draw.choice(modes))
    torch._dynamo.reset()
    pair.compare(draw, times=1)


# Features that only our layers have.
@rule(2, reference=True)
def traces(pair: Pair, draw: random.Random) -> None:
    with_gradients, held = draw.random() < 0.6, draw.random() < 0.4
    names = [name for name in pair.ours.graph.values if name not in pair.ours.graph.inputs]
    name = draw.choice(names) if names else None

    def forward(layer: Any, *args: Any, **kwargs: Any) -> Any:
        hold = {}
        if held and name is not None:
            hold = {layer.trace_name(name, 0, False): 0.25}
        values = layer.trace(*args, hold=hold, grad=with_gradients, **kwargs)
        return [values[key] for key in sorted(values)]

    pair.compare(draw, forward)
    pair.compare(draw, times=1)


@rule(reference=True)
def writes_through_weights(pair: Pair, draw: random.Random) -> None:
    products = pair.ours.products
    if not products:
        return
    name = draw.choice(products)

    def change(layer: Any, own: random.Random) -> None:
        mapping = layer.weights(name)
        for source in list(mapping):
            matrix, bias = mapping[source]
            mapping[source] = (
                new_numbers(matrix),
                None if bias is None else new_numbers(bias),
            )

    pair.each(change, draw.randrange(2**31))
    pair.compare(draw)


@rule(reference=True)
def a_stepper(pair: Pair, draw: random.Random) -> None:
    """One step at a time gives the sequence's outputs."""
    layer = pair.ours
    pair.each(lambda module, own: module.eval(), 0)
    if layer.bidirectional or len(layer.graph.inputs) > 1:
        return
    batch = draw.choice((1, 3))
    call = pair.draw_call(draw, Form(4, batch, "padded", False), "no_grad")
    expected = perform(pair.theirs, call, plain).tensors[0]
    event = call.event.transpose(0, 1) if call.batch_first else call.event
    expected = expected.transpose(0, 1) if call.batch_first else expected
    stepper = layer.stepper(batch)
    for x, other in zip(event, expected, strict=True):
        output = torch.as_tensor(stepper.step(x))
        require_close(output.reshape(other.shape), other, "stepper", LIMITS[pair.dtype])
    pair.compare(draw, times=1)


@rule(reference=True)
def a_new_reference(pair: Pair, draw: random.Random) -> None:
    """Make the oracle again from our layer, with its present weights."""
    pair.each(lambda layer, own: layer.zero_grad(), 0)  # a copy has no gradients
    saved, pair.theirs = pair.theirs, twin(pair.ours)
    pair.compare(draw)
    pair.theirs = saved
    pair.each(lambda layer, own: layer.zero_grad(), 0)


def drawable(pair: Pair) -> dict[str, float]:
    """The rules that a pair allows, with their weights."""
    return {
        name: entry.weight
        for name, entry in RULES.items()
        if not (entry.reference and pair.of_torch)
    }
