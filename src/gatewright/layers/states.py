"""States between the user's form, one tensor a state, and one mapping a layer and direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewright.errors import ArgumentError, SizeError
from gatewright.graph.sizes import number
from gatewright.layers.call_inputs import as_weights
from gatewright.layers.readable import check_readable
from gatewright.layers.sequences import Layout

if TYPE_CHECKING:
    from gatewright.layers.recurrent import Recurrent


def state_sizes(layer: Recurrent, name: str) -> list[int]:
    """A state's size at each layer."""
    size = layer.graph.states[name].size
    return [number(size, layer.sizes(k)) for k in range(layer.num_layers)]


def split_states(
    layer: Recurrent, hx: Any, layout: Layout, like: Tensor
) -> Sequence[Mapping[str, Tensor] | None]:
    """The user's states by place (layer by layer, forwards first), rows sorted as in `layout`.

    Raises:
        ArgumentError, SizeError: naming the state, its shape and the shape expected.
    """
    places = layer.num_layers * layer.directions
    if hx is None:
        return [None] * places
    names = list(layer.graph.states)
    given = (hx,) if len(names) == 1 else hx
    if not isinstance(given, tuple | list) or len(given) != len(names):
        expected = "one tensor" if len(names) == 1 else f"a tuple ({', '.join(names)})"
        what = f"{len(given)} of them" if isinstance(given, tuple | list) else type(given).__name__
        raise ArgumentError(f"the states are {expected}; given was {what}")
    split: list[dict[str, Tensor]] = [{} for _ in range(places)]
    for name, state in zip(names, given, strict=True):
        if state is None:
            raise ArgumentError(f"state {name} is None; give all states or none")
        for place, one in enumerate(_by_place(layer, name, state, layout)):
            checked = as_weights(one, like, f"state {name}")
            split[place][name] = layout.sort(checked)
    return split


def join_states(layer: Recurrent, after: Sequence[Mapping[str, Tensor]], layout: Layout) -> Any:
    """The states after a run in the user's form."""
    joined: list[Any] = []
    for name in layer.graph.states:
        by_place = [one[name].squeeze(0) if layout.unbatched else one[name] for one in after]
        if _uneven(layer, name):
            d = layer.directions
            pairs = [by_place[k * d : (k + 1) * d] for k in range(layer.num_layers)]
            joined.append([torch.stack(pair) for pair in pairs])
        else:
            alone = len(by_place) == 1
            joined.append(by_place[0].unsqueeze(0) if alone else torch.stack(by_place))
    return joined[0] if len(joined) == 1 else tuple(joined)


def _uneven(layer: Recurrent, name: str) -> bool:
    """Whether a state's size differs by layer, so that it is one tensor a layer."""
    return layer.num_layers > 1 and len(set(state_sizes(layer, name))) > 1


def _by_place(layer: Recurrent, name: str, state: Any, layout: Layout) -> list[Tensor]:
    sizes, d = state_sizes(layer, name), layer.directions
    rows = () if layout.unbatched else (layout.batch,)
    if not _uneven(layer, name):
        _check(state, name, (layer.num_layers * d, *rows, sizes[0]), "layers x directions")
        parts = list(state)
    else:
        if not isinstance(state, tuple | list) or len(state) != layer.num_layers:
            raise ArgumentError(
                f"state {name} has another size at each layer ({sizes}); give a list of "
                f"{layer.num_layers} tensors, one a layer"
            )
        for one, size in zip(state, sizes, strict=True):
            _check(one, name, (d, *rows, size), "directions")
        parts = [part for one in state for part in one]
    return [part.unsqueeze(0) if layout.unbatched else part for part in parts]


def _check(state: Any, name: str, shape: tuple[int, ...], first: str) -> None:
    check_readable(state, f"state {name}")
    if tuple(state.shape) != shape:
        axes = f"({first}, batch, size)" if len(shape) == 3 else f"({first}, size)"
        raise SizeError(f"state {name} has shape {tuple(state.shape)}; expected {shape} = {axes}")


def without_views(results: Any, arguments: Any) -> Any:
    """Results, nested or packed, that are no views, as those of torch: users detach them in place.

    What lies in the memory of an argument, or has one number at several places, is copied:
    users change results in place.
    """
    lent = {tensor.untyped_storage()._cdata for tensor in tensors_in(arguments)}

    def owned(part: Any) -> Any:
        if isinstance(part, PackedSequence):
            return part._replace(data=owned(part.data))
        if isinstance(part, tuple | list):
            return type(part)(map(owned, part))
        if part.untyped_storage()._cdata in lent or 0 in part.stride():
            return part.clone()
        if not part._is_view():
            return part
        return torch.ops.aten._unsafe_view(part, part.shape)

    return owned(results)


def tensors_in(parts: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples and lists."""
    if isinstance(parts, Tensor):
        yield parts
    elif isinstance(parts, tuple | list):
        for part in parts:
            yield from tensors_in(part)
