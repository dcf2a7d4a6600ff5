"""The kernels as operators of `torch.library`, so that programs compiled by torch can run them.

A traced layer is one call of `gatewright::loops`, for any number of steps. Arguments other
than tensors are text and numbers, and the cell is passed as it is stored, so that another
process can run a compiled program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.conditions import why_not_read
from gatewright.backends.llvm.backward import run_backward
from gatewright.backends.llvm.call_shape import CallShape, TensorForm, prepared
from gatewright.backends.llvm.forward import ForwardProgram, run_forward
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.llvm.precision import numbers_of
from gatewright.backends.order import even
from gatewright.backends.run import Run
from gatewright.backends.saved import in_rows
from gatewright.backends.storage import Memory, in_storage
from gatewright.errors import ArgumentError
from gatewright.graph import Graph, Term
from gatewright.graph.lowering import of_text
from gatewright.graph.stages import INPUTS
from gatewright.schedule.loop import ScheduleOptions


def known_terms(graph: Graph, held: Sequence[str]) -> list[Term]:
    """List the terms that are known before the loop, in the graph's order."""
    fixed = {graph.values[name] for name in held}
    return [
        term
        for term in graph.forward
        if term.op in ("event", "input", "noise")
        or term in fixed
        or (graph.stages[term] < INPUTS and term.op != "constant")
    ]


def computed_terms(graph: Graph, names: Sequence[str], known: Sequence[Term]) -> list[Term]:
    """List the requested terms that an operator has to compute and return."""
    requested = [graph.output, *(graph.values[name] for name in names)]
    fixed = {*known}
    return list(dict.fromkeys(t for t in requested if t not in fixed and t.op != "constant"))


def call(run: Run, known: Mapping[Term, Tensor]) -> tuple[dict[Term, Tensor], list[Tensor]]:
    """Run by the operator: the values of the computed terms, and the last states."""
    graph = run.graph
    names, held = list(run.names), sorted(run.hold)
    terms = known_terms(graph, held)
    steps = [*run.inputs.values(), *run.hold.values()]
    states = list(run.states.values())
    results = loops(
        [known[term] for term in terms],
        states,
        list(run.fresh.values()) if run.restart is not None else [],
        run.restart,
        graph.text,
        ",".join(names),
        ",".join(held),
        [run.sizes["input"], run.sizes["hidden"]],
        [len(run.rows), states[0].shape[0]],
        run.reverse,
        any(tensor.requires_grad for tensor in steps),
        torch.is_grad_enabled(),
    )
    computed = computed_terms(graph, names, terms)
    return dict(zip(computed, results, strict=False)), results[len(computed) : -1]


@dataclass(frozen=True)
class OperatorCall:
    """The arguments of an operator, decoded.

    Attributes:
        tensors: The tensors as kernels read them.
        positions: The position in `known` of each input of the kernels.
        returned: The position in the kernels' outputs of each returned term.
    """

    built: Kernels
    shape: CallShape
    tensors: list[Tensor]
    positions: list[int]
    returned: list[int]

    @classmethod
    def of(
        cls,
        known: Sequence[Tensor],
        states: Sequence[Tensor],
        fresh: Sequence[Tensor],
        cell: str,
        names: str,
        held: str,
        sizes: Sequence[int],
        lengths: Sequence[int],
        input_gradients: bool,
    ) -> OperatorCall:
        """Decode the arguments; sizes that torch keeps symbolic become numbers."""
        graph = of_text(cell)
        options = ScheduleOptions(_split(names), _split(held), input_gradients)
        built = kernels(graph, options, numbers_of(states[0].dtype))
        terms = known_terms(graph, options.held)
        positions = [terms.index(term) for term in built.inputs]
        numbers = dict(zip(("input", "hidden"), map(int, sizes), strict=True))
        inputs = [known[i] for i in positions]
        built.check(inputs, numbers)
        if not torch.compiler.is_compiling():
            check_memory([*inputs, *states, *fresh])
        tensors = prepared(built, inputs, [*states, *fresh])
        steps, batch = map(int, lengths)
        shape = CallShape.of(numbers, steps, batch, steps * batch, tensors, fresh=bool(fresh))
        forms = [
            TensorForm(tuple(map(int, form.shape)), tuple(map(int, form.strides)))
            for form in shape.forms
        ]
        shape = replace(shape, forms=tuple(forms))
        computed = computed_terms(graph, options.names, terms)
        returned = [built.outputs.index(term) for term in computed]
        return cls(built, shape, tensors, positions, returned)

    def check(
        self, states: int, fresh: int, restart: Tensor | None, others: Sequence[Tensor] = ()
    ) -> None:
        """Refuse arguments that contradict each other, as those of a program from a file may.

        Args:
            states, fresh: The numbers of states and of fresh ones.
            others: Further tensors that kernels read, of the backward pass.

        Raises:
            ArgumentError: naming what does not fit.
        """
        reason = why_not_read([*self.tensors, *others])
        if reason is not None:
            raise ArgumentError(f"gatewright::loops cannot read its tensors: {reason}")
        expected = len(self.built.schedule.graph.states)
        if states != expected or fresh != (expected if restart is not None else 0):
            raise ArgumentError(
                f"gatewright::loops was given {states} states and {fresh} fresh ones; expected "
                f"{expected} of each, and no fresh ones without `restart`"
            )
        total = self.shape.total
        if restart is not None and (restart.shape != (total,) or restart.dtype != torch.bool):
            raise ArgumentError(
                f"`restart` is {restart.dtype} of shape {tuple(restart.shape)}; expected "
                f"{total} booleans"
            )


def _split(names: str) -> tuple[str, ...]:
    return tuple(filter(None, names.split(",")))


def check_memory(tensors: Sequence[Tensor]) -> None:
    """Refuse tensors whose memory was freed or resized; tensors that are only traced have none.

    Raises:
        ArgumentError: naming the shape.
    """
    for tensor in tensors:
        real = type(tensor) in (Tensor, torch.nn.Parameter) and not tensor.is_meta
        if real and not in_storage(tensor):
            raise ArgumentError(
                f"a tensor of shape {tuple(tensor.shape)} has lost its memory: it was freed or "
                "resized; give it while it holds its numbers"
            )


#: Written out, since torch 2.6 derives none from `list[Tensor]`.
LOOPS_SCHEMA = (
    "(Tensor[] known, Tensor[] states, Tensor[] fresh, Tensor? restart, str cell, str names, "
    "str held, SymInt[] sizes, SymInt[] lengths, bool reverse, bool inputs, bool training) "
    "-> Tensor[]"
)
BACKWARD_SCHEMA = (
    "(Tensor saved, Tensor[] known, Tensor[] states, Tensor[] fresh, Tensor? restart, "
    "Tensor[] gradients, bool[] present, bool[] requested, str cell, str names, str held, "
    "SymInt[] sizes, SymInt[] lengths, bool reverse, bool inputs) -> Tensor[]"
)


@torch.library.custom_op("gatewright::loops", mutates_args=(), schema=LOOPS_SCHEMA)
def loops(
    known: Sequence[Tensor],
    states: Sequence[Tensor],
    fresh: Sequence[Tensor],
    restart: Tensor | None,
    cell: str,
    names: str,
    held: str,
    sizes: Sequence[int],
    lengths: Sequence[int],
    reverse: bool,
    inputs: bool,
    training: bool,
) -> list[Tensor]:
    """Run: the computed values, the states after the last step, the backward pass's memory."""
    decoded = OperatorCall.of(known, states, fresh, cell, names, held, sizes, lengths, inputs)
    decoded.check(len(states), len(fresh), restart)
    order = even(decoded.shape.steps, decoded.shape.batch, reverse).restarted(restart)
    memory, dtype = Memory.of(decoded.tensors), states[0].dtype
    outputs, saved = run_forward(
        decoded.built, decoded.shape, order, memory, dtype, training=training, cleared=True
    )
    finals = outputs[len(decoded.built.outputs) :]
    left = saved if saved is not None else states[0].new_empty(0)
    return [*(outputs[i] for i in decoded.returned), *finals, left]


@loops.register_fake
def _(
    known: Any,
    states: Any,
    fresh: Any,
    restart: Any,
    cell: str,
    names: str,
    held: str,
    sizes: Any,
    lengths: Any,
    reverse: bool,
    inputs: bool,
    training: bool,
) -> list[Tensor]:
    decoded = OperatorCall.of(known, states, fresh, cell, names, held, sizes, lengths, inputs)
    kind = "training" if training else "inference"
    program = decoded.built.program(kind, decoded.shape, ForwardProgram)
    results = []
    for i in decoded.returned:
        term = decoded.built.outputs[i]
        dtype = torch.bool if term.boolean else states[0].dtype
        shape = decoded.shape.total, program.units(term)
        results.append(states[0].new_empty(shape, dtype=dtype))
    results += [state.new_empty(state.shape) for state in states]
    return [*results, states[0].new_empty(program.lengths.get("saved", 0) if training else 0)]


@torch.library.custom_op("gatewright::loops_backward", mutates_args=(), schema=BACKWARD_SCHEMA)
def loops_backward(
    saved: Tensor,
    known: Sequence[Tensor],
    states: Sequence[Tensor],
    fresh: Sequence[Tensor],
    restart: Tensor | None,
    gradients: Sequence[Tensor],
    present: Sequence[bool],
    requested: Sequence[bool],
    cell: str,
    names: str,
    held: str,
    sizes: Sequence[int],
    lengths: Sequence[int],
    reverse: bool,
    inputs: bool,
) -> list[Tensor]:
    """Compute the gradients of all tensors, empty where none is requested.

    `gradients` are those upstream ones that are `present`.
    """
    decoded = OperatorCall.of(known, states, fresh, cell, names, held, sizes, lengths, inputs)
    decoded.check(len(states), len(fresh), restart, [saved, *gradients])
    order = even(decoded.shape.steps, decoded.shape.batch, reverse).restarted(restart)
    rest = iter(gradients)
    rows = in_rows([next(rest) if is_present else None for is_present in present])
    upstream: list[Tensor | None] = [None] * len(decoded.built.outputs)
    for i, gradient in zip(decoded.returned, rows, strict=False):
        upstream[i] = gradient
    upstream += rows[len(decoded.returned) :]
    every = [*known, *states, *fresh]
    positions = [*decoded.positions, *range(len(known), len(every))]
    shape = decoded.shape.backward(upstream, [requested[i] for i in positions])
    memory = Memory.of(decoded.tensors)
    shapes = [tensor.shape for tensor in decoded.tensors]
    back = run_backward(decoded.built, shape, order, memory, saved, upstream, shapes)
    by_position = dict(zip(positions, back, strict=True))
    results = []
    for i, (tensor, needed) in enumerate(zip(every, requested, strict=True)):
        gradient = by_position.get(i)
        if gradient is not None:
            # A copy: the gradients of several weights may be parts of one tensor, which an
            # operator must not return.
            results.append(gradient.clone(memory_format=torch.contiguous_format))
        else:
            results.append(tensor.new_zeros(tensor.shape if needed else 0))
    return results


@loops_backward.register_fake
def _(
    saved: Any, known: Any, states: Any, fresh: Any, restart: Any, gradients: Any, present: Any,
    requested: Any, *plan: Any,
) -> list[Tensor]:  # fmt: skip
    every = zip((*known, *states, *fresh), requested, strict=True)
    return [tensor.new_empty(tensor.shape if needed else 0) for tensor, needed in every]


def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    """Save the tensors and arguments of the backward pass."""
    known, states, fresh, restart, *plan, training = inputs
    ctx.training = training
    ctx.counts = len(known), len(states), len(fresh)
    ctx.plan = plan
    ctx.save_for_backward(output[-1], restart, *known, *states, *fresh)


def backward(ctx: Any, gradients: Sequence[Tensor | None]) -> Any:
    """Compute the gradients of an operator's tensors."""
    if not ctx.training:
        raise RuntimeError("gatewright::loops ran without gradients; there are none of it")
    saved, restart, *every = ctx.saved_tensors
    known, states, fresh = divided(every, ctx.counts)
    needs = ctx.needs_input_grad
    requested = [needed for group in needs[:3] for needed in (group or ())]
    present = [gradient is not None for gradient in gradients[:-1]]
    upstream = [gradient for gradient in gradients[:-1] if gradient is not None]
    tensors = saved, known, states, fresh, restart, upstream
    back = loops_backward(*tensors, present, requested, *ctx.plan)
    results = [g if needed else None for g, needed in zip(back, requested, strict=True)]
    return (*divided(results, ctx.counts), *[None] * (len(ctx.plan) + 2))


def divided(every: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    """Divide a list into several, with these counts of members."""
    rest = iter(every)
    return [[next(rest) for _ in range(count)] for count in counts]


loops.register_autograd(backward, setup_context=setup_context)
