"""The laws of cells: for each a function that raises `Broken` where a cell breaks it."""

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
from gatewright.layers.call_results import tensors_in
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.saving import load, save

#: T and B of the sequences.
STEPS, ROWS = 6, 3
#: In float64. Backends add up in another order, so results differ in their last bits.
TOLERANCE = 1e-9


class Broken(Exception):
    """A law that does not hold, with the observed difference."""


@dataclass(frozen=True)
class LawCase:
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
        for sizes in self._sizes():
            try:
                with warnings.catch_warnings():  # of sizes that the user did not choose
                    warnings.simplefilter("ignore", UserWarning)
                    layer = Recurrent(
                        self.cell,
                        *sizes,
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
        # Distinct sizes first, so that a mix-up of the two shows.
        yield from sorted(
            product(events, hidden), key=lambda pair: (pair[0] != 3, pair[0] != pair[1])
        )

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """The event and the further inputs, `(T, B, size)`; the latter positive."""
        graph, sizes = self.layer.graph, self.layer.sizes(0)
        generator = torch.Generator().manual_seed(self.seed)
        inputs = {}
        for name, term in graph.inputs.items():
            shape = (STEPS, ROWS, number(term.size, sizes))
            draw = torch.randn if name == graph.equations.event else torch.rand
            inputs[name] = draw(shape, generator=generator, dtype=torch.float64)
        return inputs

    @property
    def event(self) -> Tensor:
        """The event, `(T, B, I)`."""
        return next(iter(self.inputs.values()))

    def run(
        self, times: slice = slice(None), rows: Any = slice(None), hx: Any = None, **options: Any
    ) -> Any:
        """Outputs and states of a part of the sequences."""
        return self.run_on(
            {name: x[times][:, rows] for name, x in self.inputs.items()}, hx, options
        )

    def run_on(self, inputs: dict[str, Tensor], hx: Any, options: dict[str, Any]) -> Any:
        """Outputs and states for the event and the further inputs."""
        (_, event), *further = inputs.items()
        return self.layer(event, hx, **dict(further), **options)

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """The gradients of a loss for every weight that is learned; zero where nothing flows."""
        weights = {name: w for name, w in self.layer.named_parameters() if w.requires_grad}
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        return {
            name: torch.zeros_like(weight) if gradient is None else gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }


def tensors(states: Any) -> list[Tensor]:
    """The tensors of a layer's states."""
    return list(tensors_in(states))


def bare(states: list[Tensor]) -> Any:
    """States in the form of a layer's `hx`."""
    return states[0] if len(states) == 1 else tuple(states)


def squares(*results: Tensor) -> Tensor:
    """A loss that all numbers of some tensors contribute to."""
    return torch.stack([result.square().sum() for result in results]).sum()


def same(a: Tensor, b: Tensor, title: str) -> None:
    """Refuse two tensors that should be equal; infinities of the same sign are."""
    if a.shape != b.shape:
        raise Broken(f"{title} has shape {tuple(a.shape)}, and {tuple(b.shape)}")
    if not torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE):
        raise Broken(f"{title} differs by {(a - b).abs().max().item():.2g}")


def reading(case: LawCase) -> None:
    """Reading the step again gives the same equations."""
    if isinstance(case.cell, StoredCell):
        return
    if not read(case.cell).same_as(case.cell.equations):
        raise Broken(
            "read twice, it has other equations; a step may depend on nothing but the cell's fields"
        )
    sizes = [case.layer.sizes(0)]
    if stored_form(case.cell, sizes) != stored_form(case.cell, sizes):
        raise Broken("computed twice, a fixed weight has other values; seed what is random in it")


def finite(case: LawCase) -> None:
    """Run from its start, all values and gradients are finite."""
    graph, weights = case.layer.graph, case.layer.pairs(0, False)
    start = starts(graph, case.layer.sizes(0), collect(graph, weights), ROWS, case.event)
    states = [torch.stack([s, s]).detach().requires_grad_() for s in start.values()]
    output, after = case.run(hx=bare(states))
    if not output.isfinite().all():
        raise Broken("the output is not finite when it runs from its start")
    if any(state.isnan().any() for state in tensors(after)):
        raise Broken("a state is NaN when it runs from its start")
    gradients = torch.autograd.grad(output.sum(), states, retain_graph=True, allow_unused=True)
    for name, gradient in zip(start, gradients, strict=True):
        if gradient is not None and not gradient.isfinite().all():
            raise Broken(f"the gradient of the start of {name} is not finite")
    for name, gradient in case.gradients(output.sum()).items():
        if not gradient.isfinite().all():
            raise Broken(f"the gradient of {name} is not finite from its start")


def gradients(case: LawCase) -> None:
    """The derived adjoint of a step agrees with automatic differentiation."""
    graph, sizes = case.layer.graph, case.layer.sizes(0)
    inputs = {name: sequence[0].clone() for name, sequence in case.inputs.items()}
    states = {
        name: torch.randn(ROWS, number(term.size, sizes), dtype=torch.float64)
        for name, term in graph.states.items()
    }
    weights = {
        path: weight.detach().clone()
        for path, weight in collect(graph, case.layer.pairs(0, False)).items()
    }
    leaves = {**weights, **states, **inputs}
    for leaf in leaves.values():
        leaf.requires_grad_()
    names = [name for name, term in graph.values.items() if not term.boolean]
    adjoint = graph.adjoint_of(*names)
    step = Run(
        graph,
        sizes,
        weights,
        inputs,
        [ROWS],
        states,
        states,
        expectations(graph, sizes, ROWS, next(iter(states.values())).detach()),
        names=names,
    )
    result = run(step)
    outcomes = {"output": result.output} | result.values | result.states
    seeds = {name: torch.randn_like(outcomes[name]) for name in adjoint.seeds}
    loss = torch.stack([(outcomes[name] * seed).sum() for name, seed in seeds.items()]).sum()
    expected = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    with torch.no_grad():
        derived = step_gradients(step, adjoint, seeds)
    for (name, leaf), gradient in zip(leaves.items(), expected, strict=True):
        zero = torch.zeros_like(leaf)
        gradient = zero if gradient is None else gradient
        same(derived.get(name, zero), gradient, f"the gradient of {name}")


def modes(case: LawCase) -> None:
    """Inference, training, a trace and the reference give the same values and gradients."""
    output, states = case.run()
    with torch.no_grad():
        inference, after = case.run()
    same(inference, output, "in inference and in training, the output")
    for a, b in zip(tensors(after), tensors(states), strict=True):
        same(a, b, "in inference and in training, a state")
    (_, event), *further = case.inputs.items()
    trace: Any = case.layer.trace
    values = trace(event, **dict(further))
    for name, value in trace(event, grad=True, **dict(further)).items():
        if value.is_floating_point():
            same(value, values[name], f"with gradients and without, the trace of {name}")
    own = case.gradients(squares(output, *tensors(states)))
    backend, case.layer.backend = case.layer.backend, "reference"
    try:
        expected, finals = case.run()
    finally:
        case.layer.backend = backend
    same(output, expected, "the output, and what the reference computes,")
    for name, gradient in case.gradients(squares(expected, *tensors(finals))).items():
        same(own[name], gradient, f"the gradient of {name}, and the reference's,")


def splitting(case: LawCase) -> None:
    """A sequence run in two parts, with the states carried over, equals one run."""
    output, _ = case.run()
    half = STEPS // 2
    width = output.shape[-1] // 2
    first, states = case.run(slice(None, half))
    second, _ = case.run(slice(half, None), hx=states)
    same(torch.cat([first[..., :width], second[..., :width]]), output[..., :width], "the output")
    late, states = case.run(slice(half, None))
    early, _ = case.run(slice(None, half), hx=states)
    reverse = torch.cat([early[..., width:], late[..., width:]])
    same(reverse, output[..., width:], "the output in reverse")


def rows(case: LawCase) -> None:
    """A row of a batch gives the same by itself, and adds its own share to each gradient."""
    output, states = case.run()
    expected = case.gradients(squares(output))
    totals = {name: torch.zeros_like(gradient) for name, gradient in expected.items()}
    for row in range(ROWS):
        single, after = case.run(rows=[row])
        same(single, output[:, [row]], f"row {row} by itself")
        for a, b in zip(tensors(after), tensors(states), strict=True):
            same(a, b[:, [row]], f"the state of row {row} by itself")
        for name, gradient in case.gradients(squares(single)).items():
            totals[name] += gradient
    for name, gradient in expected.items():
        same(totals[name], gradient, f"the gradient of {name}, row by row,")


def padding(case: LawCase) -> None:
    """The padding after a row's last step changes nothing, not even a gradient."""
    lengths = [STEPS, 0, STEPS - 2]
    clean, states = case.run(lengths=lengths)
    expected = case.gradients(squares(clean))
    dirty = {name: sequence.clone() for name, sequence in case.inputs.items()}
    for sequence in dirty.values():
        for row, length in enumerate(lengths):
            sequence[length:, row] = float("nan")
    output, after = case.run_on(dirty, None, {"lengths": lengths})
    same(output, clean, "with NaN in the padding, the output")
    for a, b in zip(tensors(after), tensors(states), strict=True):
        same(a, b, "with NaN in the padding, a state")
    for name, gradient in case.gradients(squares(output)).items():
        same(gradient, expected[name], f"with NaN in the padding, the gradient of {name}")
    single, after = case.run(slice(None, lengths[2]), rows=[2])
    same(clean[: lengths[2], [2]], single, "a padded row and the same row by itself: the output")
    for a, b in zip(tensors(after), tensors(states), strict=True):
        same(a, b[:, [2]], "a padded row and the same row by itself: a state")


def restarts(case: LawCase) -> None:
    """A start within a sequence begins a new one, in both directions."""
    half = STEPS // 2
    starts = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    starts[half, 1] = starts[0, 1] = True
    output, states = case.run()
    width = output.shape[-1] // 2
    hx = bare([torch.randn_like(state) for state in tensors(states)])
    output, _ = case.run(hx=hx, starts=starts)
    first, _ = case.run(slice(None, half), rows=[1])
    second, _ = case.run(slice(half, None), rows=[1])
    expected = torch.cat([first, second])
    same(output[:, [1], :width], expected[..., :width], "after a restart, the output")
    same(output[:half, [1], width:], expected[:half, :, width:], "before one, in reverse, it")
    free, _ = case.run(hx=hx)
    same(output[:, [0, 2]], free[:, [0, 2]], "another row's output")


def recomputing(case: LawCase) -> None:
    """Computed again in the backward pass, results and gradients are the same."""
    output, states = case.run()
    expected = case.gradients(squares(output, *tensors(states)))
    again, after = case.run(recompute=STEPS // 2 + 1)  # the last segment is shorter
    same(again, output, "with recompute, the output")
    for a, b in zip(tensors(after), tensors(states), strict=True):
        same(a, b, "with recompute, a state")
    for name, gradient in case.gradients(squares(again, *tensors(after))).items():
        same(gradient, expected[name], f"with recompute, the gradient of {name}")


def printing(case: LawCase) -> None:
    """The equations print, and the diagram is well-formed if the cell is not too large for it."""
    cell = case.cell
    for text in (str(cell), cell.latex(), cell.latex(names="lesson")):
        if not text.strip():
            raise Broken("it prints nothing")
    try:
        diagram = cell.svg()
    except TooLarge:
        return
    ElementTree.fromstring(diagram)


def saving(case: LawCase) -> None:
    """A saved layer has the same equations and the same output after loading."""
    with tempfile.TemporaryDirectory() as directory:
        path = save(case.layer, Path(directory) / "model")
        loaded = load(path).eval()
    (_, event), *further = case.inputs.items()
    with torch.no_grad():
        same(loaded(event, **dict(further))[0], case.run()[0], "loaded again, the output")
    if str(loaded.cell) != str(case.cell):
        raise Broken("loaded again, it prints other equations")


#: The laws by name, in the order of the report.
LAWS: dict[str, Callable[[LawCase], None]] = {
    "reading": reading,
    "finite values": finite,
    "gradients": gradients,
    "training and inference": modes,
    "split and carry": splitting,
    "batch independence": rows,
    "padding": padding,
    "restarts": restarts,
    "recomputation": recomputing,
    "printing": printing,
    "saving": saving,
}
