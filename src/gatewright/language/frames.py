"""Look into Python's frames of a running step: its current line and its local names.

No source text is needed, so a cell typed into a plain interpreter reads like one from a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

#: Comprehensions have frames of their own before Python 3.12, and share the step's since.
COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


def frames_of(code: CodeType) -> list[FrameType]:
    """The frame of the step with this code, last, after those of comprehensions within it.

    Empty where no step with this code is running.
    """
    frame: FrameType | None = sys._getframe()
    frames: list[FrameType] = []
    while frame is not None and frame.f_code is not code:
        if frame.f_code.co_name in COMPREHENSIONS:
            frames.append(frame)
        frame = frame.f_back
    return [*frames, frame] if frame is not None else []


def line_in(code: CodeType) -> int | None:
    """The line of the step that is running now."""
    frames = frames_of(code)
    return frames[-1].f_lineno if frames else None


def locals_in(code: CodeType) -> dict[str, Any]:
    """The local variables of the running step, in the order of their first assignment."""
    frames = frames_of(code)
    return dict(frames[-1].f_locals) if frames else {}


def visible_names(code: CodeType) -> Iterator[tuple[str, Any]]:
    """Names and objects of the running step, then those of the comprehensions within it."""
    for frame in reversed(frames_of(code)):
        yield from frame.f_locals.items()


def line_of(error: BaseException, code: CodeType) -> int | None:
    """The line of the step in which an exception of the user's code was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    return trace.tb_lineno if trace is not None else None
