"""States: one tensor each for the user, one mapping for each layer and direction inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewright.errors import ArgumentError, SizeError, WrongType
from gatewright.layers.form import Form
from gatewright.layers.readable import as_weights, check_readable
from gatewright.layers.sequences import BatchLayout

#: The states of one layer in one direction, by name, each `(B, size)`.
PlaceStates = dict[str, Tensor]


def name_states(names: Iterable[str], hx: Any) -> dict[str, Any]:
    """The user's states by name: a single one is bare, several are in a tuple.

    Raises:
        WrongType, SizeError: if there is no tuple, or another number of states.
    """
    names = tuple(names)
    if len(names) == 1:
        return {names[0]: hx}
    expected = f"a tuple ({', '.join(names)})"
    if not isinstance(hx, tuple | list):
        raise WrongType(f"the states are {expected}; given was {type(hx).__name__}")
    if len(hx) != len(names):
        raise SizeError(f"the states are {expected}; given was {len(hx)} of them")
    return dict(zip(names, hx, strict=True))


def split_states(
    form: Form, hx: Any, layout: BatchLayout, like: Tensor
) -> Sequence[PlaceStates | None]:
    """The user's states in the order of `form.places`, rows sorted; None for the starts.

    Raises:
        ArgumentError, SizeError: naming the state, its shape and the shape expected.
    """
    count = form.num_layers * form.directions
    if hx is None:
        return [None] * count
    split: list[PlaceStates] = [{} for _ in range(count)]
    for name, state in name_states(form.graph.states, hx).items():
        if state is None:
            raise ArgumentError(f"state {name} is None; give all states or none")
        for place_states, part in zip(split, _by_place(form, name, state, layout), strict=True):
            place_states[name] = layout.sort(as_weights(part, like, f"state {name}"))
    return split


def join_states(form: Form, by_place: Sequence[PlaceStates], layout: BatchLayout) -> Any:
    """The states of all places, in the user's form and order of rows."""
    joined: list[Any] = []
    count = len(by_place)
    names = list(form.graph.states)
    unsorted = layout.unsort([states[name] for name in names for states in by_place])
    for index, name in enumerate(names):
        parts = unsorted[index * count : (index + 1) * count]
        parts = [part.squeeze(0) for part in parts] if layout.unbatched else parts
        if form.differs_by_layer(name):
            d = form.directions
            joined.append([torch.stack(parts[k * d : (k + 1) * d]) for k in range(form.num_layers)])
        else:  # of a single part a view is enough
            joined.append(parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts))
    return joined[0] if len(joined) == 1 else tuple(joined)


def _by_place(form: Form, name: str, state: Any, layout: BatchLayout) -> list[Tensor]:
    sizes, d = form.state_sizes(name), form.directions
    rows = () if layout.unbatched else (layout.batch,)
    if not form.differs_by_layer(name):
        _check(state, name, (form.num_layers * d, *rows, sizes[0]), "layers x directions")
        parts = list(state)
    else:
        if not isinstance(state, tuple | list) or len(state) != form.num_layers:
            raise ArgumentError(
                f"state {name} has another size at each layer ({sizes}); give a list of "
                f"{form.num_layers} tensors, one a layer"
            )
        for tensor, size in zip(state, sizes, strict=True):
            _check(tensor, name, (d, *rows, size), "directions")
        parts = [part for tensor in state for part in tensor]
    return [part.unsqueeze(0) if layout.unbatched else part for part in parts]


def _check(state: Any, name: str, shape: tuple[int, ...], first: str) -> None:
    check_readable(state, f"state {name}")
    if tuple(state.shape) != shape:
        axes = f"({first}, batch, size)" if len(shape) == 3 else f"({first}, size)"
        raise SizeError(f"state {name} has shape {tuple(state.shape)}; expected {shape} = {axes}")
