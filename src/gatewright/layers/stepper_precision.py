"""The precision of a stepper: its dtype, and the states that int8 expects within -1 and 1."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from gatewright.backends.int8 import SLACK, largest_number
from gatewright.backends.stream import Array, Products
from gatewright.errors import ArgumentError
from gatewright.graph import Graph
from gatewright.graph.ranges import within_one
from gatewright.layers.stepper_arrays import DTYPES
from gatewright.names import did_you_mean

#: The precisions that a stepper knows by name, and the dtype of its states and pointwise part.
PRECISIONS: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.float32,
    "int8": torch.float32,
}

#: Of these, the ones in which the factors of products are rounded.
ROUNDED: Mapping[str, Products] = {"bfloat16": "bfloat16", "int8": "int8"}


def stream_dtype(precision: str | None, dtype: torch.dtype | None, own: torch.dtype) -> torch.dtype:
    """Return the dtype of a stepper's events and states.

    Args:
        precision: A name, or None for that of the dtype.
        dtype: The dtype that was asked for, or None.
        own: The dtype of the layer's weights.

    Raises:
        ArgumentError: if a stepper has no such precision or dtype, or they contradict each other.
    """
    if precision is None:
        result = dtype if dtype is not None else own
        if result not in DTYPES:
            raise ArgumentError(
                f"the dtype is {result}; events and states of a stepper are in float32 or "
                "float64: give dtype=torch.float32, or precision='bfloat16' to round the factors "
                "of products to it"
            )
        return result
    if not isinstance(precision, str) or precision not in PRECISIONS:
        nearest = did_you_mean(str(precision), PRECISIONS)
        raise ArgumentError(
            f"precision is {precision!r}; {nearest}expected {', '.join(PRECISIONS)}"
        )
    if dtype not in (None, PRECISIONS[precision]):
        raise ArgumentError(
            f"precision is {precision!r} and dtype is {dtype}; {precision} has events and states "
            f"in {PRECISIONS[precision]}: leave dtype out"
        )
    return PRECISIONS[precision]


def bounded_states(graph: Graph) -> frozenset[str]:
    """The states whose values int8 takes to lie within -1 and 1, since every step keeps them so."""
    bounded = within_one(graph)
    return frozenset(name for name, state in graph.states.items() if state in bounded)


def check_bounds(states: Mapping[str, Array], bounded: Collection[str]) -> None:
    """Refuse numbers beyond the bounds of a state, which int8 would cut off.

    Args:
        states: New values by name.
        bounded: The names of states within -1 and 1.

    Raises:
        ArgumentError: naming the state, its largest value and the precision that has no bounds.
    """
    for name in bounded:
        largest = largest_number(torch.from_numpy(states[name])) if name in states else 0.0
        if largest > 1.0 + SLACK:
            raise ArgumentError(
                f"state {name} holds {largest:g}; with precision='int8' it lies within -1 and 1, "
                "as each step of this cell leaves it: scale it, or use precision='float32'"
            )
