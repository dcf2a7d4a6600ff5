"""Running a graph on kernels, and autograd around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewright.backends import reference
from gatewright.backends.llvm.backward import Backward
from gatewright.backends.llvm.library import kernels
from gatewright.backends.llvm.order import ordered
from gatewright.backends.llvm.work import Work
from gatewright.backends.reference import Result, Run, Section, at_hand
from gatewright.graph import Term
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS


def run(task: Run) -> Result:
    """Run a graph over a sequence."""
    graph = task.graph
    like = next(iter(task.states.values()))
    bits = 64 if like.dtype == torch.float64 else 32
    built = kernels(graph, tuple(task.names), tuple(sorted(task.hold)), bits)
    known = at_hand(task)
    ready = [one for one in graph.forward if graph.stages[one] < INPUTS]
    Section(ready, known, task).compute(known, like)
    work = Work(built, ordered(task, len(like)), task)
    found = Loops.apply(
        work,
        *(known[one] for one in work.given),
        *(task.states[name] for name in graph.states),
        *(task.fresh[name] for name in graph.states if task.restart is not None),
    )
    values = {**known, **dict(zip(work.wanted, found, strict=False))}
    finals = dict(zip(graph.states, found[len(work.wanted) :], strict=True))

    def over_time(term: Term) -> Tensor:
        one: Tensor = values[term]
        return one.expand(work.steps.total, number(term.size, task.sizes))

    named = {name: over_time(graph.values[name]) for name in task.names}
    return Result(over_time(graph.output), finals, named)


class Loops(torch.autograd.Function):
    """A graph over a sequence: what comes from torch in, wanted values and last states out."""

    @staticmethod
    def forward(ctx: Any, work: Work, *given: Tensor) -> Any:
        graph = work.built.schedule.graph
        tensors = dict(zip(work.given, given, strict=False))
        states = dict(zip(graph.states, given[len(work.given) :], strict=False))
        fresh = dict(zip(graph.states, given[len(work.given) + len(states) :], strict=False))
        training = any(ctx.needs_input_grad)
        like, steps = given[-1].detach(), work.steps
        stored: dict[str, dict[str, Tensor]] = {}
        made: dict[Term, Tensor] = {}
        for part_name, part in work.parts.items():
            buffers: dict[str, Tensor] = {}
            for term in part.leaves():
                kind = "leaf" if term in part.loop.step_leaves else "vector"
                source = made[term] if term in made else work.padded(tensors[term], term)
                buffers[f"{kind} {term.index}"] = source
            if part_name == "loop":
                for name, state in states.items():
                    term = graph.states[name]
                    whole = like.new_empty(2 * steps.batch + steps.total, work.room(term))
                    inside = work.cut(whole, term)
                    inside[steps.batch : 2 * steps.batch] = state.detach()
                    if fresh:
                        inside[: steps.batch] = fresh[name].detach()
                    buffers[f"state {name}"] = whole
            mode = "training" if training else "inference"
            work.call(f"{part_name}_{mode}", buffers, tensors, like)
            made |= {term: buffers[f"kept {term.index}"] for term in part.wanted}
            stored[part_name] = buffers
        outputs = [work.output(made[term], term) for term in work.wanted]
        for name, term in graph.states.items():
            last = work.cut(stored["loop"][f"state {name}"], term)
            outputs.append(last.index_select(0, steps.last))
        if training:
            # Saved as autograd's own, so that it lets go of them after the backward pass, and
            # notices if one of them is changed before it.
            ctx.places = [(part, name) for part in stored for name in work.needed(part)]
            ctx.save_for_backward(*given, *(stored[part][name] for part, name in ctx.places))
            work.task = bare(work.task)
            ctx.work = work
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        work: Work = ctx.work
        saved = ctx.saved_tensors  # once: each look at it unpacks all of them
        count = len(saved) - len(ctx.places)
        given, kept = saved[:count], saved[count:]
        if torch.is_grad_enabled():
            return (None, *differentiable(work, given, gradients))
        graph = work.built.schedule.graph
        upstream = dict(zip(work.wanted, gradients, strict=False))
        finals = dict(zip(graph.states, gradients[len(work.wanted) :], strict=True))
        stored: dict[str, dict[str, Tensor]] = {name: {} for name in work.parts}
        for (part_name, buffer), one in zip(ctx.places, kept, strict=True):
            stored[part_name][buffer] = one
        tensors = dict(zip(work.given, given, strict=False))
        back: dict[Term, Tensor] = {}
        states: list[Tensor] = []
        fresh: list[Tensor] = []
        for name in reversed(work.parts):
            part = Backward(work, name, stored[name], tensors)
            part.run(upstream, finals, back)
            if name == "loop":
                batch = work.steps.batch
                for state, term in graph.states.items():
                    whole = work.cut(part.buffers[f"gradient {state}"], term)
                    states.append(whole[batch : 2 * batch])
                    fresh.append(whole[:batch])
        found: list[Tensor | None] = []
        for term in work.given:
            one = back.get(term)
            shape = tensors[term].shape
            found.append(None if one is None else one[..., : shape[-1]].reshape(shape))
        return (None, *found, *states, *(fresh if work.task.restart is not None else ()))


def bare(task: Run) -> Run:
    """A task without its tensors: what autograd saves is all that a backward pass may hold."""

    def nothing(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.empty(0) for name in named}

    return replace(
        task,
        weights=nothing(task.weights),
        inputs=nothing(task.inputs),
        states=nothing(task.states),
        fresh=nothing(task.fresh),
        hold=nothing(task.hold),
        noises=[torch.empty(0) for _ in task.noises],
    )


def differentiable(
    work: Work, given: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients as differentiable tensors: the reference runs once more, under autograd."""
    graph = work.built.schedule.graph
    names, count = list(graph.states), len(work.given)
    states = dict(zip(names, given[count:], strict=False))
    fresh = dict(zip(names, given[count + len(names) :], strict=False))
    known = dict(zip(work.given, given, strict=False))
    # What is held and nobody reads was not given; its value does not matter.
    hold = {name: known.get(graph.values[name], one) for name, one in work.task.hold.items()}
    task = replace(work.task, states=states, fresh=fresh or work.task.fresh, hold=hold)
    result = reference.run(task, known)
    by_term = {graph.output: result.output}
    by_term |= {graph.values[name]: one for name, one in result.values.items()}
    outputs = [*(by_term[term] for term in work.wanted), *result.states.values()]
    wanted = [one for one in given if one.requires_grad]
    reached = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in reached],
            wanted,
            [g for _, g in reached],
            create_graph=True,
            allow_unused=True,
        )
    )
    return [next(found) if one.requires_grad else None for one in given]
