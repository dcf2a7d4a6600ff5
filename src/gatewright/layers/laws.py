"""The laws of cells, each as a function that raises `Broken` where a cell breaks it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from gatewright.backends.adjoint import step_gradients
from gatewright.backends.reference import run
from gatewright.backends.run import Run
from gatewright.backends.step import expectations, starts
from gatewright.backends.weights import collect
from gatewright.errors import ArgumentError, SizeError, TooLarge
from gatewright.graph.sizes import number
from gatewright.language.cell import Cell, StoredCell, stored_form
from gatewright.language.reading import read
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.saving import load, save

STEPS, ROWS = 6, 3
#: In float64; sums are taken in another order, so not to the last bit.
TOLERANCE = 1e-9


class Broken(Exception):
    """A law that does not hold, and what was seen."""


@dataclass(frozen=True)
class Case:
    """A cell with sizes, and random sequences for it."""

    cell: Cell
    input_size: int | None
    hidden_size: int | None
    backend: str
    seed: int

    @property
    def name(self) -> str:
        return str(self.cell.equations.name)

    @cached_property
    def layer(self) -> Recurrent:
        """A layer of the cell, in both directions, in float64 and eval mode."""
        torch.manual_seed(self.seed)
        for given in self._sizes():
            try:
                with warnings.catch_warnings():  # which size is tried is no concern of the user's
                    warnings.simplefilter("ignore", UserWarning)
                    layer = Recurrent(
                        self.cell,
                        *given,
                        bidirectional=True,
                        backend=self.backend,
                        dtype=torch.float64,
                    )
            except SizeError:
                continue
            return layer.eval()
        raise ArgumentError(
            f"no small sizes fit {self.name}; give input_size and hidden_size to check_cell"
        )

    def _sizes(self) -> Iterator[tuple[int, int]]:
        hidden = [self.hidden_size] if self.hidden_size else [5, 6, 8, 12, 7, 10, *range(1, 129)]
        events = [self.input_size] if self.input_size else [3, *range(1, 129)]
        # Distinct sizes first: where they may differ, an exchange of them must show.
        yield from sorted(
            product(events, hidden), key=lambda pair: (pair[0] != 3, pair[0] != pair[1])
        )

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """The event and the further inputs, `(T, B, size)`; the latter positive."""
        graph, sizes = self.layer.graph, self.layer.sizes(0)
        draw = torch.Generator().manual_seed(self.seed)
        found = {}
        for name, term in graph.inputs.items():
            shape = (STEPS, ROWS, number(term.size, sizes))
            first = name == graph.equations.event
            kind = torch.randn if first else torch.rand
            found[name] = kind(shape, generator=draw, dtype=torch.float64)
        return found

    @property
    def event(self) -> Tensor:
        """The event, `(T, B, I)`."""
        return next(iter(self.inputs.values()))

    def run(
        self, times: slice = slice(None), rows: Any = slice(None), hx: Any = None, **how: Any
    ) -> Any:
        """Outputs and states of a part of the sequences."""
        event, *further = ((name, one[times][:, rows]) for name, one in self.inputs.items())
        return self.layer(event[1], hx, **dict(further), **how)

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """The gradients of a loss for every weight that is learned; zero where nothing flows."""
        named = {name: one for name, one in self.layer.named_parameters() if one.requires_grad}
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {
            name: torch.zeros_like(one) if back is None else back
            for (name, one), back in zip(named.items(), found, strict=True)
        }


def tensors(states: Any) -> list[Tensor]:
    """The tensors of a layer's states."""
    if isinstance(states, Tensor):
        return [states]
    return [one for part in states for one in tensors(part)]


def same(one: Tensor, other: Tensor, what: str) -> None:
    """Refuse two tensors that should be one; infinities of the same sign are equal."""
    if one.shape != other.shape:
        raise Broken(f"{what} has shape {tuple(one.shape)}, and {tuple(other.shape)}")
    if not torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE):
        raise Broken(f"{what} differs by {(one - other).abs().max().item():.2g}")


def reading(case: Case) -> None:
    """Reading the step again gives the same equations."""
    if isinstance(case.cell, StoredCell):
        return
    if not read(case.cell).same_as(case.cell.equations):
        raise Broken("read twice, it has other equations; a step may depend on its fields alone")
    sizes = [case.layer.sizes(0)]
    if stored_form(case.cell, sizes) != stored_form(case.cell, sizes):
        raise Broken("computed twice, a fixed weight has other values; seed what is random in it")


def finite(case: Case) -> None:
    """Run from its start, all values and gradients are finite."""
    graph, weights = case.layer.graph, case.layer.pairs(0, False)
    start = starts(graph, case.layer.sizes(0), collect(graph, weights), ROWS, case.event)
    given = [torch.stack([one, one]).detach().requires_grad_() for one in start.values()]
    output, states = case.run(hx=given[0] if len(given) == 1 else tuple(given))
    if not output.isfinite().all():
        raise Broken("the output is not finite when it runs from its start")
    if any(one.isnan().any() for one in tensors(states)):
        raise Broken("a state is NaN when it runs from its start")
    for name, one in zip(
        start,
        torch.autograd.grad(output.sum(), given, retain_graph=True, allow_unused=True),
        strict=True,
    ):
        if one is not None and not one.isfinite().all():
            raise Broken(f"the gradient of the start of {name} is not finite")
    for name, gradient in case.gradients(output.sum()).items():
        if not gradient.isfinite().all():
            raise Broken(f"the gradient of {name} is not finite from its start")


def gradients(case: Case) -> None:
    """The derived adjoint of a step agrees with automatic differentiation."""
    graph, sizes = case.layer.graph, case.layer.sizes(0)
    leaves = {name: one[0].clone() for name, one in case.inputs.items()}
    states = {
        name: torch.randn(ROWS, number(term.size, sizes), dtype=torch.float64)
        for name, term in graph.states.items()
    }
    weights = collect(graph, case.layer.pairs(0, False))
    weights = {path: one.detach().clone() for path, one in weights.items()}
    wanted = {**weights, **states, **leaves}
    for one in wanted.values():
        one.requires_grad_()
    names = [name for name, term in graph.values.items() if not term.boolean]
    adjoint = graph.adjoint_of(*names)
    task = Run(
        graph,
        sizes,
        weights,
        leaves,
        [ROWS],
        states,
        states,
        expectations(graph, sizes, ROWS, next(iter(states.values())).detach()),
        names=names,
    )
    result = run(task)
    given = {"output": result.output} | result.values | result.states
    seeds = {name: torch.randn_like(given[name]) for name in adjoint.seeds}
    loss = sum((given[name] * seed).sum() for name, seed in seeds.items())
    expected = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)  # type: ignore[arg-type]
    with torch.no_grad():
        derived = step_gradients(task, adjoint, seeds)
    for (name, leaf), back in zip(wanted.items(), expected, strict=True):
        zero = torch.zeros_like(leaf)
        same(derived.get(name, zero), zero if back is None else back, f"the gradient of {name}")


def modes(case: Case) -> None:
    """Inference, training, a trace and the reference give the same values and gradients."""
    output, states = case.run()
    with torch.no_grad():
        inference, after = case.run()
    same(inference, output, "in inference and in training, the output")
    for a, b in zip(tensors(after), tensors(states), strict=True):
        same(a, b, "in inference and in training, a state")
    event, *further = case.inputs.items()
    trace: Any = case.layer.trace
    named = trace(event[1], **dict(further))
    for name, value in trace(event[1], grad=True, **dict(further)).items():
        if value.is_floating_point():
            same(value, named[name], f"with gradients and without, the trace of {name}")
    loss = [one.square().sum() for one in (output, *tensors(states))]
    ours = case.gradients(torch.stack(loss).sum())
    backend, case.layer.backend = case.layer.backend, "reference"
    try:
        expected, finals = case.run()
    finally:
        case.layer.backend = backend
    same(output, expected, "the output, and what the reference computes,")
    loss = [one.square().sum() for one in (expected, *tensors(finals))]
    for name, gradient in case.gradients(torch.stack(loss).sum()).items():
        same(ours[name], gradient, f"the gradient of {name}, and the reference's,")


def splitting(case: Case) -> None:
    """A sequence run in two parts, the states carried over, is the whole."""
    whole, _ = case.run()
    half = STEPS // 2
    width = whole.shape[-1] // 2
    first, states = case.run(slice(None, half))
    second, _ = case.run(slice(half, None), hx=states)
    same(torch.cat([first[..., :width], second[..., :width]]), whole[..., :width], "the output")
    late, states = case.run(slice(half, None))
    early, _ = case.run(slice(None, half), hx=states)
    reverse = torch.cat([early[..., width:], late[..., width:]])
    same(reverse, whole[..., width:], "the output in reverse")


def rows(case: Case) -> None:
    """A row of a batch gives the same alone, and adds its own share to each gradient."""
    whole, states = case.run()
    total = [torch.zeros_like(one) for one in case.layer.parameters() if one.requires_grad]
    for row in range(ROWS):
        one, after = case.run(rows=[row])
        same(one, whole[:, [row]], f"row {row} alone")
        for a, b in zip(tensors(after), tensors(states), strict=True):
            same(a, b[:, [row]], f"the state of row {row} alone")
        for sum_, gradient in zip(total, case.gradients(one.square().sum()).values(), strict=True):
            sum_ += gradient
    expected = case.gradients(whole.square().sum())
    for (name, gradient), sum_ in zip(expected.items(), total, strict=True):
        same(sum_, gradient, f"the gradient of {name}, row by row,")


def padding(case: Case) -> None:
    """What stands behind a row's last step changes nothing, not even a gradient."""
    lengths = [STEPS, 0, STEPS - 2]
    clean, states = case.run(lengths=lengths)
    expected = case.gradients(clean.square().sum())
    dirty = {name: one.clone() for name, one in case.inputs.items()}
    for one in dirty.values():
        for row, length in enumerate(lengths):
            one[length:, row] = float("nan")
    event, *further = dirty.items()
    output, after = case.layer(event[1], lengths=lengths, **dict(further))
    same(output, clean, "with NaN in the padding, the output")
    for one, other in zip(tensors(after), tensors(states), strict=True):
        same(one, other, "with NaN in the padding, a state")
    for name, gradient in case.gradients(output.square().sum()).items():
        same(gradient, expected[name], f"with NaN in the padding, the gradient of {name}")
    alone, after = case.run(slice(None, lengths[2]), rows=[2])
    same(clean[: lengths[2], [2]], alone, "a padded row and the same row alone: the output")
    for one, other in zip(tensors(after), tensors(states), strict=True):
        same(one, other[:, [2]], "a padded row and the same row alone: a state")


def restarts(case: Case) -> None:
    """A start within a sequence is the beginning of a new one, in both directions."""
    half = STEPS // 2
    starts = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    starts[half, 1] = starts[0, 1] = True
    width = case.run()[0].shape[-1] // 2
    given = [torch.randn_like(one) for one in tensors(case.run()[1])]
    hx = given[0] if len(given) == 1 else tuple(given)
    output, _ = case.run(hx=hx, starts=starts)
    first, _ = case.run(slice(None, half), rows=[1])
    second, _ = case.run(slice(half, None), rows=[1])
    expected = torch.cat([first, second])
    same(output[:, [1], :width], expected[..., :width], "after a restart, the output")
    same(output[:half, [1], width:], expected[:half, :, width:], "before one, in reverse, it")
    free, _ = case.run(hx=hx)
    same(output[:, [0, 2]], free[:, [0, 2]], "another row's output")


def printing(case: Case) -> None:
    """The equations print, and the diagram is well-formed; a cell too large for one has none."""
    cell = case.cell
    for printed in (str(cell), cell.latex(), cell.latex(names="lesson")):
        if not printed.strip():
            raise Broken("it prints nothing")
    try:
        drawn = cell.svg()
    except TooLarge:
        return
    ElementTree.fromstring(drawn)


def saving(case: Case) -> None:
    """A saved layer comes back with the same equations and the same output."""
    with tempfile.TemporaryDirectory() as directory:
        path = save(case.layer, Path(directory) / "model")
        back = load(path).eval()
    event, *further = case.inputs.items()
    with torch.no_grad():
        same(back(event[1], **dict(further))[0], case.run()[0], "loaded again, the output")
    if str(back.cell) != str(case.cell):
        raise Broken("loaded again, it prints other equations")


#: The laws by name, in the order of the report.
LAWS: dict[str, Callable[[Case], None]] = {
    "reading": reading,
    "finite values": finite,
    "gradients": gradients,
    "training and inference": modes,
    "split and carry": splitting,
    "batch independence": rows,
    "padding": padding,
    "restarts": restarts,
    "printing": printing,
    "saving": saving,
}
