"""Runs in segments, for long sequences: the backward pass computes most of the forward pass again.

A run saves some values of each step for its backward pass, so the memory of a training step grows
with the number of steps T. Here a run is cut into segments of k steps. The forward pass keeps the
states between segments only. The backward pass takes the segments from the last to the first: it
runs a segment again, this time saving its values, and differentiates it. So T / k states and the
values of k steps are in memory at a time, which is least where k is about the square root of T.
Each segment is a run like any other: no backend knows of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gatewright.backends.choose import pick, run_on
from gatewright.backends.conditions import why_transformed, why_watched
from gatewright.backends.fallback import aliases, gradients_by_operations, without_tensors
from gatewright.backends.no_dynamo import untraced
from gatewright.backends.run import Result, Run
from gatewright.backends.saved import SavedTensors
from gatewright.errors import ArgumentError, BackendError
from gatewright.graph.sizes import number

#: The fields of a run whose tensors have gradients, in the order of `tensors_of`.
GROUPS = ("weights", "inputs", "states", "fresh")


class Segment(NamedTuple):
    """Some successive steps of a run, and their packed rows."""

    steps: slice
    rows: slice


def check_recompute(recompute: Any) -> None:
    """Refuse a `recompute` that is no number of steps.

    Raises:
        ArgumentError: naming the value and the expected ones.
    """
    if recompute is None or isinstance(recompute, bool):
        return
    if not isinstance(recompute, int) or recompute < 1:
        raise ArgumentError(
            f"recompute is {recompute!r}; expected the number of steps between two states that are "
            "kept, a whole number from 1, or True for the square root of the number of steps"
        )


def segments(run: Run, recompute: int) -> list[Segment]:
    """Cut a run into segments, in the order in which they run."""
    steps = len(run.rows)
    length = max(1, round(steps**0.5)) if recompute is True else recompute
    offsets = [0, *accumulate(run.rows)]
    parts = []
    for first in range(0, steps, length):
        end = min(first + length, steps)
        parts.append(Segment(slice(first, end), slice(offsets[first], offsets[end])))
    return parts[::-1] if run.reverse else parts


def run_recomputed(backend: str, run: Run, recompute: int) -> Result:
    """Run on the backend of a name, and compute again in the backward pass.

    Args:
        run: A run that holds no values and returns none.
        recompute: The number of steps of a segment; True for the square root of T.

    Raises:
        BackendError: if the backend was asked for by name and cannot run it, or if a transform of
            torch would differentiate it.
    """
    run = run if run.restart is not None else replace(run, fresh={})
    tensors = tensors_of(run)
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if not learns or not sum(run.rows):
        return run_on(backend, run)
    if (reason := why_transformed()) is not None:
        raise BackendError(
            f"recompute={recompute} cannot run: {reason}, which needs the operations of the whole "
            "forward pass; leave recompute out"
        )
    pick(backend, run)  # refuses what cannot be differentiated
    output, *last = RecomputedRun.apply(backend, segments(run, recompute), run, *tensors)
    return Result(output, dict(zip(run.graph.states, last, strict=True)), {})


class RecomputedRun(torch.autograd.Function):
    """A run that saves its inputs, and the states between its segments."""

    @staticmethod
    def forward(
        ctx: Any, backend: str, parts: Sequence[Segment], run: Run, *tensors: Tensor
    ) -> Any:
        # Detached: autocast would keep converted weights for later calls, without their graph.
        own = with_tensors(run, [tensor.detach() for tensor in tensors])
        output, borders, states = run_segments(backend, parts, own)
        noises = [noise if is_repeated(noise) else to_bits(noise) for noise in run.noises]
        saved = [*tensors, *noises, *borders]
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        ctx.saved_as = SavedTensors(saved)
        ctx.run = backend, parts, without_tensors(run), autocast_now(output.device.type)
        return output, *states

    @staticmethod
    @untraced
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        backend, parts, run, autocast = ctx.run
        rest = iter(ctx.saved_as.restored(ctx.saved_tensors))
        tensors = [next(rest) for _ in tensors_of(run)]
        run = replace(run, noises=[next(rest) for _ in run.noises])
        if torch.is_grad_enabled() or why_watched() is not None:
            with autocast():
                return *NOT_TENSORS, *by_operations(run, aliases(tensors), upstream)
        needed = ctx.needs_input_grad[len(NOT_TENSORS) :]
        run, borders = with_tensors(run, tensors), list(rest)
        gradients = by_segments(backend, parts, run, borders, upstream, needed, autocast)
        return *NOT_TENSORS, *gradients


#: The gradients of the arguments of `RecomputedRun` in front of its tensors.
NOT_TENSORS = (None,) * 3


def run_segments(
    backend: str, parts: Sequence[Segment], run: Run
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Run segment after segment.

    Returns:
        The output `(N, size)`, the states between segments, each `(segments - 1, B, size)`, and
        the states after the last step, each `(B, size)`.
    """
    states = run.states
    for i, part in enumerate(parts):
        result = run_on(backend, run_of_segment(run, part, states))
        if i == 0:
            output = result.output.new_empty(sum(run.rows), result.output.shape[1])
            borders = [s.new_empty(len(parts) - 1, *s.shape) for s in result.states.values()]
        output[part.rows] = result.output
        states = result.states
        if i < len(parts) - 1:
            # Copies: a state may be a view of a tensor that has a row for each step.
            for border, state in zip(borders, states.values(), strict=True):
                border[i] = state
    # A state that no step changes is the caller's tensor; autograd needs another one.
    return output, borders, [state.clone() for state in states.values()]


def by_segments(
    backend: str,
    parts: Sequence[Segment],
    run: Run,
    borders: Sequence[Tensor],
    upstream: Sequence[Tensor | None],
    needed: Sequence[bool],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> list[Tensor | None]:
    """Compute the gradients of a run's tensors, segment by segment, from the last one on.

    Args:
        borders: The states between segments.
        upstream: The gradients of the output and of the states after the last step.
        needed: For each of the run's tensors, whether its gradient is needed.
        autocast: The autocast of the forward pass.
    """
    tensors = tensors_of(run)
    inputs = range(len(run.weights), len(run.weights) + len(run.inputs))
    states = slice(inputs.stop, inputs.stop + len(run.states))
    totals: list[Tensor | None] = [None] * len(tensors)
    by_output, *by_states = upstream
    for i, part in reversed(list(enumerate(parts))):
        before, requested = run.states, [*needed]
        if i > 0:
            before = dict(zip(run.states, (border[i - 1] for border in borders), strict=True))
            requested[states] = [True] * len(before)
        segment = run_of_segment(run, part, before)
        seeds = [None if by_output is None else by_output[part.rows], *by_states]
        gradients = of_segment(backend, segment, seeds, requested, autocast)
        by_states = gradients[states]
        for position, gradient in enumerate(gradients):
            total = totals[position]
            if gradient is None:
                continue
            if position in inputs:
                if total is None:
                    total = totals[position] = gradient.new_zeros(tensors[position].shape)
                total[part.rows] = gradient
            else:
                totals[position] = gradient if total is None else total + gradient
    totals[states] = by_states  # not a sum: the gradients before the first step
    return totals


def of_segment(
    backend: str,
    segment: Run,
    seeds: Sequence[Tensor | None],
    requested: Sequence[bool],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> list[Tensor | None]:
    """Run a segment again, and compute the requested gradients of its tensors."""
    pairs = zip(tensors_of(segment), requested, strict=True)
    leaves = [tensor.detach().requires_grad_(needed) for tensor, needed in pairs]
    with torch.enable_grad(), autocast():
        result = run_on(backend, with_tensors(segment, leaves))
    outcomes = zip([result.output, *result.states.values()], seeds, strict=True)
    reached = [(o, seed) for o, seed in outcomes if o.requires_grad and seed is not None]
    if not reached:
        return [None] * len(leaves)
    gradients = iter(
        torch.autograd.grad(
            [outcome for outcome, _ in reached],
            [leaf for leaf in leaves if leaf.requires_grad],
            [seed for _, seed in reached],
            allow_unused=True,
        )
    )
    return [next(gradients) if leaf.requires_grad else None for leaf in leaves]


def by_operations(
    run: Run, tensors: Sequence[Tensor], upstream: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Compute the gradients by torch's operations on all steps, for gradients of gradients."""
    every = Segment(slice(None), slice(None))
    run = with_tensors(run, tensors)
    run = run_of_segment(run, every, run.states)
    initial = [*run.states.values(), *run.fresh.values()]
    return gradients_by_operations(run, (), [run.graph.output], initial, upstream, tensors)


def tensors_of(run: Run) -> list[Tensor]:
    """The tensors of a run that may need gradients."""
    return [tensor for group in GROUPS for tensor in getattr(run, group).values()]


def with_tensors(run: Run, tensors: Sequence[Tensor]) -> Run:
    """The same run with other tensors, in the order of `tensors_of`."""
    rest = iter(tensors)
    groups: dict[str, Any] = {
        group: {name: next(rest) for name in getattr(run, group)} for group in GROUPS
    }
    return replace(run, **groups)


def run_of_segment(run: Run, part: Segment, states: Mapping[str, Tensor]) -> Run:
    """The part of a run that a segment is, from the states before it."""
    terms, like = run.graph.noises, next(iter(states.values()))
    noises = [
        as_numbers(noise[part.rows], number(term.size, run.sizes), like.dtype)
        for term, noise in zip(terms, run.noises, strict=True)
    ]
    return replace(
        run,
        rows=run.rows[part.steps],
        inputs={name: tensor[part.rows] for name, tensor in run.inputs.items()},
        states=states,
        noises=noises,
        restart=None if run.restart is None else run.restart[part.rows],
    )


def is_repeated(noise: Tensor) -> bool:
    """Tell if a noise is a single number in memory: an expectation, not drawn."""
    return all(n == 1 or stride == 0 for n, stride in zip(noise.shape, noise.stride(), strict=True))


def to_bits(noise: Tensor) -> Tensor:
    """Pack a drawn noise `(N, size)`, all zeros and ones, into bytes of eight numbers each."""
    padding = 0, -noise.shape[1] % 8
    digits: Tensor = functional.pad(noise.to(torch.uint8), padding).unflatten(1, (-1, 8))
    return (digits << powers(noise)).sum(2, dtype=torch.uint8)


def as_numbers(noise: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Unpack a noise that `to_bits` has packed; any other one stays as it is."""
    if noise.dtype != torch.uint8:
        return noise
    digits = noise.unsqueeze(2) >> powers(noise) & 1
    numbers: Tensor = digits.flatten(1)[:, :size].to(dtype)
    return numbers


def powers(like: Tensor) -> Tensor:
    """The exponents of the eight digits of a byte."""
    return torch.arange(8, dtype=torch.uint8, device=like.device)


def autocast_now(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """Return what restores the present autocast of a kind of device."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext
    return partial(
        torch.autocast,
        device,
        dtype=torch.get_autocast_dtype(device),
        enabled=torch.is_autocast_enabled(device),
        cache_enabled=torch.is_autocast_cache_enabled(),
    )
