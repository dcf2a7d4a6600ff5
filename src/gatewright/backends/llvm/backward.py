"""The backward pass of one part of a run."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gatewright.backends.llvm.work import Work
from gatewright.graph import Term


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
        self.seeds = {seed: name for name, seed in self.part.adjoint.seeds.items()}

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
            if term in upstream:
                add(back, term, work.padded(upstream[term], term))
            if term not in back:
                back[term] = like.new_zeros(steps.total, work.room(term))
            self.buffers[f"seed value {term.index}"] = back.pop(term)
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
        result = f"result {term.index}"
        if result in self.buffers:
            return self.buffers[result]
        name = self.seeds[term]
        if f"seed {name}" in self.buffers:
            return self.buffers[f"seed {name}"]
        # The gradient of a state after each step: behind those of the fresh and the first ones.
        return self.buffers[f"gradient {name}"][2 * self.work.steps.batch :]

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
