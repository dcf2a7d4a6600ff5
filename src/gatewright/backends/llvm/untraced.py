"""Functions that torch's compiler leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch._C._dynamo.eval_frame import set_eval_frame

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose Python nobody compiles.

    Where a frame of a compiled program runs as it is, torch compiles what that calls, here the
    tables of addresses that a kernel gets. What `torch.compiler.disable` does against it, which
    would import all of the compiler.
    """

    @wraps(function)
    def alone(*given: P.args, **named: P.kwargs) -> R:
        before = set_eval_frame(None)
        try:
            return function(*given, **named)
        finally:
            set_eval_frame(before)

    return alone
