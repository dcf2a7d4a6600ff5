"""`detach`: states without the graph that they were computed by."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from gatewright.errors import ArgumentError

State = TypeVar("State")


def detach(state: State) -> State:
    """Return states cut off from their graph, so that no gradient goes back past them.

    Call it between two chunks of a long sequence: the states are carried on as values, and the
    memory of the chunk before is free.

    >>> import torch, gatewright as gw
    >>> layer = gw.LSTM(3, 4)
    >>> _, state = layer(torch.ones(5, 2, 3))
    >>> [tensor.requires_grad for tensor in gw.detach(state)]
    [False, False]

    Args:
        state: What a layer returns or takes as its states: a tensor, or tuples, lists and
            dictionaries of them; None stays None.

    Raises:
        ArgumentError: if there is something else among them.
    """
    result: State = _detached(state)
    return result


def _detached(state: Any) -> Any:
    match state:
        case None:
            return None
        case Tensor():
            return state.detach()
        case tuple() if hasattr(state, "_fields"):  # a named tuple takes its fields one by one
            return type(state)(*map(_detached, state))
        case tuple() | list():
            return type(state)(map(_detached, state))
        case dict():
            return {name: _detached(value) for name, value in state.items()}
    raise ArgumentError(
        f"a state is a {type(state).__name__}; expected a tensor, or a tuple, list or dictionary "
        "of tensors"
    )
