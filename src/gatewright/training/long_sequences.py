"""The choice to read sequences in chunks, where as a whole they would take too long or too much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewright.tasks.task import Task
from gatewright.training.free_memory import free_memory
from gatewright.training.processes.cores import MAX_PROCESSES, usable_cores
from gatewright.training.variants import Variant

#: Steps of a chunk where the user names none: recurrent networks seldom learn from farther back.
CHUNK = 500
#: Longest sequence that is read as a whole: longer ones would give few steps of the optimizer.
MAX_WHOLE = 20_000
#: Bytes that a training step takes for each unit, step and row: of an LSTM four gates and two
#: states in float32, and as much for their gradients.
UNIT_BYTES = 48
#: Share of the free memory that the trainings side by side may take.
MEMORY_SHARE = 0.5


def choose_chunk(task: Task, training: Any, variants: Sequence[Variant]) -> tuple[int | None, str]:
    """Return the steps of a chunk, or None to read whole sequences; and a line for the user.

    Args:
        variants: What is to be tried, of a task that reads whole sequences.
    """
    if task.overlap or task.symbols is not None:  # windows and texts take little at once
        return None, ""
    longest = int(training.lengths.max())
    needed = max(step_bytes(variant, training) for variant in variants)
    free = free_memory()
    processes = min(usable_cores(), MAX_PROCESSES)
    is_large = free is not None and needed * processes > MEMORY_SHARE * free
    if not is_large and (task.why_whole or longest <= MAX_WHOLE):
        return None, ""
    amounts = f"about {in_gigabytes(needed)}"
    if free is not None:
        amounts += f", and {in_gigabytes(free)} are free for {processes} of them"
    can_be_cut = not task.why_whole and not any(
        variant.recipe.design.needs_whole_sequence for variant in variants[:1]
    )
    if not can_be_cut:
        return None, (
            f"warning: sequences have up to {longest:,} steps, and a step of training takes "
            f"{amounts}: give shorter sequences, fewer units (--hidden), or read several steps "
            "as one event (--segment)"
        )
    return CHUNK, (
        f"sequences have up to {longest:,} steps and are read in chunks of {CHUNK}: states are "
        "carried through, gradients end at each chunk (--chunk)"
    )


def step_bytes(variant: Variant, training: Any) -> int:
    """Return the bytes that a step of training takes for whole sequences, roughly."""
    design, recipe = variant.recipe.design, variant.recipe
    if not design.trained:
        return 0
    rows = min(recipe.batch_size, len(training))
    units = max(variant.hidden_sizes.values()) * design.layers * (1 + design.bidirectional)
    return UNIT_BYTES * units * rows * int(training.lengths.max()) // design.segment


def in_gigabytes(amount: int) -> str:
    """Return an amount of memory in words."""
    return f"{amount / 1e9:.1f} GB"
