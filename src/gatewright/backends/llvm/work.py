"""One run of a graph's kernels: its buffers, its packed matrices, its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatewright.backends.llvm.library import Kernels
from gatewright.backends.llvm.order import Order, flat
from gatewright.backends.llvm.plan import Plan
from gatewright.backends.reference import Run
from gatewright.graph import Term
from gatewright.graph.loop import Part
from gatewright.graph.sizes import number


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

    def needed(self, name: str) -> list[str]:
        """The buffers of a part's forward run that its backward pass reads."""
        part, reads = self.parts[name], set(self.built.plans[f"{name}_backward"].buffers)
        rights = [one.right for one in part.adjoint.weights if one.right is not None]
        for term in part.kept:
            if f"leaf {term.index}" in reads or term in rights:
                reads.add(f"kept {term.index}")
        for term in rights:
            reads.add(
                f"state {term.attributes['name']}" if term.op == "state" else f"leaf {term.index}"
            )
        plan = self.built.plans[f"{name}_training"]
        return [one for one in plan.buffers if one in reads]

    def room(self, term: Term) -> int:
        """A row's length in whole vectors."""
        lanes = self.built.lanes
        return -(-number(term.size, self.sizes) // lanes) * lanes

    def cut(self, buffer: Tensor, term: Term) -> Tensor:
        """A buffer without what rows have behind their last unit."""
        return buffer[:, : number(term.size, self.sizes)]

    def output(self, buffer: Tensor, term: Term) -> Tensor:
        """A buffer as a result. No view, which a user could not change in place."""
        inside = self.cut(buffer, term)
        if term.boolean:
            return inside.bool()
        return buffer if inside.shape == buffer.shape else inside.clone()

    def padded(self, given: Tensor, term: Term) -> Tensor:
        """Rows that can be read in whole vectors."""
        rows = given.detach().reshape(-1, given.shape[-1] if given.dim() else 1)
        if rows.dtype == torch.bool:
            rows = rows.to(self.numbers)
        room = self.room(term)
        if rows.shape[1] == room and rows.stride(1) == 1:
            return rows
        whole = rows.new_zeros(rows.shape[0], room)
        whole[:, : rows.shape[1]] = rows
        return whole

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
        """Run one kernel; buffers that nobody gave are made, and stand in `buffers` then."""
        plan = self.built.plans[name]
        loop = name.startswith("loop")
        rows = self.steps.batch if loop else self.steps.total
        for buffer, term in plan.terms.items():
            if buffer not in buffers:
                count = rows if buffer.startswith("scratch") else self.steps.total
                buffers[buffer] = like.new_empty(count, self.room(term))
        steps = self.steps.tensors(back=name == "loop_backward") if loop else flat(rows)
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


def pack(matrices: Sequence[Tensor], lanes: int) -> Tensor:
    """Matrices `(units, length)` side by side, `(blocks, length, matrices, lanes)`."""
    units, length = matrices[0].shape
    blocks = -(-units // lanes)
    whole = matrices[0].new_zeros(len(matrices), blocks * lanes, length)
    for position, one in enumerate(matrices):
        whole[position, :units] = one
    return whole.view(len(matrices), blocks, lanes, length).permute(1, 3, 0, 2).contiguous()
