"""The kernels as operators of `torch.library`: how a program that torch compiles runs them.

A traced layer is one call of `gatewright::loops`, whatever the number of steps. All that is no
tensor stands in the call as text and numbers, the cell as it is stored, so that a compiled
program may be kept and run by another process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.llvm.autograd import in_rows
from gatewright.backends.llvm.backward import run_backward
from gatewright.backends.llvm.call_list import Lie, Shape, prepared
from gatewright.backends.llvm.forward import forward_program, run_forward
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.order import even
from gatewright.backends.reference import Run
from gatewright.backends.storage import in_storage
from gatewright.errors import ArgumentError
from gatewright.graph import Graph, Term
from gatewright.graph.lowering import of_text
from gatewright.graph.stages import INPUTS


def known_terms(graph: Graph, held: Sequence[str]) -> list[Term]:
    """What is known before the loop, in the graph's order: what an operator is given."""
    given = {graph.values[name] for name in held}
    return [
        one
        for one in graph.forward
        if one.op in ("event", "input", "noise")
        or one in given
        or (graph.stages[one] < INPUTS and one.op != "constant")
    ]


def wanted_terms(graph: Graph, names: Sequence[str], known: Sequence[Term]) -> list[Term]:
    """What an operator gives back besides states: what is asked for and has to be computed."""
    asked = [graph.output, *(graph.values[name] for name in names)]
    there = {*known}
    return list(dict.fromkeys(o for o in asked if o not in there and o.op != "constant"))


def call(task: Run, known: Mapping[Term, Tensor]) -> tuple[dict[Term, Tensor], list[Tensor]]:
    """Run a task by the operator: the wanted terms and the last states."""
    graph = task.graph
    names, held = list(task.names), sorted(task.hold)
    given = known_terms(graph, held)
    steps = [*task.inputs.values(), *task.hold.values()]
    states = list(task.states.values())
    found = loops(
        [known[one] for one in given],
        states,
        list(task.fresh.values()) if task.restart is not None else [],
        task.restart,
        graph.text,
        ",".join(names),
        ",".join(held),
        [task.sizes["input"], task.sizes["hidden"]],
        [len(task.rows), states[0].shape[0]],
        task.reverse,
        any(one.requires_grad for one in steps),
        torch.is_grad_enabled(),
    )
    wanted = wanted_terms(graph, names, given)
    return dict(zip(wanted, found, strict=False)), found[len(wanted) : -1]


@dataclass(frozen=True)
class Call:
    """What an operator's arguments say.

    Attributes:
        positions: Where in `known` each given tensor stands.
        wanted: Where in the kernels' results each wanted term stands.
    """

    built: Kernels
    shape: Shape
    given: list[Tensor]
    positions: list[int]
    wanted: list[int]

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
        inputs: bool,
    ) -> Call:
        """Read the arguments; sizes that torch keeps open are fixed here."""
        graph = of_text(cell)
        bits = 64 if states[0].dtype == torch.float64 else 32
        asked, given_too = (
            tuple(filter(None, names.split(","))),
            tuple(filter(None, held.split(","))),
        )
        built = kernels(graph, (asked, given_too, inputs), bits)
        terms = known_terms(graph, given_too)
        positions = [terms.index(one) for one in built.given]
        numbers = dict(zip(("input", "hidden"), map(int, sizes), strict=True))
        brought = [known[i] for i in positions]
        built.check(brought, numbers)
        if not torch.compiler.is_compiling():
            check_memory([*brought, *states, *fresh])
        given = prepared(built, brought, [*states, *fresh])
        steps, batch = map(int, lengths)
        shape = Shape.of(numbers, steps, batch, steps * batch, given, fresh=bool(fresh))
        lies = [Lie(tuple(map(int, lie.shape)), tuple(map(int, lie.strides))) for lie in shape.lies]
        shape = replace(shape, lies=tuple(lies))
        wanted = [built.wanted.index(one) for one in wanted_terms(graph, asked, terms)]
        return cls(built, shape, given, positions, wanted)


def check_memory(tensors: Sequence[Tensor]) -> None:
    """Refuse tensors whose memory was freed or resized; those without memory are only traced.

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


@torch.library.custom_op("gatewright::loops", mutates_args=())
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
    """Wanted values, the states after the last step, and what the backward pass reads."""
    one = Call.of(known, states, fresh, cell, names, held, sizes, lengths, inputs)
    steps = even(one.shape.steps, one.shape.batch, reverse).restarted(restart)
    places, dtype = [tensor.data_ptr() for tensor in one.given], states[0].dtype
    found, kept = run_forward(
        one.built, one.shape, steps, places, dtype, training=training, cleared=True
    )
    finals = found[len(one.built.wanted) :]
    left = kept if kept is not None else states[0].new_empty(0)
    return [*(found[i] for i in one.wanted), *finals, left]


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
    one = Call.of(known, states, fresh, cell, names, held, sizes, lengths, inputs)
    kind = "training" if training else "inference"
    program = one.built.program(kind, one.shape, forward_program)
    found = []
    for i in one.wanted:
        term = one.built.wanted[i]
        dtype = torch.bool if term.boolean else states[0].dtype
        found.append(states[0].new_empty(one.shape.total, program.units(term), dtype=dtype))
    found += [state.new_empty(state.shape) for state in states]
    return [*found, states[0].new_empty(program.lengths.get("kept", 0) if training else 0)]


@torch.library.custom_op("gatewright::loops_backward", mutates_args=())
def loops_backward(
    kept: Tensor,
    known: Sequence[Tensor],
    states: Sequence[Tensor],
    fresh: Sequence[Tensor],
    restart: Tensor | None,
    gradients: Sequence[Tensor],
    present: Sequence[bool],
    asked: Sequence[bool],
    cell: str,
    names: str,
    held: str,
    sizes: Sequence[int],
    lengths: Sequence[int],
    reverse: bool,
    inputs: bool,
) -> list[Tensor]:
    """The gradients of all tensors, empty where none is asked for.

    `gradients` are those upstream ones that are `present`.
    """
    one = Call.of(known, states, fresh, cell, names, held, sizes, lengths, inputs)
    steps = even(one.shape.steps, one.shape.batch, reverse).restarted(restart)
    rest = iter(gradients)
    reaching = in_rows([next(rest) if there else None for there in present])
    upstream: list[Tensor | None] = [None] * len(one.built.wanted)
    for i, gradient in zip(one.wanted, reaching, strict=False):
        upstream[i] = gradient
    upstream += reaching[len(one.wanted) :]
    every = [*known, *states, *fresh]
    positions = [*one.positions, *range(len(known), len(every))]
    shape = one.shape.backward(upstream, [asked[i] for i in positions])
    places = [tensor.data_ptr() for tensor in one.given]
    forms = [tensor.shape for tensor in one.given]
    back = run_backward(one.built, shape, steps, places, kept, upstream, forms)
    by_position = dict(zip(positions, back, strict=True))
    found = []
    for i, (tensor, wanted) in enumerate(zip(every, asked, strict=True)):
        gradient = by_position.get(i)
        if gradient is not None:
            # Of their own: the gradients of weights are parts of one tensor.
            found.append(gradient.clone(memory_format=torch.contiguous_format))
        else:
            found.append(tensor.new_zeros(tensor.shape if wanted else 0))
    return found


@loops_backward.register_fake
def _(
    kept: Any, known: Any, states: Any, fresh: Any, restart: Any, gradients: Any, present: Any,
    asked: Any, *plan: Any,
) -> list[Tensor]:  # fmt: skip
    every = zip((*known, *states, *fresh), asked, strict=True)
    return [one.new_empty(one.shape if wanted else 0) for one, wanted in every]


def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    """Keep for the backward pass what it reads."""
    known, states, fresh, restart, *plan, training = inputs
    ctx.training = training
    ctx.counts = len(known), len(states), len(fresh)
    ctx.plan = plan
    ctx.save_for_backward(output[-1], restart, *known, *states, *fresh)


def backward(ctx: Any, gradients: Sequence[Tensor | None]) -> Any:
    """The gradients of an operator's tensors."""
    if not ctx.training:
        raise RuntimeError("gatewright::loops ran without gradients; there are none of it")
    kept, restart, *every = ctx.saved_tensors
    known, states, fresh = divided(every, ctx.counts)
    needs = ctx.needs_input_grad
    asked = [one for group in needs[:3] for one in (group or ())]
    present = [one is not None for one in gradients[:-1]]
    reaching = [one for one in gradients[:-1] if one is not None]
    tensors = kept, known, states, fresh, restart, reaching
    back = loops_backward(*tensors, present, asked, *ctx.plan)
    found = [one if wanted else None for one, wanted in zip(back, asked, strict=True)]
    return (*divided(found, ctx.counts), *[None] * (len(ctx.plan) + 2))


def divided(every: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    """One list as several, of so many members."""
    rest = iter(every)
    return [[next(rest) for _ in range(count)] for count in counts]


loops.register_autograd(backward, setup_context=setup_context)
