"""The forward pass of a run: its program, and running it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewright.backends.llvm.call_list import Program, Shape, content, rows_of
from gatewright.backends.llvm.library import Kernels
from gatewright.backends.llvm.memory import POOL
from gatewright.backends.llvm.verify import Span
from gatewright.backends.no_dynamo import untraced
from gatewright.backends.order import Order


@untraced
def run_forward(
    built: Kernels,
    shape: Shape,
    steps: Order,
    given: Sequence[int],
    dtype: torch.dtype,
    *,
    training: bool,
    cleared: bool = False,
    forms: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> tuple[list[Tensor], Tensor | None]:
    """The wanted values, the last states, and the memory that the backward pass reads.

    That memory has gaps that hold anything, or zeros if it is `cleared`.

    Args:
        given: The addresses of what is given.
        forms: The shapes of wanted values and of states without their last axis, `(N,)` and
            `(B,)` unless they are given.
    """
    program = built.program("training" if training else "inference", shape, forward_program)
    kept = POOL.take(dtype, program.lengths.get("kept", 0)) if training else None
    passing = POOL.take(dtype, program.lengths.get("passing", 0))
    if kept is not None and cleared:
        kept.zero_()
        passing.zero_()  # what is computed in the gaps goes on into those of `kept`
    lead, front = forms or ((shape.total,), (shape.batch,))
    outputs = [POOL.take(dtype, *lead, program.units(term)) for term in built.wanted]
    states = built.schedule.graph.states.values()
    finals = [POOL.take(dtype, *front, program.units(term)) for term in states]
    blocks = [0 if one is None else one.data_ptr() for one in (kept, passing)]
    results = [one.data_ptr() for one in (*outputs, *finals)]
    program([*steps.addresses, *blocks, *given, *results])
    wanted = zip(built.wanted, outputs, strict=True)
    return [*(one.bool() if term.boolean else one for term, one in wanted), *finals], kept


def forward_program(built: Kernels, kind: str, shape: Shape) -> Program:
    """The calls of a forward pass, with what `given` has in its order: terms, states, fresh."""
    program = Program(built, shape)
    outputs = [
        program.returned(f"output {i}", term, shape.total) for i, term in enumerate(built.wanted)
    ]
    states = built.schedule.graph.states.values()
    finals = [program.returned(f"final {i}", term, shape.batch) for i, term in enumerate(states)]
    training = kind == "training"
    needed = {f"{part} {one}" for part in built.parts if training for one in built.needed(part)}
    handed = {f"loop leaf {one.index}": f"before kept {one.index}" for one in built.handed}
    needed |= {early for late, early in handed.items() if late in needed}
    taken = {}
    for leaf, term in built.replaced.items() if training else ():
        early, late = f"before kept {leaf.index}", f"loop kept {term.index}"
        if early not in needed and late in needed:
            taken[late] = early
    positions = {term: i for i, term in enumerate(built.given)}
    for name in built.parts:
        plan = built.plans[f"{name}_{kind}"]
        copies = []
        for buffer, term in plan.terms.items():
            own = f"{name} {buffer}"
            if own in handed or own in taken:
                program.places[own] = program.places[handed.get(own) or taken[own]]
                continue
            units = program.units(term)
            if buffer.startswith(("leaf", "vector")):
                rows = rows_of(program, name, buffer)
                place = program.own(f"given {positions[term]}", units, rows)
                if program.whole(term):
                    program.places[own] = place
                    continue
                copies.append((place, own, term))
            mine = buffer.startswith("kept") and term in built.wanted and own not in needed
            if mine and program.whole(term):
                # What torch gets is written where torch gets it.
                program.places[own] = outputs[built.wanted.index(term)]
                continue
            block = "kept" if own in needed or own in taken.values() else "passing"
            program.place(block, rows_of(program, name, buffer), (own, units))
        for place, own, term in copies:
            rows = rows_of(program, name, own.removeprefix(f"{name} "))
            value = content(own.removeprefix(f"{name} "))
            units = program.units(term)
            program.copy(place, program.places[own], rows, units, content=value)
        if name == "loop":
            begin(program, len(built.given))
        program.pack(name, kind, positions)
        program.run(name, kind)
    finish(program, outputs, finals)
    return program.ready()


def begin(program: Program, first: int) -> None:
    """Put the states before the first step, and fresh ones, where the loop reads them."""
    states, batch = program.built.schedule.graph.states, program.shape.batch
    for i, (state, term) in enumerate(states.items()):
        units, target = program.units(term), program.places[f"loop state {state}"]
        value = content(f"state {state}")
        given = program.own(f"given {first + i}", units, batch)
        program.copy(given, target.from_row(batch), batch, units, content=value)
        if program.shape.fresh:
            fresh = program.own(f"given {first + len(states) + i}", units, batch)
            program.copy(fresh, target, batch, units, content=value)


def finish(program: Program, outputs: Sequence[Span], finals: Sequence[Span]) -> None:
    """Copy to torch what is wanted and does not stand there: the kernels read the rest again."""
    built, shape = program.built, program.shape
    total, batch = shape.total, shape.batch
    for term, output in zip(built.wanted, outputs, strict=True):
        units = program.units(term)
        if term.op == "state":
            buffer = f"state {term.attributes['name']}"
            place, value = program.places[f"loop {buffer}"], content(buffer)
            program.copy(place, output, total, units, read="before", content=value)
            continue
        part = next(name for name, part in built.parts.items() if term in part.wanted)
        place, value = program.places[f"{part} kept {term.index}"], content(f"kept {term.index}")
        if place != output:
            program.copy(place, output, total, units, content=value)
    for (state, term), final in zip(built.schedule.graph.states.items(), finals, strict=True):
        place, value = program.places[f"loop state {state}"], content(f"state {state}")
        program.copy(place, final, batch, program.units(term), read="last", content=value)
