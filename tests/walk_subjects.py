"""Pairs of layers that must behave alike, and calls of them with random forms and numbers.

A pair is a layer of ours and its oracle: the class of `torch.nn` that it replaces, or the same
layer on the reference backend. `state_rules.py` changes both of a pair in the same way; a call
gives both the same numbers and compares outputs, states and gradients.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import gatewright as gw
from gatewright.errors import GatewrightError


class Delayed(gw.Cell):
    """The output is the state before the step."""

    def step(self, x, h):
        return gw.state(h=gw.tanh(gw.linear(x, h)), output=h)


class Named(gw.Cell):
    """The state before the step has a name, so it is traced."""

    def step(self, x, h):
        before = h
        h = gw.tanh(gw.linear(x, before))
        return gw.state(h=h)


class Leak(gw.Cell):
    """A state that decays; the output is the state before the step."""

    def step(self, x, h):
        return gw.state(h=0.5 * h + gw.tanh(gw.linear(x)), output=h)


class Echo(gw.Cell):
    """The output is the event, which no kernel computes."""

    def step(self, x, h):
        return gw.state(h=gw.tanh(gw.linear(x, h)), output=x)


class Constant(gw.Cell):
    """The output is a parameter, which no kernel computes."""

    def step(self, x, h):
        return gw.state(
            h=gw.tanh(gw.linear(x, h)), output=gw.parameter(size="hidden", name="level")
        )


class Drive(gw.Cell):
    """The output is a product of the event only, which the loop reads too."""

    def step(self, x, h):
        drive = gw.linear(x)
        h = gw.tanh(drive + gw.linear(h))
        return gw.state(h=h, output=drive)


class Level(gw.Cell):
    """The output is a product of its own size, plus a product that is one number for all units."""

    def step(self, x, h):
        h = gw.tanh(gw.linear(x, h))
        level = gw.linear(h, size=1)
        return gw.state(h=h, output=gw.linear(h, size=4, name="own") + level)


ADVERSARIAL = {one.__name__: one for one in (Delayed, Named, Leak, Echo, Constant, Drive, Level)}
DROP_INS = {
    "RNN": (gw.RNN, nn.RNN),
    "LSTM": (gw.LSTM, nn.LSTM),
    "GRU": (gw.GRU, nn.GRU),
}
#: Sizes around the widths of vectors (4, 8 and 16 lanes), and the smallest.
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17)
BATCHES = (1, 2, 3, 4, 5, 8, 9)
STEPS = (1, 1, 2, 3, 4, 7)
#: The greatest difference, as a share of the largest expected value (at least of 1).
LIMITS = {torch.float64: 1e-9, torch.float32: 2e-4, torch.bfloat16: 5e-2}

Forward = Callable[..., Any]


def plain(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call the layer."""
    return layer(*args, **kwargs)


def flat(result: Any) -> list[Tensor]:
    """All tensors of a result, in order."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [result.data]
    return [tensor for part in result if part is not None for tensor in flat(part)]


def outline(result: Any) -> Any:
    """The nesting, types and shapes of a result."""
    if isinstance(result, PackedSequence):
        orders = [None if one is None else one.tolist() for one in result[1:]]
        return "PackedSequence", tuple(result.data.shape), orders
    if isinstance(result, Tensor):
        return tuple(result.shape), result.dtype
    return type(result).__name__, [outline(part) for part in result]


def require_close(actual: Tensor, expected: Tensor, what: str, limit: float) -> None:
    """Fail where two tensors differ in shape, or in values by more than the limit."""
    assert actual.shape == expected.shape, f"{what}: {actual.shape}, expected {expected.shape}"
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype}, expected {expected.dtype}"
    if not actual.numel():
        return
    if actual.dtype == torch.bool:  # such as the trace of a mask
        assert torch.equal(actual, expected), f"{what} differs"
        return
    actual, expected = actual.detach(), expected.detach()
    finite = torch.isfinite(expected)
    same = torch.equal(actual[~finite].nan_to_num(), expected[~finite].nan_to_num())
    scale = max(1.0, float(expected[finite].abs().max())) if finite.any() else 1.0
    far = float((actual - expected)[finite].abs().max()) if finite.any() else 0.0
    assert same and far <= limit * scale, f"{what}: off by {far:.3g} of {scale:.3g}"


def relaid(data: Tensor, layout: str) -> Tensor:
    """The same numbers, laid out in memory in another way."""
    if layout == "transposed" and data.dim() > 1:
        return data.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "columns":
        wide = torch.full((*data.shape[:-1], 2 * data.shape[-1] + 3), 7.0, dtype=data.dtype)
        wide[..., 2 : 2 + data.shape[-1]] = data
        return wide[..., 2 : 2 + data.shape[-1]]
    if layout == "every second":
        wide = torch.full((*data.shape[:-1], 2 * data.shape[-1]), 7.0, dtype=data.dtype)
        wide[..., ::2] = data
        return wide[..., ::2]
    if layout == "offset":
        block = torch.full((data.numel() + 5,), 7.0, dtype=data.dtype)
        block[3 : 3 + data.numel()] = data.reshape(-1)
        return block[3 : 3 + data.numel()].view(data.shape)
    if layout == "negated":
        return torch._neg_view(-data)
    return data.clone(memory_format=torch.contiguous_format)


LAYOUTS = ("contiguous", "contiguous", "transposed", "columns", "every second", "offset")


@dataclass
class Form:
    """The shape of a call's input: steps, rows, and how sequences are given."""

    steps: int
    batch: int
    #: "padded", "unbatched", "sorted", "unsorted" (both packed), "lengths" or "starts".
    kind: str
    states: bool


@dataclass
class Call:
    """The numbers of one call, and the gradients that it asks for."""

    form: Form
    batch_first: bool
    seed: int
    event: Tensor
    layout: str
    states: list[Tensor]
    one_state: bool
    further: dict[str, Tensor]
    lengths: list[int]
    starts: Tensor
    #: Whether the event, and each state, requires a gradient.
    asks: list[bool]
    #: "backward", "grad", "none", "no_grad" or "inference".
    mode: str
    draw_seed: int

    def leaves(self) -> list[Tensor]:
        """New leaves with the call's numbers: the event, the states."""
        tensors = [self.event, *self.states]
        return [
            relaid(tensor, self.layout).detach().requires_grad_(asks)
            for tensor, asks in zip(tensors, self.asks, strict=True)
        ]

    def arguments(self, leaves: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the layer's call."""
        event, *states = leaves
        kind = self.form.kind
        packed: Any = event
        if kind in ("sorted", "unsorted"):
            packed = pack_padded_sequence(
                event,
                torch.tensor(self.lengths),
                self.batch_first,
                enforce_sorted=kind == "sorted",
            )
        keywords: dict[str, Any] = {name: one.clone() for name, one in self.further.items()}
        if kind == "lengths":
            keywords["lengths"] = torch.tensor(self.lengths)
        if kind == "starts":
            keywords["starts"] = self.starts
        if not states:
            return (packed,), keywords
        return (packed, states[0] if self.one_state else tuple(states)), keywords


@dataclass
class Outcome:
    """The result of a call on one layer, with its gradients, or the error that it raised."""

    outline: Any = None
    tensors: list[Tensor] = field(default_factory=list)
    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    #: Whether the loss reads all outputs, so that every requested gradient exists.
    all_read: bool = False
    error: Exception | None = None


@contextlib.contextmanager
def grad_mode(mode: str) -> Iterator[None]:
    """The mode of autograd that a call asks for."""
    with contextlib.ExitStack() as stack:
        if mode == "no_grad":
            stack.enter_context(torch.no_grad())
        if mode == "inference":
            stack.enter_context(torch.inference_mode())
        yield


@dataclass
class Pair:
    """Our layer and its oracle."""

    name: str
    ours: gw.Recurrent
    theirs: nn.Module
    #: Whether the oracle is the class of torch; else it is the reference backend.
    of_torch: bool
    dtype: torch.dtype
    forms: list[Form]

    @property
    def both(self) -> tuple[nn.Module, nn.Module]:
        return self.theirs, self.ours

    def each(self, change: Callable[[Any, random.Random], Any], seed: int) -> list[Any]:
        """Apply one change to both, with the same random numbers."""
        results = []
        for layer in self.both:
            torch.manual_seed(seed)
            results.append(change(layer, random.Random(seed)))
        return results

    def draw_form(self, draw: random.Random) -> Form:
        """A form of a call, from few shapes, so that forms repeat."""
        return draw.choice(self.forms)

    def draw_call(self, draw: random.Random, form: Form, mode: str | None = None) -> Call:
        """A call of a form with new numbers."""
        layer, dtype = self.ours, self.dtype
        torch.manual_seed(draw.randrange(2**31))
        batch_first = bool(layer.batch_first)
        rows: tuple[int, ...] = () if form.kind == "unbatched" else (form.batch,)
        axes = (*rows, form.steps) if batch_first else (form.steps, *rows)
        event = torch.randn(*axes, layer.input_size, dtype=dtype)
        places = layer.num_layers * layer.directions
        states = []
        if form.states:
            for name in layer.graph.states:
                size = layer.form.state_sizes(name)[0]
                state = 0.5 * torch.randn(places, *rows, size, dtype=dtype)
                states.append(state.abs() + 0.5 if name == "n" else state)
        further = {}
        for name, term in layer.graph.inputs.items():
            if name != layer.graph.equations.event:
                width = term.size if isinstance(term.size, int) else layer.input_size
                further[name] = torch.rand(*axes, width, dtype=dtype)
        shortest = 0 if form.kind == "lengths" else 1
        lengths = [draw.randint(shortest, max(form.steps, shortest)) for _ in range(form.batch)]
        if form.kind == "sorted":
            lengths.sort(reverse=True)
        asks = [draw.random() < 0.5 for _ in range(1 + len(states))]
        modes = ("backward", "backward", "grad", "none", "no_grad", "inference")
        return Call(
            form=form,
            batch_first=batch_first,
            seed=draw.randrange(2**31),
            event=event,
            layout=draw.choice(LAYOUTS),
            states=states,
            one_state=len(layer.graph.states) == 1,
            further=further,
            lengths=lengths,
            starts=torch.rand(axes) < 0.3,
            asks=asks,
            mode=mode or draw.choice(modes),
            draw_seed=draw.randrange(2**31),
        )

    def compare(
        self,
        draw: random.Random,
        forward: Forward = plain,
        *,
        times: int = 2,
        mode: str | None = None,
        form: Form | None = None,
        limit: float | None = None,
    ) -> list[Tensor]:
        """Compare some calls of one form with the oracle's; return the last outputs."""
        form = form or self.draw_form(draw)
        outcome = Outcome()
        for _ in range(times):
            call = self.draw_call(draw, form, mode)
            outcome = self.hold(call, forward, limit=limit)
        return outcome.tensors

    def hold(self, call: Call, forward: Forward, *, limit: float | None = None) -> Outcome:
        """Compare one call with the oracle's."""
        expected = perform(self.theirs, call, forward)
        weights = [one.detach().clone() for one in self.ours.parameters()]
        actual = perform(self.ours, call, forward)
        for before, after in zip(weights, self.ours.parameters(), strict=True):
            assert torch.equal(before, after) or before.isnan().any(), "a call changed a weight"
        agree(actual, expected, limit or LIMITS[self.dtype])
        # After an error, or where no gradient was as good as one of zeros, the layers have
        # accumulated different gradients, which would be compared again with the next call.
        if expected.error is not None or not expected.all_read:
            for layer in self.both:
                layer.zero_grad()
        return actual


def agree(actual: Outcome, expected: Outcome, limit: float) -> None:
    """Fail where outcomes differ."""
    if expected.error is not None:
        expected_kinds = (GatewrightError, RuntimeError, ValueError, TypeError)
        right = actual.error is None or isinstance(actual.error, expected_kinds)
        right = right or repr(actual.error) == repr(expected.error)  # an error of the rule itself
        assert right, f"{actual.error!r} where the oracle raises {expected.error!r}"
        return
    if actual.error is not None:
        kind, message = type(actual.error).__name__, f"{actual.error} ".splitlines()[0]
        raise AssertionError(f"{kind}, unlike the oracle: {message}") from actual.error
    assert actual.outline == expected.outline, f"{actual.outline}, expected {expected.outline}"
    for index, (output, other) in enumerate(zip(actual.tensors, expected.tensors, strict=True)):
        require_close(output, other, f"output {index}", limit)
    for name in {**actual.gradients, **expected.gradients}:
        gradient, other = actual.gradients.get(name), expected.gradients.get(name)
        if (gradient is None) != (other is None):
            # Where some outputs are not read, no gradient and a gradient of zeros are the same.
            existing = gradient if other is None else other
            report = f"gradient of {name} is {gradient}, expected {other}"
            assert not expected.all_read and existing is not None and not existing.any(), report
            continue
        if gradient is not None:
            require_close(gradient, other, f"gradient of {name}", limit)


def perform(layer: nn.Module, call: Call, forward: Forward) -> Outcome:
    """Call a layer forwards and, where the call's mode asks for it, backwards."""
    leaves = call.leaves()
    before = [one.detach().clone() for one in leaves]
    args, kwargs = call.arguments(leaves)
    try:
        torch.manual_seed(call.seed)
        with grad_mode(call.mode):
            result = forward(layer, *args, **kwargs)
        tensors = flat(result)
        outcome = Outcome(outline(result), [one.detach().clone() for one in tensors])
        if call.mode in ("backward", "grad"):
            backward(layer, call, leaves, tensors, outcome)
    except Exception as error:
        return Outcome(error=error)
    for leaf, own in zip(leaves, before, strict=True):
        assert torch.equal(leaf, own), "a call changed what it was given"
    for tensor, value in zip(tensors, outcome.tensors, strict=True):
        same = torch.equal(tensor.detach().nan_to_num(), value.nan_to_num())
        assert same, "the backward pass changed an output"
    return outcome


def named_leaves(layer: nn.Module, leaves: list[Tensor]) -> dict[str, Tensor]:
    """The leaves of a backward pass: the event, the states, the weights."""
    own = {f"argument {at}": one for at, one in enumerate(leaves)}
    return {**own, **dict(layer.named_parameters())}


def upstream(draw: random.Random, tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Some of the outputs, and a random gradient for each.

    The numbers do not depend on which outputs need gradients: that may differ between layers.
    """
    chosen = [draw.random() < 0.7 for _ in tensors]
    numbers = torch.Generator().manual_seed(draw.randrange(2**31))  # threads share torch's own
    some, gradients = [], []
    for tensor, is_chosen in zip(tensors, chosen, strict=True):
        gradient = torch.randn(tensor.shape, dtype=tensor.dtype, generator=numbers)
        kind = draw.choice(("own", "own", "relaid", "expanded"))
        if kind == "relaid":
            gradient = relaid(gradient, draw.choice(LAYOUTS))
        if kind == "expanded":
            gradient = torch.ones((), dtype=tensor.dtype).expand(tensor.shape)
        if tensor.requires_grad and (is_chosen or not any(chosen)):
            some.append(tensor)
            gradients.append(gradient)
    return some, gradients


def backward(
    layer: nn.Module, call: Call, leaves: list[Tensor], tensors: list[Tensor], outcome: Outcome
) -> None:
    """Run the backward pass from random outputs, and store the gradients."""
    draw = random.Random(call.draw_seed)
    some, gradients = upstream(draw, tensors)
    outcome.all_read = len(some) == len(tensors)
    named = named_leaves(layer, leaves)
    if call.mode == "backward":
        if some:
            torch.autograd.backward(some, gradients)
        outcome.gradients = {
            name: None if tensor.grad is None else tensor.grad.clone()
            for name, tensor in named.items()
        }
        return
    asked = {name: one for name, one in named.items() if one.requires_grad}
    if not some:
        return
    subset = [name for name in asked if draw.random() < 0.7] or list(asked)
    results = torch.autograd.grad(
        some, [asked[name] for name in subset], gradients, allow_unused=True
    )
    outcome.gradients = dict(zip(subset, results, strict=True))


def draw_pair(seed: int) -> Pair:
    """The pair of a walk."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    kind = draw.choices(("torch", "reference", "shipped", "adversarial"), (5, 2, 2, 2))[0]
    dtype = draw.choice((torch.float64, torch.float64, torch.float32))
    options: dict[str, Any] = {
        "num_layers": draw.choice((1, 1, 1, 2)),
        "bias": draw.random() < 0.75,
        "batch_first": draw.random() < 0.4,
        "bidirectional": draw.random() < 0.25,
        "dtype": dtype,
    }
    input_size, hidden_size = draw.choice(SIZES), draw.choice(SIZES)
    of_torch = kind == "torch"
    if kind in ("torch", "reference"):
        name = draw.choice(list(DROP_INS))
        if name == "LSTM" and hidden_size > 1 and draw.random() < 0.2:
            options["proj_size"] = draw.randrange(1, hidden_size)
        if name == "RNN":
            options["nonlinearity"] = draw.choice(("tanh", "relu"))
        if not of_torch and name == "GRU":
            options["reset"] = draw.choice(("after", "before"))
        if options["num_layers"] > 1 and draw.random() < 0.4:
            options["dropout"] = 0.4
        ours = DROP_INS[name][0](input_size, hidden_size, **options)
    else:
        cells = dict(gw.CELLS) if kind == "shipped" else dict(ADVERSARIAL)
        name = draw.choice(sorted(cells))
        hidden_size = 2 * hidden_size if name in ("layer_norm_lstm", "cornn") else hidden_size
        ours, input_size = draw_layer(cells[name], input_size, hidden_size, options)
    if of_torch:
        theirs: nn.Module = DROP_INS[name][1](input_size, hidden_size, **options)
    else:
        theirs = twin(ours)
    theirs.load_state_dict(ours.state_dict())
    shown = {key: value for key, value in options.items() if value}
    oracle = "torch.nn" if of_torch else "the reference"
    title = f"{name}({input_size}, {hidden_size}, {shown}) against {oracle}"
    return Pair(title, ours, theirs, of_torch, dtype, draw_forms(draw, ours, of_torch))


def draw_layer(
    cell: type[gw.Cell], input_size: int, hidden_size: int, options: dict[str, Any]
) -> tuple[gw.Recurrent, int]:
    """A layer of a cell; where its sizes must agree, of one size."""
    try:
        return gw.Recurrent(cell, input_size, hidden_size, **options), input_size
    except GatewrightError:
        options["num_layers"] = 1
        return gw.Recurrent(cell, hidden_size, hidden_size, **options), hidden_size


def twin(layer: gw.Recurrent) -> gw.Recurrent:
    """The same layer on the reference backend."""
    other = copy.deepcopy(layer)
    other.backend = "reference"
    return other


def draw_forms(draw: random.Random, layer: gw.Recurrent, of_torch: bool) -> list[Form]:
    """Three forms of calls."""
    kinds = ["padded", "padded", "padded", "unbatched"]
    if len(layer.graph.inputs) == 1:
        kinds += ["sorted", "unsorted"]
    if not of_torch:
        kinds += ["lengths", "starts"]
    forms = []
    for _ in range(3):
        kind = draw.choice(kinds)
        steps, batch = draw.choice(STEPS), draw.choice(BATCHES)
        if kind == "padded" and not of_torch:
            steps, batch = draw.choice((*STEPS, 0)), draw.choice((*BATCHES, 0))
        forms.append(Form(steps, batch, kind, draw.random() < 0.5))
    return forms
