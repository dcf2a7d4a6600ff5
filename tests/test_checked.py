"""The checked build: an access out of bounds raises an error with names, and does no damage.

The build is chosen once a process, so the functions in `FAULTS` are called in another one, in
turn: a violation damages nothing, so it is the same process that goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gatewright as gw
from example_count import example_count
from gatewright.backends import order
from gatewright.backends.checked_build import checked
from gatewright.backends.llvm import memory
from gatewright.backends.llvm.call_list import NOWHERE, Program
from gatewright.errors import KernelError

#: The number of random cells that are compared with the reference in the checked build. Each takes
#: 2.8 s, so `./dev test` leaves most of them to `./dev checked`.
EXAMPLES = example_count(6 if checked() else 1)


def wrong_index() -> None:
    """A step that reads its states after the last row."""
    original = order.even

    def even(steps: int, batch: int, reverse: bool) -> order.Order:
        right = original(steps, batch, reverse)
        return replace(right, before=right.before + 10_000)

    order.even = even  # type: ignore[assignment]
    gw.GRU(5, 16)(torch.zeros(3, 2, 5))


def wrong_index_of_a_stepper() -> None:
    stepper = gw.GRU(5, 16).stepper(2)
    stepper.step(torch.zeros(2, 5))
    stream = stepper._stream
    stream.layers[0].memory.halves[1].add_(10_000)
    stepper.step(torch.zeros(2, 5))
    stepper.step(torch.zeros(2, 5))


def wrong_weight() -> None:
    """A matrix that has fewer numbers than its table says."""
    original = Program.add_header

    def add_header(self: Program, table: list[object]) -> None:
        original(
            self,
            [
                span._replace(end=span.end - 1)
                if list(self.bases)[span.base] == "input 1"
                else span
                for span in map(spanned, table)
            ],
        )

    Program.add_header = add_header  # type: ignore[assignment, method-assign]
    gw.RNN(5, 16)(torch.zeros(3, 2, 5))


def spanned(entry: object) -> object:
    return NOWHERE if isinstance(entry, int) else entry


def written_guard() -> None:
    """Other code writes in front of a block."""
    block = memory.POOL.take(torch.float32, 8)
    assert block.isnan().all()
    owner = list(memory.GUARDED.values())[-1]()
    assert owner is not None
    owner[memory.GUARD - 1] = 0.0
    memory.check_guards()


def nothing() -> None:
    """No fault."""
    torch.manual_seed(0)
    for layer in (gw.LSTM(5, 7), gw.GRU(5, 16), gw.PeepholeLSTM(5, 9)):
        assert checked()
        for _ in range(3):
            layer(torch.randn(4, 3, 5, requires_grad=True))[0].sum().backward()
        layer.stepper().step(torch.randn(1, 5))


#: Each with words of its error. The last one leaves a damaged guard behind.
FAULTS: dict[str, tuple[Callable[[], None], list[str]]] = {
    "wrong_index": (wrong_index, ["kernel loop_", "reads", "state h'"]),
    "wrong_index_of_a_stepper": (
        wrong_index_of_a_stepper,
        ["step of layer 0", "reads", "'state h'"],
    ),
    "wrong_weight": (wrong_weight, ["kernel before_training", "reads", "'before vector "]),
    "nothing": (nothing, []),
    "written_guard": (written_guard, ["guard zones of a block of 136 numbers"]),
}


def main() -> None:
    """Print the errors of all faults in JSON."""
    errors = {}
    for name, (fault, _) in FAULTS.items():
        right = order.even, Program.add_header
        try:
            fault()
        except KernelError as error:
            errors[name] = str(error)
        finally:
            order.even, Program.add_header = right  # type: ignore[method-assign]
    print(json.dumps(errors))


@pytest.fixture(scope="module")
def errors() -> dict[str, str]:
    """The errors that the faults raise, by name."""
    ended = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "GATEWRIGHT_CHECKED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("name", [name for name, (_, words) in FAULTS.items() if words])
def test_a_violation_raises_with_names(name: str, errors: dict[str, str]):
    for part in FAULTS[name][1]:
        assert part in errors[name]


def test_runs_without_a_fault_pass(errors: dict[str, str]):
    assert "nothing" not in errors


@pytest.mark.slow(instead="test_a_violation_raises_with_names")
def test_random_cells_in_the_checked_build():
    script = Path(__file__).parent / "checked_cells.py"
    ended = subprocess.run(
        [sys.executable, str(script), str(EXAMPLES)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{EXAMPLES} cells")


if __name__ == "__main__":
    main()
