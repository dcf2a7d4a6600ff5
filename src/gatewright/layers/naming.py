"""The names of a layer's weights: in its modules, and as they are stored.

Stored they are `layers.<k>.<forward|reverse>.<product>.<source>.weight`. In the module tree layer
and direction are one level, `layers.<k>_<forward|reverse>`: torch.export rebuilds the tree from
plain modules, and none of those can have a child that is called `forward`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.layers.recurrent import Recurrent


def direction(reverse: bool) -> str:
    """The name of a direction in weights and traces."""
    return "reverse" if reverse else "forward"


def place_name(layer: int, reverse: bool) -> str:
    """Under which name the weights of one layer in one direction stand."""
    return f"{layer}_{direction(reverse)}"


def store_names(layer: Recurrent, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Give stored weights the names `layers.<k>.<forward|reverse>...`."""
    for place in layer.places:
        rename(state, *stored_prefixes(prefix, *place))


def own_names(layer: Recurrent, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take stored weights by the names of the layer's own modules."""
    for place in layer.places:
        rename(state, *reversed(stored_prefixes(prefix, *place)))


def stored_prefixes(prefix: str, layer: int, reverse: bool) -> tuple[str, str]:
    """How the names of a place's weights begin in the layer, and in what is stored."""
    own = f"{prefix}layers.{place_name(layer, reverse)}."
    return own, f"{prefix}layers.{layer}.{direction(reverse)}."


def rename(state: dict[str, Any], old: str, new: str) -> None:
    """Change the beginning of keys, in place and keeping their order."""
    items = [(new + k.removeprefix(old) if k.startswith(old) else k, v) for k, v in state.items()]
    state.clear()
    state.update(items)
