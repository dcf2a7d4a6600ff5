"""The choice to read sequences in chunks, where as a whole they would take too long or too much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewright.designs.design import Design
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
    if not is_large and (not task.every_step or longest <= MAX_WHOLE):
        return None, ""
    amounts = f"about {in_gigabytes(needed)}"
    if free is not None:
        amounts += f", and {in_gigabytes(free)} are free for {processes} of them"
    can_be_cut = task.every_step and not any(
        variant.recipe.design.needs_whole_sequence for variant in variants[:1]
    )
    if not can_be_cut:
        return None, (
            f"warning: sequences have up to {longest:,} steps, and a step of training takes "
            f"{amounts}: compute values again in place of keeping them (--recompute auto), read "
            "several steps as one event (--segment), or take fewer units (--hidden)"
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
    steps = int(training.lengths.max()) // design.segment
    if recipe.chunk is not None and design.reads_last:
        steps = min(steps, recipe.chunk)
    if recipe.recompute:  # what a step keeps then, output and its gradient, is a sixth
        return UNIT_BYTES // 6 * units * rows * steps
    return UNIT_BYTES * units * rows * steps


def chunk_problem(design: Design, chunk: int | None) -> str | None:
    """Return why gradients cannot end at chunks of whole sequences, or None."""
    if chunk is None:
        return None
    if not design.trained:
        return f"chunk is {chunk}, and a design that is not trained has no gradients: leave one out"
    if design.bidirectional:
        return (
            f"chunk is {chunk}, and the design reads from both ends: the states that come from the "
            "end are not known before all chunks were read. Take one direction, or leave chunk "
            "out: recompute bounds the memory too, with whole gradients"
        )
    return None


def chunk_note(task: Task, design: Design, chunk: int, recompute: int | None) -> str:
    """Return the sentence on what a chunk means for a task and a design."""
    if task.every_step:
        return f"Sequences are read in chunks of {chunk} steps, at which gradients end."
    if design.reads_last:
        return (
            f"Gradients reach back {chunk} steps from the last step of a sequence; the steps "
            "before these only set the states."
        )
    line = f"Gradients end at every {chunk} steps of a sequence"
    if recompute:
        return f"{line}."
    return f"{line}; all outputs are read, so a training step takes the memory of whole sequences."


def in_gigabytes(amount: int) -> str:
    """Return an amount of memory in words."""
    return f"{amount / 1e9:.1f} GB"
