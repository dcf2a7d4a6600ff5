"""`layer.explain(x)`: the text about which backend runs and why, and about the work."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.choose import BACKENDS, pick
from gatewright.backends.left_out import is_left_out
from gatewright.backends.recompute import segments
from gatewright.backends.run import Run
from gatewright.errors import BackendError
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS, STATE
from gatewright.language.node import closure
from gatewright.schedule.work import Phase, count


def explained(
    name: str, backend: str, run: Run, recompute: int | None = None, *, several: bool = False
) -> str:
    """One layer in one direction: its backend, its stages, the saved values, and the work.

    Args:
        several: Whether it is one of several that a backend may run in one call.
    """
    graph, steps, elements = run.graph, len(run.rows), sum(run.rows)
    chosen = pick(backend, run, several=several)
    needed = closure([graph.output, *graph.updates.values()])
    terms = [term for term in graph.forward if term in needed and term.operands]
    early = [term for term in terms if graph.stages[term] == INPUTS]
    loop = [term for term in terms if graph.stages[term] >= STATE]
    last = max((graph.stages[term] for term in loop), default=STATE)
    saved = [term for term in graph.adjoint.saved if term in needed]
    size = next(iter(run.states.values())).element_size()
    saved_bytes = size * elements * sum(number(term.size, run.sizes) for term in saved)
    names = {term: name for name, term in graph.values.items()}
    lines = [f"{name}: backend {chosen}, {steps} steps, {elements} rows in all"]
    for faster in list(BACKENDS)[: list(BACKENDS).index(chosen)]:
        other = f'backend="{backend}" was asked for'
        if backend == "auto":
            other = f"it runs one layer and direction at a time, and {chosen} all in one call"
        reason = BACKENDS[faster].why_not(run) or BACKENDS[faster].by_name(run) or other
        lines.append(f"  not {faster}: {reason}")
    lines += [
        f"  before the loop: {len(early)} operations on all steps at once; "
        f"in the loop: {len(loop)}, in {last - STATE + 1} stage(s)",
        f"  saved for the backward pass: {', '.join(names.get(term, term.op) for term in saved)}"
        f" ({saved_bytes / 1e6:.2f} MB)",
        *(recomputed(run, recompute, saved_bytes) if recompute else ()),
        *(f"  {line}" for line in BACKENDS[chosen].describe(run)),
        *counted("a forward run", phases(run)),
        *counted("a training step", phases(run, training=True)),
    ]
    return "\n".join(lines)


def recomputed(run: Run, recompute: int, saved_bytes: int) -> list[str]:
    """The memory of a run with recomputation, in place of the values of all steps."""
    parts = segments(run, recompute)
    states = sum(state.numel() * state.element_size() for state in run.states.values())
    steps = max((part.steps.stop - part.steps.start for part in parts), default=0)
    rows = max((part.rows.stop - part.rows.start for part in parts), default=0)
    borders, share = states * max(len(parts) - 1, 0), saved_bytes * rows / max(sum(run.rows), 1)
    return [
        f"  with recompute={recompute}: only the states between {len(parts)} segments of at most "
        f"{steps} steps ({borders / 1e6:.2f} MB), and during the backward pass the values of one "
        f"segment ({share / 1e6:.2f} MB); a training step has one more forward run"
    ]


def phases(run: Run, *, training: bool = False) -> list[Phase]:
    """The work of a run; with `training`, also that of the gradients of all that it reads."""
    width = next(iter(run.states.values())).element_size()
    return count(
        run.graph,
        run.sizes,
        steps=len(run.rows),
        rows=sum(run.rows),
        width=width,
        training=training,
    )


def counted(title: str, work: Sequence[Phase]) -> list[str]:
    """The work of a run in total, then phase by phase."""
    return [
        f"  {title}: {amount(work)}",
        *(f"    {phase.name}: {amount([phase])}" for phase in work),
    ]


def amount(work: Sequence[Phase]) -> str:
    """Operations and bytes."""
    products = sum(phase.products for phase in work) / 1e6
    pointwise = sum(phase.pointwise for phase in work) / 1e6
    moved = sum(phase.bytes for phase in work) / 1e6
    return f"{products:.1f} MFLOP in products, {pointwise:.1f} in the rest; {moved:.2f} MB move"


def measured(
    forward: Callable[..., Any],
    input: Tensor | PackedSequence,
    weights: Sequence[Tensor],
    runs: Sequence[Run],
) -> list[str]:
    """The time of runs as a share of the machine's roof; see `backends/llvm/roof.py`.

    Raises:
        BackendError: if they do not run on the CPU, the only device whose roof is measured, or
            its kernels are not there.
    """
    if is_left_out("llvm"):
        raise BackendError(
            "measure=True: the roof is measured by the kernels for the CPU, which are not in this "
            "copy of gatewright; leave measure out"
        )
    from gatewright.backends.llvm.roof import roof, speed

    like = next(iter(runs[0].states.values()))
    is_low = torch.is_autocast_enabled(like.device.type)
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64) or is_low:
        raise BackendError(
            "measure=True: the roof is measured for float32 and float64 on the CPU, and the "
            f"tensors are {like.dtype} on {like.device}{' under autocast' if is_low else ''}; "
            "leave measure out"
        )
    packed = isinstance(input, PackedSequence)
    event = (input.data if isinstance(input, PackedSequence) else input).detach().clone()
    leaves = [event.requires_grad_(), *(weight for weight in weights if weight.requires_grad)]
    sequence = input._replace(data=event) if isinstance(input, PackedSequence) else event

    def inference() -> None:
        with torch.no_grad():
            forward(sequence)

    def training() -> None:
        # Not backward(): the user's gradients stay as they are.
        with torch.enable_grad():
            output = forward(sequence)
            output = output.data if packed else output
            torch.autograd.grad(output, leaves, torch.ones_like(output), allow_unused=True)

    ceiling = roof(torch.get_num_threads(), 8 * like.element_size())
    memory = speed(ceiling.copied, ceiling.copied[-1][0])
    lines = [
        f"roof of {ceiling.threads} thread(s): {ceiling.operations / 1e9:.0f} GFLOP/s, "
        f"{memory / 1e9:.0f} GB/s from memory"
    ]
    for name, step in (("a forward run", inference), ("a training step", training)):
        work = [phase for run in runs for phase in phases(run, training=step is training)]
        duration = seconds(step)
        share = 100 * ceiling.seconds(work) / duration
        lines.append(f"  {name} takes {1e3 * duration:.3f} ms, {share:.0f} % of the roof")
    return lines


def seconds(call: Callable[[], Any], budget: float = 0.5) -> float:
    """The median time of a call, after a first one that is not counted."""
    call()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < budget and len(times) < 200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
