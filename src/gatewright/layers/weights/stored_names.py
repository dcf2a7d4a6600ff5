"""The names of a layer's weights: in its modules, and in files.

In the module tree layer and direction are one level, `layers.<k>_<forward|reverse>`: torch.export
rebuilds the tree from plain modules, and none of those can have a child called `forward`.
`state_dict` and `named_parameters` use these names. A saved model has two levels,
`layers.<k>.<forward|reverse>.<product>.<source>.weight`; a state_dict with either loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: A layer's number, and whether it reads the sequence in reverse.
Place = tuple[int, bool]


def direction(reverse: bool) -> str:
    """The name of a direction in weights and traces."""
    return "reverse" if reverse else "forward"


def place_name(layer: int, reverse: bool) -> str:
    """The name of the module with the weights of one layer in one direction."""
    return f"{layer}_{direction(reverse)}"


def to_module_names(state: dict[str, Any], prefix: str, places: Iterable[Place]) -> None:
    """Rename the weights of a file as a layer's modules name them, in place."""
    for place in places:
        rename(state, *reversed(prefixes(prefix, *place)))


def to_file_names(state: dict[str, Any], prefix: str, places: Iterable[Place]) -> None:
    """Rename the weights of a layer's modules as files name them, in place."""
    for place in places:
        rename(state, *prefixes(prefix, *place))


def prefixes(prefix: str, layer: int, reverse: bool) -> tuple[str, str]:
    """The beginning of the names of a place's weights: in the modules, and in files."""
    in_modules = f"{prefix}layers.{place_name(layer, reverse)}."
    return in_modules, f"{prefix}layers.{layer}.{direction(reverse)}."


def rename(state: dict[str, Any], old: str, new: str) -> None:
    """Change the beginning of keys, in place and keeping their order."""
    items = [(new + k.removeprefix(old) if k.startswith(old) else k, v) for k, v in state.items()]
    state.clear()
    state.update(items)
