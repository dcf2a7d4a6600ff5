"""Random cells in the checked build: `python checked_cells.py COUNT [FIRST]`.

Each cell runs with several sizes, layouts and options, both on the backends and in a layer, and is
compared with the reference: values, states, all gradients. A kernel that reads or writes out of
bounds raises, and one whose result depends on memory that was not written gives NaN.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

os.environ["GATEWRIGHT_CHECKED"] = "1"

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, seed, settings
from torch import Tensor

import gatewright as gw
from gatewright.backends import choose, llvm
from gatewright.backends.run import Run
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from random_cells import Program, build, programs
from test_kernels import LAYOUTS, task_of

#: Input and hidden sizes that the heads of random cells divide: below, at and above one vector.
SIZES = [(5, 6), (10, 12), (5, 18), (15, 24), (20, 48), (5, 96)]
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Kind:
    """Options that need kernels of their own, so each cell has only one of them."""

    names: bool
    hold: str | None
    inputs: bool

    @classmethod
    def draw(cls, graph: Graph, chance: random.Random) -> Kind:
        """Draw the options for the runs of a graph."""
        numbers = [name for name, term in graph.values.items() if not term.boolean]
        hold = chance.choice(numbers) if numbers and chance.random() < 0.15 else None
        return cls(chance.random() < 0.25, hold, chance.random() < 0.7)


def draw_task(graph: Graph, kind: Kind, chance: random.Random, state: int) -> Run:
    """A run with random sizes, layout, options, and leaves that require gradients."""
    sizes = dict(zip(("input", "hidden"), chance.choice(SIZES), strict=True))
    task = task_of(
        graph,
        sizes,
        torch.float64,
        chance.choice(LAYOUTS),
        reverse=chance.random() < 0.5,
        restart=chance.random() < 0.5,
        states=chance.random() < 0.7,
        names=kind.names,
        seed=state,
    )
    asking = chance.choice([0.0, 0.3, 0.7, 1.0])
    leaves = [*task.weights.values(), *task.inputs.values(), *task.states.values()]
    for leaf in leaves:
        if leaf.is_leaf:
            leaf.requires_grad_(chance.random() < asking)
    for position, event in enumerate(task.inputs.values()):
        event.requires_grad_(kind.inputs and (position == 0 or chance.random() < asking))
    if kind.hold is not None:
        size = number(graph.values[kind.hold].size, sizes)
        value = torch.randn(sum(task.rows), size, dtype=torch.float64)
        asks = kind.inputs and chance.random() < 0.5
        task = replace(task, hold={kind.hold: value.requires_grad_(asks)})
    return task


def results(backend: str, task: Run, present: random.Random) -> dict[str, Tensor]:
    """Values and gradients, with random upstream gradients on some of the values."""
    result = choose.run_on(backend, task)
    values = {"output": result.output}
    values |= {f"state {name}": value for name, value in result.states.items()}
    values |= {f"value {name}": value for name, value in result.values.items()}
    groups = {"weight": task.weights, "input": task.inputs, "state": task.states, "hold": task.hold}
    leaves = {
        f"{kind} {name}": leaf
        for kind, group in groups.items()
        for name, leaf in group.items()
        if leaf.requires_grad and leaf.is_leaf
    }
    generator = torch.Generator().manual_seed(7)
    seeds = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in values.items()
        if value.is_floating_point()
    }
    drawn = [name for name in seeds if present.random() < 0.7]
    reached = [name for name in drawn if values[name].requires_grad]
    detached = {name: value.detach() for name, value in values.items()}
    gradients: Any = [None] * len(leaves)
    if reached and leaves and torch.is_grad_enabled():
        gradients = torch.autograd.grad(
            [values[name] for name in reached],
            list(leaves.values()),
            [seeds[name] for name in reached],
            allow_unused=True,
        )
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        detached[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return detached


def differences(ours: dict[str, Tensor], truth: dict[str, Tensor]) -> Iterator[str]:
    """Descriptions of the values that differ by more than the tolerance."""
    assert list(ours) == list(truth)
    for name, expected in truth.items():
        if expected.dtype == torch.bool:
            same = torch.equal(ours[name], expected)
        else:
            scale = max(1.0, expected.nan_to_num().norm().item())
            same = torch.allclose(
                ours[name], expected, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True
            )
        if not same:
            yield f"{name}: {ours[name]} for {expected}"


def check_layer(cell: gw.Cell, kind: Kind, chance: random.Random) -> None:
    """Compare repeated calls of a layer, and its stepper, with the reference."""
    input_size, hidden_size = chance.choice(SIZES)
    options = {
        "num_layers": chance.choice([1, 1, 2]),
        "bidirectional": chance.random() < 0.3,
        "batch_first": chance.random() < 0.5,
        "bias": chance.random() < 0.8,
    }
    try:
        layer = gw.Recurrent(cell, input_size, hidden_size, dtype=torch.float64, **options)
    except gw.errors.SizeError:  # a second layer cannot read an output of this size
        options |= {"num_layers": 1}
        layer = gw.Recurrent(cell, input_size, hidden_size, dtype=torch.float64, **options)
    truth = gw.Recurrent(
        cell, input_size, hidden_size, dtype=torch.float64, backend="reference", **options
    )
    truth.load_state_dict(layer.state_dict())
    layer.eval(), truth.eval()
    further = {"d": torch.randn(3, 4, dtype=torch.float64)} if layer.graph.equations.inputs else {}
    for call in range(3):
        x = torch.randn(3, 4, input_size, dtype=torch.float64)
        by_module = []
        for module in (layer, truth):
            leaf = x.clone().requires_grad_(kind.inputs)
            module.zero_grad()
            # The middle call computes its forward pass again, in segments of two steps and one.
            again = {"recompute": 2} if call == 1 and module is layer else {}
            output, states = module(leaf, **further, **again)
            last = states if isinstance(states, tuple) else (states,)
            loss = output.square().sum()
            for state in last:
                if isinstance(state, Tensor):
                    loss = loss + state.sum()
            if loss.requires_grad:
                loss.backward()
            results = {"output": output.detach(), "input": leaf.grad}
            results |= {name: p.grad for name, p in module.named_parameters()}
            zero = torch.zeros((), dtype=torch.float64)
            by_module.append({k: zero if v is None else v for k, v in results.items()})
        problems = [
            name
            for name, value in by_module[1].items()
            if not torch.allclose(
                by_module[0][name], value, rtol=1e-8, atol=1e-8 * max(1.0, value.norm().item()),
                equal_nan=True,
            )
        ]  # fmt: skip
        assert not problems, (call, options, problems)
    if not options["bidirectional"] and not further:
        x = torch.randn(4, 2, input_size, dtype=torch.float64)
        stepper = layer.stepper(2, dtype=torch.float64)
        steps = torch.stack([torch.as_tensor(stepper.step(row)).clone() for row in x])
        with torch.no_grad():
            output = truth(x.transpose(0, 1) if options["batch_first"] else x)[0]
        output = output.transpose(0, 1) if options["batch_first"] else output
        torch.testing.assert_close(steps, output, rtol=1e-8, atol=1e-8, equal_nan=True)


def check_cell(program: Program, number_of_cell: int) -> int:
    """Check one random cell; return the number of runs."""
    cell = build(program)
    chance = random.Random(number_of_cell)
    kind = Kind.draw(cell.graph, chance)
    runs = 0
    for turn in range(4):
        task = draw_task(cell.graph, kind, chance, turn)
        if llvm.why_not(task) is not None:
            continue
        state = chance.random()
        pair = [results(b, task, random.Random(state)) for b in ("llvm", "reference")]
        problems = list(differences(*pair))
        assert not problems, problems
        with torch.no_grad():
            pair = [results(b, task, random.Random(state)) for b in ("llvm", "reference")]
        problems = list(differences(*pair))
        assert not problems, problems
        runs += 2
    check_layer(cell, kind, chance)
    return runs + 3


def main(count: int, first: int) -> None:
    """Check random cells, and print how many cells and runs there were."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    done = {"cells": 0, "runs": 0}

    @seed(first)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(programs())
    def check(program: Program) -> None:
        torch.manual_seed(done["cells"])
        done["runs"] += check_cell(program, done["cells"] + first)
        done["cells"] += 1

    check()
    print(f"{done['cells']} cells, {done['runs']} runs")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
