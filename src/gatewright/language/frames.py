"""Where in a running step one is: Python's own frames of it, with its lines and local names.

No source text is needed, so a cell typed into a plain interpreter reads like one from a file.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType

from gatewright.language.values import Value

#: They share the step's names since Python 3.12, and have frames of their own before.
COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


def frames_of(code: CodeType) -> list[FrameType]:
    """The frames of comprehensions in the step, the innermost first, and the step's own.

    None at all where no step of this code is running.
    """
    frame: FrameType | None = sys._getframe()
    found: list[FrameType] = []
    while frame is not None and frame.f_code is not code:
        if frame.f_code.co_name in COMPREHENSIONS:
            found.append(frame)
        frame = frame.f_back
    return [*found, frame] if frame is not None else []


def line_in(code: CodeType) -> int | None:
    """The line of the step that is running."""
    frames = frames_of(code)
    return frames[-1].f_lineno if frames else None


def values_in(code: CodeType) -> dict[str, Value]:
    """The values that have a name in the step at this moment."""
    frames = frames_of(code)
    named = dict(frames[-1].f_locals) if frames else {}
    return {name: bound for name, bound in named.items() if isinstance(bound, Value)}


def name_in(code: CodeType, value: Value) -> str | None:
    """The name that a value has in the step at this moment."""
    for frame in reversed(frames_of(code)):
        for name, bound in frame.f_locals.items():
            if isinstance(bound, Value) and bound.node is value.node:
                return str(name)
    return None


def line_of(error: BaseException, code: CodeType) -> int | None:
    """The line of the step from which an exception of the user's own came."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    return trace.tb_lineno if trace is not None else None
