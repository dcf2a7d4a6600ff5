"""Random calls of layers in bfloat16 and under autocast, held to the float64 reference.

    python -c "import test_low_precision_calls as t; t.main()" FIRST COUNT   # more of them

A call is its seed: it draws the layer, the shapes (none of rows or steps among them), states,
lengths or starts, `recompute`, threads, layouts, which gradients are asked for, and from where.
"""

from __future__ import annotations

import copy
import random
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import gatewright as gw
from walk_subjects import LAYOUTS, SIZES, flat, relaid

LOW = torch.bfloat16
#: Errors may be this many times those of the reference in the same precision, and this much more.
TIMES, CHANCE = 2.5, 0.025
NAMES = ("lstm", "gru", "rnn", "peephole", "projected")
COUNTS = (0, 1, 1, 2, 3, 5, 9)


@dataclass
class RandomCall:
    """A layer in float32 whose numbers bfloat16 holds, and the arguments of a call."""

    layer: gw.Recurrent
    x: Tensor
    states: list[Tensor]
    options: dict[str, Any]
    asked: dict[str, bool]
    outputs: list[bool]
    seed: int

    @classmethod
    def draw(cls, seed: int) -> RandomCall:
        draw = random.Random(seed)
        torch.manual_seed(seed)
        layer = draw_layer(draw)
        rounded = copy.deepcopy(layer).to(LOW).float()
        rows, steps = draw.choice(COUNTS), draw.choice(COUNTS)
        axes = (rows, steps) if layer.batch_first else (steps, rows)
        options: dict[str, Any] = {}
        kind = draw.choice(("padded", "padded", "lengths", "starts"))
        if kind == "lengths":
            options["lengths"] = [draw.randint(0, steps) for _ in range(rows)]
        if kind == "starts":
            options["starts"] = torch.rand(axes) < draw.choice((0.1, 0.4, 1.0))
        if draw.random() < 0.5:
            options["recompute"] = draw.choice((1, 2, 3, 100))
        places = layer.num_layers * layer.directions
        states = [
            0.5 * torch.randn(places, rows, layer.form.state_sizes(name)[0])
            for name in layer.graph.states
        ]
        names = ["x", *layer.graph.states, *dict(layer.named_parameters())]
        everything = draw.random() < 0.3
        return cls(
            rounded,
            relaid(torch.randn(*axes, layer.input_size).to(LOW).float(), draw.choice(LAYOUTS)),
            [state.to(LOW).float() for state in states] if draw.random() < 0.5 else [],
            options,
            {name: everything or draw.random() < 0.6 for name in names},
            [everything or draw.random() < 0.7 for _ in range(1 + len(layer.graph.states))],
            seed,
        )

    def results(self, layer: gw.Recurrent, dtype: torch.dtype, *, autocast: bool) -> dict[str, Any]:
        """Call the layer: its outputs and gradients, by name."""
        leaves = [
            tensor.to(dtype).detach().requires_grad_(self.asked[name])
            for name, tensor in zip(
                ["x", *layer.graph.states], [self.x, *self.states], strict=False
            )
        ]
        for name, weight in layer.named_parameters():
            weight.requires_grad_(self.asked[name]).grad = None
        x, *states = leaves
        hx = None if not states else states[0] if len(states) == 1 else tuple(states)
        with torch.autocast("cpu", dtype=LOW, enabled=autocast):
            outputs = flat(layer(x, hx, **self.options))
        torch.manual_seed(self.seed)
        upstream = [torch.randn(output.shape).to(LOW).to(output.dtype) for output in outputs]
        pairs = [
            (output, gradient)
            for output, gradient, is_read in zip(outputs, upstream, self.outputs, strict=True)
            if is_read and output.requires_grad
        ]
        if pairs:
            torch.autograd.backward(*map(list, zip(*pairs, strict=True)))
        gradients = {name: leaf.grad for name, leaf in zip("xab", leaves, strict=False)}
        gradients |= {name: weight.grad for name, weight in layer.named_parameters()}
        values = {f"output {i}": output.detach() for i, output in enumerate(outputs)}
        return {**values, **{f"gradient of {name}": value for name, value in gradients.items()}}

    def hold(self, *, autocast: bool) -> None:
        """Compare the kernels with the float64 reference, twice: the second call is prepared."""
        dtype = torch.float32 if autocast else LOW
        layers = [copy.deepcopy(self.layer).to(kind) for kind in (torch.float64, dtype, dtype)]
        for layer in layers[:2]:
            layer.backend = "reference"
        exact = self.results(layers[0], torch.float64, autocast=False)
        plain = self.results(layers[1], dtype, autocast=autocast)
        for _ in range(2):
            compare(self.results(layers[2], dtype, autocast=autocast), plain, exact)


def draw_layer(draw: random.Random) -> gw.Recurrent:
    """A layer of any form."""
    name, input_size, hidden_size = draw.choice(NAMES), draw.choice(SIZES), draw.choice(SIZES)
    options: dict[str, Any] = {
        "num_layers": draw.choice((1, 1, 2)),
        "bidirectional": draw.random() < 0.3,
        "batch_first": draw.random() < 0.4,
        "bias": draw.random() < 0.8,
    }
    if name == "projected":
        hidden_size = max(hidden_size, 2)
        options["proj_size"] = draw.randint(1, hidden_size - 1)
    kinds = {"gru": gw.GRU, "rnn": gw.RNN, "peephole": gw.PeepholeLSTM}
    return kinds.get(name, gw.LSTM)(input_size, hidden_size, **options)


def compare(ours: dict[str, Any], plain: dict[str, Any], exact: dict[str, Any]) -> None:
    """Fail where an error is greater than that of the reference in the same precision allows."""
    assert list(ours) == list(exact)
    norms: dict[str, float] = {}
    for name, value in exact.items():
        if value is not None:
            kind = name.split()[0]
            norms[kind] = max(norms.get(kind, 1e-5), value.norm().item())
    for name, value in ours.items():
        if value is None or exact[name] is None:  # none is as good as one of zeros
            existing = exact[name] if value is None else value
            assert existing is None or not existing.any(), f"{name} is missing, or should be"
            continue
        assert value.dtype == plain[name].dtype and value.shape == exact[name].shape, name
        scale = max(exact[name].norm().item(), 0.3 * norms[name.split()[0]])
        error, other = [
            (v.double() - exact[name]).norm().item() / scale for v in (value, plain[name])
        ]
        assert error <= TIMES * other + CHANCE, f"{name}: off by {error}, the reference by {other}"


@pytest.mark.parametrize("seed", range(20))
def test_a_random_call_is_as_exact_as_the_reference(seed: int):
    threads = torch.get_num_threads()
    torch.set_num_threads(1 + seed % 3)
    try:
        RandomCall.draw(seed).hold(autocast=seed % 2 == 0)
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Hold as many random calls as the command line asks for."""
    first, count = map(int, sys.argv[1:])
    for seed in range(first, first + count):
        try:
            test_a_random_call_is_as_exact_as_the_reference(seed)
        except AssertionError as error:
            print(f"{seed}: {error}", flush=True)


if __name__ == "__main__":
    main()
