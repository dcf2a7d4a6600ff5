"""What runs and why: the text of `layer.explain(x)`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.choose import BACKENDS, pick
from gatewright.backends.llvm import NUMBERS
from gatewright.backends.run import Run
from gatewright.errors import BackendError
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS, STATE
from gatewright.language.node import closure
from gatewright.schedule.work import Phase, count


def explained(name: str, backend: str, task: Run) -> str:
    """One layer in one direction: its backend, its stages, what is saved, and the work."""
    graph, steps, elements = task.graph, len(task.rows), sum(task.rows)
    chosen = pick(backend, task)
    needed = closure([graph.output, *graph.updates.values()])
    terms = [one for one in graph.forward if one in needed and one.operands]
    early = [one for one in terms if graph.stages[one] == INPUTS]
    loop = [one for one in terms if graph.stages[one] >= STATE]
    last = max((graph.stages[one] for one in loop), default=STATE)
    saved = [one for one in graph.adjoint.saved if one in needed]
    size = next(iter(task.states.values())).element_size()
    kept = size * elements * sum(number(one.size, task.sizes) for one in saved)
    names = {term: name for name, term in graph.values.items()}
    lines = [f"{name}: backend {chosen}, {steps} steps, {elements} rows in all"]
    for faster in list(BACKENDS)[: list(BACKENDS).index(chosen)]:
        asked = f'backend="{backend}" was asked for'
        reason = BACKENDS[faster].why_not(task) or BACKENDS[faster].by_name or asked
        lines.append(f"  not {faster}: {reason}")
    lines += [
        f"  before the loop: {len(early)} operations on all steps at once; "
        f"in the loop: {len(loop)}, in {last - STATE + 1} stage(s)",
        f"  saved for the backward pass: {', '.join(names.get(one, one.op) for one in saved)}"
        f" ({kept / 1e6:.2f} MB)",
        *(f"  {line}" for line in BACKENDS[chosen].describe(task)),
        *counted("a forward run", phases(task)),
        *counted("a training step", phases(task, training=True)),
    ]
    return "\n".join(lines)


def phases(task: Run, *, training: bool = False) -> list[Phase]:
    """What a run has to do; with `training`, the gradients of all that it reads as well."""
    width = next(iter(task.states.values())).element_size()
    return count(
        task.graph,
        task.sizes,
        steps=len(task.rows),
        rows=sum(task.rows),
        width=width,
        training=training,
    )


def counted(what: str, found: Sequence[Phase]) -> list[str]:
    """The work of a run, in all and phase by phase."""
    return [f"  {what}: {amount(found)}", *(f"    {one.name}: {amount([one])}" for one in found)]


def amount(found: Sequence[Phase]) -> str:
    """Operations and bytes."""
    products = sum(one.products for one in found) / 1e6
    pointwise = sum(one.pointwise for one in found) / 1e6
    moved = sum(one.bytes for one in found) / 1e6
    return f"{products:.1f} MFLOP in products, {pointwise:.1f} in the rest; {moved:.2f} MB move"


def measured(
    forward: Callable[..., Any], given: Any, learned: Sequence[Tensor], tasks: Sequence[Run]
) -> list[str]:
    """How near runs come to the machine's roof; see `backends/llvm/roof.py`.

    Raises:
        BackendError: if they do not run on the CPU, whose roof alone is measured.
    """
    from gatewright.backends.llvm.roof import roof, speed

    like = next(iter(tasks[0].states.values()))
    if like.device.type != "cpu" or like.dtype not in NUMBERS:
        raise BackendError(
            "measure=True: the roof is measured for float32 and float64 on the CPU, and the "
            f"tensors are {like.dtype} on {like.device}; leave measure out"
        )
    packed = isinstance(given, PackedSequence)
    event = (given.data if packed else given).detach().clone().requires_grad_()
    wanted = [event, *(one for one in learned if one.requires_grad)]
    given = given._replace(data=event) if packed else event

    def inference() -> None:
        with torch.no_grad():
            forward(given)

    def training() -> None:
        # Not backward(): the user's gradients stay as they are.
        with torch.enable_grad():
            output = forward(given)
            output = output.data if packed else output
            torch.autograd.grad(output, wanted, torch.ones_like(output), allow_unused=True)

    ceiling = roof(torch.get_num_threads(), 8 * like.element_size())
    memory = speed(ceiling.copied, ceiling.copied[-1][0])
    lines = [
        f"roof of {ceiling.threads} thread(s): {ceiling.operations / 1e9:.0f} GFLOP/s, "
        f"{memory / 1e9:.0f} GB/s from memory"
    ]
    for name, run in (("a forward run", inference), ("a training step", training)):
        work = [one for task in tasks for one in phases(task, training=run is training)]
        taken = seconds(run)
        share = 100 * ceiling.seconds(work) / taken
        lines.append(f"  {name} takes {1e3 * taken:.3f} ms, {share:.0f} % of the roof")
    return lines


def seconds(run: Callable[[], Any], budget: float = 0.5) -> float:
    """The median time of a call, after one that is not counted."""
    run()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < budget and len(times) < 200):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
