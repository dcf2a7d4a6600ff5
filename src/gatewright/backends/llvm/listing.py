"""A cell's kernel as text to be read, in LLVM's language or in assembly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llvmlite import ir

from gatewright.backends.llvm.build import optimised
from gatewright.backends.llvm.kernel import emit
from gatewright.backends.llvm.library import Kernels, unsupported_graph
from gatewright.backends.llvm.target import Target, target
from gatewright.errors import BackendError
from gatewright.graph import Graph
from gatewright.schedule.describe import Description
from gatewright.schedule.loop import ScheduleOptions
from gatewright.schedule.slots import AFTER, BEFORE, OFFSETS, ROWS, STEPS, Plan
from gatewright.schedule.tiling import EPILOGUE_ROWS

#: Numbers of float32, in which the kernel is printed.
BITS = 32
FIRST_SLOTS = {
    STEPS: "the number of steps",
    ROWS: "for each step, how many rows run",
    OFFSETS: "for each step, its first packed row",
    BEFORE: "for each packed row, the row of its states before the step",
    AFTER: "for each packed row, the row of its states after the step",
}


def kernel_text(
    graph: Graph, form: str = "llvm", *, backward: bool = False, processor: Target | None = None
) -> str:
    """Print the kernel of a cell's loop in float32, with comments.

    Args:
        form: "llvm", as it is emitted, or "asm", after LLVM's own passes.
        backward: The loop of the backward pass instead of inference.
        processor: The processor that it is for; by default that of this process.

    Raises:
        BackendError: if the kernels cannot run the cell.
    """
    if (reason := unsupported_graph(graph)) is not None:
        raise BackendError(f"there is no kernel of {graph.equations.name}: {reason}")
    processor = processor or target()
    numbers = processor.numbers(BITS)
    name = "loop_backward" if backward else "loop_inference"
    plan = Kernels(graph, ScheduleOptions(input_gradients=False), numbers).plans[name]
    module = ir.Module("gatewright")
    emit(module, name, plan, numbers, processor.registers)
    header = _header(graph, plan, processor, name, numbers.lanes)
    if form == "asm":
        text = str(processor.machine().emit_assembly(optimised(module, processor)))
        mark = "//" if processor.triple.startswith(("aarch64", "arm64")) else "#"
        return "\n".join([*(f"{mark} {line}".rstrip() for line in header), "", text])
    module.triple = processor.triple
    comments = _comments(graph, plan, name, [function.name for function in module.functions])
    lines = [f"; {line}".rstrip() for line in header]
    lines += ["", f'target triple = "{module.triple}"']
    for function in module.functions:
        lines += ["", *(f"; {line}" for line in comments.get(function.name, ()))]
        lines += [str(function).rstrip()]
    return "\n".join(lines) + "\n"


def _header(graph: Graph, plan: Plan, processor: Target, name: str, lanes: int) -> Iterator[str]:
    """The cell, the processor, and the contents of each slot of the kernel's table."""
    description = Description(graph, plan)
    direction = "backward pass" if name == "loop_backward" else "inference"
    yield f"The loop of {graph.equations.name}, {direction}, float32."
    yield (
        f"For {processor.cpu} ({processor.triple}): vectors of {processor.bits} bits, so "
        f"{lanes} units are a block; {processor.registers} vector registers."
    )
    yield "Everything that needs no state is computed for all steps before, by another kernel."
    yield "Sizes are no part of the code: a kernel reads them from its table."
    yield ""
    for line in description.equations():
        yield f"  {line}"
    yield ""
    yield "Slots of the table, 8 bytes each:"
    slots = dict(FIRST_SLOTS)
    for buffer, slot in plan.buffers.items():
        slots[slot] = f"address of {description.buffer(buffer)}"
        slots[slot + 1] = "the length of its rows, padded to whole vectors"
    for groups in plan.groups.values():
        for group in groups:
            slots[group.slot] = f"address of the packed matrices; {description.group(group)}"
            slots[group.slot + 1] = "the numbers of one block of units in them"
    for size, slot in plan.sizes.items():
        slots[slot] = f"the size {size}"
    for slot, meaning in sorted(slots.items()):
        yield f"  {slot:>3}  {meaning}"


def _comments(
    graph: Graph, plan: Plan, name: str, functions: Sequence[str]
) -> dict[str, list[str]]:
    """The comment in front of each function, by its name."""
    description = Description(graph, plan)
    comments = {
        f"{name}_team": [
            "One thread of a team: (table, first row, end row, thread, threads, barrier).",
            "For each step it runs the nests in order, on a chunk of rows that fits the cache.",
        ],
        name: [
            "All units of these rows in one thread: (table, first row, end row).",
        ],
        "barrier": ["Blocks until all threads of the team have arrived."],
    }
    for position, nest in enumerate(plan.loop.nests):
        nest_name = f"{name}_{position}"
        units = f"nest {position}, over {nest.size} units"
        comments[nest_name] = [
            f"All tiles of {units}:",
            "(table, first packed row of the step, first row, end row, thread, threads, turned);",
            "a turned nest takes the blocks from the last to the first.",
            *(f"  {line}" for line in description.nest(nest)),
        ]
        comments[f"{nest_name}_terms"] = [
            f"The pointwise terms of {units}, for one row and one block of units:",
            "(table, packed row, row of the batch, first unit, the sums of products of "
            f"{', '.join(description.label(term) for term in nest.sums) or 'no term'}).",
        ]
        several = f"{nest_name}_terms_{EPILOGUE_ROWS}"
        comments[several] = [
            f"The same for {EPILOGUE_ROWS} rows, one after the other in each term."
        ]
        for function in functions:
            tile = function.removeprefix(f"{nest_name}_")
            if tile == function or "x" not in tile:
                continue
            rows, blocks = tile.split("x")
            comments[function] = [
                f"A tile of {units}: rows x blocks of units = {rows} x {blocks}.",
                "(table, first packed row of the step, first row, first block).",
                "It prefetches the operands of the terms, sums the products along K in registers,",
                "and calls the terms for each row and block.",
            ]
    return comments
