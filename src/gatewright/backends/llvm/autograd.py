"""Running a graph on kernels: buffers, and autograd around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gatewright.backends import reference
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.llvm.plan import Plan
from gatewright.backends.reference import Result, Run, Section
from gatewright.graph import Term
from gatewright.graph.loop import Part
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS


@dataclass(frozen=True, eq=False)
class Order:
    """The steps in the order in which they run, and where each packed row's states are.

    A state's buffer has the fresh states `(B)`, those before the first step `(B)`, and those
    after each packed row.
    """

    rows: Tensor
    offsets: Tensor
    before: Tensor
    after: Tensor
    last: Tensor
    plain: bool
    batch: int
    total: int

    def tensors(self, *, back: bool = False) -> tuple[Tensor, ...]:
        """What a kernel's table names; `back` turns the steps round."""
        steps = (self.rows.flip(0), self.offsets.flip(0)) if back else (self.rows, self.offsets)
        return (*steps, self.before, self.after)


@lru_cache(maxsize=32)
def order(rows: tuple[int, ...], batch: int, reverse: bool) -> Order:
    """The order of a run without restarts."""
    counts = torch.tensor(rows, dtype=torch.int64)
    offsets = torch.cumsum(counts, 0) - counts
    total = sum(rows)
    after = 2 * batch + torch.arange(total)
    state = batch + torch.arange(batch)
    before = torch.empty(total, dtype=torch.int64)
    for t in reversed(range(len(rows))) if reverse else range(len(rows)):
        part = slice(int(offsets[t]), int(offsets[t]) + rows[t])
        before[part] = state[: rows[t]]
        state[: rows[t]] = after[part]
    if reverse:
        counts, offsets = counts.flip(0).contiguous(), offsets.flip(0).contiguous()
    plain = not reverse and len(set(rows)) <= 1
    return Order(counts, offsets, before, after, state, plain, batch, total)


@lru_cache(maxsize=32)
def within(rows: tuple[int, ...]) -> Tensor:
    """The row of the batch that each packed row belongs to."""
    return torch.cat([torch.arange(running) for running in rows])


@lru_cache(maxsize=32)
def flat(total: int) -> tuple[Tensor, ...]:
    """All packed rows as one step."""
    nothing = torch.zeros(1, dtype=torch.int64)
    return torch.tensor([total]), nothing, nothing, nothing


def run(task: Run) -> Result:
    """Run a graph over a sequence."""
    graph = task.graph
    like = next(iter(task.states.values()))
    bits = 64 if like.dtype == torch.float64 else 32
    built = kernels(graph, tuple(task.names), tuple(sorted(task.hold)), bits)
    held = {graph.values[name]: value for name, value in task.hold.items()}
    known: dict[Term, Tensor] = {term: task.inputs[name] for name, term in graph.inputs.items()}
    known |= dict(zip(graph.noises, task.noises, strict=True))
    known |= {
        t: task.weights[t.attributes["weight"].path] for t in graph.forward if t.op == "weight"
    }
    known |= held
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


def ordered(task: Run, batch: int) -> Order:
    """The order of a run; a step after a restart reads the fresh state of its row."""
    steps = order(tuple(task.rows), batch, task.reverse)
    if task.restart is None:
        return steps
    before = torch.where(task.restart, within(tuple(task.rows)), steps.before)
    return replace(steps, before=before, plain=False)


class Work:
    """One run of a graph's kernels."""

    def __init__(self, built: Kernels, steps: Order, task: Run) -> None:
        self.built, self.steps, self.sizes, self.task = built, steps, task.sizes, task
        self.threads = torch.get_num_threads()
        self.numbers = next(iter(task.states.values())).dtype
        self.parts: dict[str, Part] = {}
        if built.schedule.before is not None:
            self.parts["before"] = built.schedule.before
        self.parts["loop"] = built.schedule.loop
        made = set(built.schedule.before.wanted) if built.schedule.before is not None else set()
        given = [
            term
            for part in self.parts.values()
            for term in (*part.leaves(), *part.loop.matrices)
            if term not in made
        ]
        self.given = list(dict.fromkeys(given))
        asked = set(built.schedule.asked)
        self.wanted = [
            term for part in self.parts.values() for term in part.wanted if term in asked
        ]

    def room(self, term: Term) -> int:
        """A row's length in whole vectors."""
        lanes = self.built.lanes
        return -(-number(term.size, self.sizes) // lanes) * lanes

    def cut(self, buffer: Tensor, term: Term) -> Tensor:
        """A buffer without what rows have behind their last unit."""
        return buffer[:, : number(term.size, self.sizes)]

    def padded(self, given: Tensor, term: Term) -> Tensor:
        """Rows that can be read in whole vectors."""
        rows = given.detach().reshape(-1, given.shape[-1])
        if rows.dtype == torch.bool:
            rows = rows.to(self.numbers)
        room = self.room(term)
        if rows.shape[1] == room and rows.stride(1) == 1:
            return rows
        whole = rows.new_zeros(rows.shape[0], room)
        whole[:, : rows.shape[1]] = rows
        return whole

    def scratch(self, plan: Plan, buffers: dict[str, Tensor], like: Tensor) -> None:
        """Add the buffers that a plan has and nobody gave."""
        for name, term in plan.terms.items():
            if name not in buffers:
                rows = self.steps.total
                if name.startswith("scratch") and plan is not self.built.plans.get("before"):
                    rows = max(self.steps.batch, rows if plan.loop in self._flat() else 0)
                buffers[name] = like.new_empty(rows, self.room(term))

    def _flat(self) -> list[Any]:
        before = self.built.schedule.before
        return [before.loop, before.backward] if before is not None else []

    def packed(self, plan: Plan, matrices: Mapping[Term, Tensor]) -> dict[int, Tensor]:
        """The matrices of each group of products, as its kernel reads them."""
        found = {}
        for groups in plan.groups.values():
            for group in groups:
                parts = []
                for product in group.products:
                    matrix = matrices[product.operands[1]].detach()
                    parts.append(matrix.T if product.op == "transposed" else matrix)
                found[group.slot] = pack(parts, self.built.lanes)
        return found

    def call(
        self, name: str, buffers: dict[str, Tensor], matrices: Mapping[Term, Tensor], like: Tensor
    ) -> None:
        """Run one kernel."""
        plan = self.built.plans[name]
        self.scratch(plan, buffers, like)
        loop = name.startswith("loop")
        steps = self.steps.tensors(back=name == "loop_backward") if loop else flat(self.steps.total)
        rows = self.steps.batch if loop else self.steps.total
        packed = self.packed(plan, matrices)
        self.built.call(name, steps, buffers, packed, self.sizes, rows, self.threads)

    def outer(self, left: Tensor, right: Tensor, out: int, units: int) -> Tensor:
        """Left transposed times right: `(out, units)`."""
        lanes = self.built.lanes
        blocks = -(-units // lanes)
        result = left.new_zeros(out, blocks * lanes)
        table = [left.data_ptr(), left.stride(0), right.data_ptr(), right.stride(0)]
        table += [result.data_ptr(), blocks * lanes, left.shape[0], blocks]
        self.built.run("outer", table, out, 6, self.threads)
        return result[:, :units]


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
        outputs = [work.cut(made[term], term) for term in work.wanted]
        outputs = [
            one.bool() if term.boolean else one
            for term, one in zip(work.wanted, outputs, strict=True)
        ]
        for name, term in graph.states.items():
            last = work.cut(stored["loop"][f"state {name}"], term)
            outputs.append(last.index_select(0, steps.last))
        if training:
            ctx.work, ctx.stored = work, stored
            ctx.save_for_backward(*given)
            ctx.versions = [made[term]._version for term in work.wanted]
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        work: Work = ctx.work
        given = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, *differentiable(work, given, gradients))
        graph = work.built.schedule.graph
        upstream = dict(zip(work.wanted, gradients, strict=False))
        finals = dict(zip(graph.states, gradients[len(work.wanted) :], strict=True))
        made = {
            term: buffers[f"kept {term.index}"]
            for name, buffers in ctx.stored.items()
            for term in work.parts[name].wanted
        }
        if ctx.versions != [made[term]._version for term in work.wanted]:
            raise RuntimeError(
                "an output of the layer was modified in place before its backward pass, "
                "which needs it as it was; modify a clone of it"
            )
        tensors = dict(zip(work.given, given, strict=False))
        back: dict[Term, Tensor] = {}
        states: list[Tensor] = []
        fresh: list[Tensor] = []
        for name in reversed(work.parts):
            part = Backward(work, name, ctx.stored[name], tensors)
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


def differentiable(
    work: Work, given: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients as differentiable tensors: the reference runs once more, under autograd."""
    graph = work.built.schedule.graph
    names, count = list(graph.states), len(work.given)
    states = dict(zip(names, given[count:], strict=False))
    fresh = dict(zip(names, given[count + len(names) :], strict=False))
    task = replace(work.task, states=states, fresh=fresh or work.task.fresh)
    known = dict(zip(work.given, given, strict=False))
    hold = {name: known.get(graph.values[name], value) for name, value in task.hold.items()}
    result = reference.run(replace(task, hold=hold), known)
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


class Backward:
    """The backward pass of one part."""

    def __init__(
        self, work: Work, name: str, saved: dict[str, Tensor], tensors: Mapping[Term, Tensor]
    ) -> None:
        self.work, self.name, self.saved, self.tensors = work, name, saved, tensors
        self.part = work.parts[name]
        self.plan = work.built.plans[f"{name}_backward"]
        kept = {f"leaf {term.index}": saved.get(f"kept {term.index}") for term in self.part.kept}
        there = {**kept, **saved}
        self.buffers = {k: v for k, v in there.items() if k in self.plan.buffers and v is not None}
        self.seeds = {seed: f"seed {name}" for name, seed in self.part.adjoint.seeds.items()}

    def run(
        self,
        upstream: Mapping[Term, Tensor],
        finals: Mapping[str, Tensor],
        back: dict[Term, Tensor],
    ) -> None:
        """Add the gradients of the part's leaves and matrices to `back`."""
        work, part, steps = self.work, self.part, self.work.steps
        like = next(iter(finals.values()))
        for term in part.wanted:
            parts = [back.pop(term)] if term in back else []
            parts += [work.padded(upstream[term], term)] if term in upstream else []
            zero = [] if parts else [like.new_zeros(steps.total, work.room(term))]
            self.buffers[f"seed value {term.index}"] = sum(parts[1:], [*parts, *zero][0])
        if self.name == "loop":
            for name, term in work.built.schedule.graph.states.items():
                whole = like.new_zeros(2 * steps.batch + steps.total, work.room(term))
                work.cut(whole, term).index_copy_(0, steps.last, finals[name])
                self.buffers[f"gradient {name}"] = whole
        results = [one for one in part.results() if f"result {one.index}" in self.plan.buffers]
        whole = like.new_empty(steps.total, sum(work.room(term) for term in results))
        at = 0
        for term in results:
            self.buffers[f"result {term.index}"] = whole[:, at : at + work.room(term)]
            at += work.room(term)
        work.call(f"{self.name}_backward", self.buffers, self.tensors, like)
        for leaf in part.leaves():
            term_ = part.adjoint.inputs.get(f"leaf {leaf.index}")
            if term_ is not None:
                gradient = self.made(term_)
                if leaf in part.loop.vectors:
                    gradient = gradient.sum(0)[None]
                add(back, leaf, gradient)
        self.matrices(back)

    def matrices(self, back: dict[Term, Tensor]) -> None:
        """Add the gradients of the matrices."""
        paths = {term.attributes["weight"].path: term for term in self.part.loop.matrices}
        for one in self.part.adjoint.weights:
            if one.right is not None:
                matrix = paths[one.path]
                shape = self.tensors[matrix].shape
                right = self.right(one.right)
                add(back, matrix, self.work.outer(self.made(one.left), right, *shape))

    def made(self, term: Term) -> Tensor:
        """A term of the adjoint: a result, or the seed that it is."""
        name = f"result {term.index}"
        return self.buffers[name] if name in self.buffers else self.buffers[self.seeds[term]]

    def right(self, term: Term) -> Tensor:
        """The stored values of a product's source, `(N, room)`."""
        steps = self.work.steps
        if term.op == "state":
            whole = self.saved[f"state {term.attributes['name']}"]
            if steps.plain:
                return whole[steps.batch : steps.batch + steps.total]
            return whole.index_select(0, steps.before)
        name = f"kept {term.index}"
        if name not in self.saved:
            name = f"leaf {term.index}"
        if name not in self.saved:  # a source that only the product reads
            return self.work.padded(self.tensors[term], term)
        return self.saved[name]


def add(back: dict[Term, Tensor], term: Term, gradient: Tensor) -> None:
    """Add up what reaches a term from several places."""
    back[term] = back[term] + gradient if term in back else gradient


def pack(matrices: Sequence[Tensor], lanes: int) -> Tensor:
    """Matrices `(units, length)` side by side, `(blocks, length, matrices, lanes)`."""
    units, length = matrices[0].shape
    blocks = -(-units // lanes)
    whole = matrices[0].new_zeros(len(matrices), blocks * lanes, length)
    for position, one in enumerate(matrices):
        whole[position, :units] = one
    return whole.view(len(matrices), blocks, lanes, length).permute(1, 3, 0, 2).contiguous()
