"""A cell's kernel as text to be read, in Triton's language. Printing it needs no Triton."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from gatewright.backends.triton.loop import LoopKernels, unsupported_graph
from gatewright.backends.triton.tiles import Tiles
from gatewright.errors import BackendError
from gatewright.graph import Graph
from gatewright.graph.sizes import number
from gatewright.schedule.describe import Description
from gatewright.schedule.loop import ScheduleOptions

#: Rows of the batch, and multiprocessors of the GPU (an H100 has 132), that it is printed for.
BATCH, PROCESSORS = 16, 132
ARGUMENTS = {
    "counters": "for each tile, how often its programs have arrived at a barrier",
    "rows, offsets": "for each step, how many rows run, and its first packed row",
    "before": "for each packed row, the row of its states before the step",
}


def kernel_text(graph: Graph, sizes: Mapping[str, int], *, backward: bool = False) -> str:
    """Print the kernel of a cell's loop in float32, with comments.

    Args:
        sizes: The numbers of the letters, such as `{"input": 16, "hidden": 64}`.
        backward: The loop of the backward pass instead of inference.

    Raises:
        BackendError: if the kernels cannot run the cell.
    """
    if (reason := unsupported_graph(graph, (), ())) is not None:
        raise BackendError(f"there is no kernel of {graph.equations.name}: {reason}")
    kind = "backward" if backward else "inference"
    loop = LoopKernels(graph, ScheduleOptions(input_gradients=False), tuple(sizes.items()))
    nests = loop.plans[kind].loop.nests
    tiles = Tiles.of(BATCH, [number(nest.size, sizes) for nest in nests], PROCESSORS)
    _, text = loop.printed(kind, tiles, torch.float32)
    header = "\n".join(f"# {line}".rstrip() for line in _header(loop, kind, tiles))
    return f"{header}\n{text}"


def _header(loop: LoopKernels, kind: str, tiles: Tiles) -> Iterator[str]:
    """The cell, its sizes, the division of the work, the arguments and the terms."""
    graph, plan = loop.schedule.graph, loop.plans[kind]
    description = Description(graph, plan)
    direction = "backward pass" if kind == "backward" else "inference"
    sizes = ", ".join(f"{name} {size}" for name, size in loop.sizes.items())
    yield f"The loop of {graph.equations.name}, {direction}, float32; sizes: {sizes}."
    yield (
        f"For {BATCH} rows on a GPU of {PROCESSORS} multiprocessors: tiles of {tiles.rows} rows, "
        f"whose units are divided among {tiles.parts} program(s) of {tiles.warps} warps."
    )
    yield "Everything that needs no state is computed for all steps before, by torch."
    yield ""
    for line in description.equations():
        yield f"  {line}"
    yield ""
    yield "Arguments:"
    for name, meaning in ARGUMENTS.items():
        yield f"  {name}: {meaning}"
    for buffer in plan.buffers:
        yield f"  {description.buffer(buffer)}"
    for position, nest in enumerate(plan.loop.nests):
        yield ""
        yield f"Nest {position}; %35 is called t35 where it is computed and v35 where it is loaded:"
        for line in description.nest(nest):
            yield f"  {line}"
