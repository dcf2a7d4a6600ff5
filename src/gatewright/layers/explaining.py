"""What runs and why: the text of `layer.explain(x)`."""

from __future__ import annotations

from gatewright.backends.choose import BACKENDS, pick
from gatewright.backends.reference import Run
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS, STATE
from gatewright.language.node import closure


def explained(name: str, backend: str, task: Run) -> str:
    """One layer in one direction: its backend, its stages, what is saved, and the work."""
    graph, steps, elements = task.graph, len(task.rows), sum(task.rows)
    chosen = pick(backend, task)
    needed = closure([graph.output, *graph.updates.values()])
    terms = [one for one in graph.forward if one in needed and one.operands]
    early = [one for one in terms if graph.stages[one] == INPUTS]
    loop = [one for one in terms if graph.stages[one] >= STATE]
    last = max((graph.stages[one] for one in loop), default=STATE)
    products = [one for one in terms if one.op == "product"]
    work = (
        2
        * elements
        * sum(
            number(one.size, task.sizes)
            * number(one.operands[0].size, task.sizes)
            // one.attributes["heads"]
            for one in products
        )
    )
    saved = [one for one in graph.adjoint.saved if one in needed]
    size = next(iter(task.states.values())).element_size()
    kept = size * elements * sum(number(one.size, task.sizes) for one in saved)
    names = {term: name for name, term in graph.values.items()}
    lines = [f"{name}: backend {chosen}, {steps} steps, {elements} rows in all"]
    for faster in list(BACKENDS)[: list(BACKENDS).index(chosen)]:
        reason = BACKENDS[faster].why_not(task) or f'backend="{backend}" was asked for'
        lines.append(f"  not {faster}: {reason}")
    lines += [
        f"  before the loop: {len(early)} operations on all steps at once; "
        f"in the loop: {len(loop)}, in {last - STATE + 1} stage(s)",
        f"  saved for the backward pass: {', '.join(names.get(one, one.op) for one in saved)}"
        f" ({kept / 1e6:.2f} MB)",
        f"  products of a forward run: {work / 1e6:.1f} MFLOP",
    ]
    return "\n".join(lines)
