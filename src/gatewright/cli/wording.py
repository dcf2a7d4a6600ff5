"""Messages of the library in the command line's words: `--fill linear` for `fill='linear'`."""

from __future__ import annotations

import re

from gatewright.escaping import printable

#: Arguments of the library whose option has another name.
_OPTIONS = {"hidden_size": "hidden", "networks": "cells", "max_streams": "max-streams"}
#: Flags of the library that a message may ask for; not inside of a call, as in `f(x, resume=True)`.
_FLAG = re.compile(r"(?<!, )\b(overwrite|resume)=True")
_NAMES = (
    "task|target|time|id|label|known|static|ignore|text|fill|decimal|thousands|encoding|"
    "timezone|horizon|window|memory|minutes|unknown|cell|cells|"
    "seeds|epochs|budget|parameters|design|layers|readout|front|segment|hidden_size|networks|backend|theme|"
    "port|max_streams|states|trials|workers|pruner|folds|device|precision|chunk|recompute|log"
)
_QUOTED = r"'[^']*'|\"[^\"]*\""
_ARGUMENT = re.compile(
    rf"(?<![\w'.-])(?P<name>{_NAMES})=(?P<values>(?:{_QUOTED}|\d+)(?:(?:, | or )(?:{_QUOTED}))*)?"
)


def on_screen(message: str) -> str:
    """A message in the command line's words, with its control characters escaped."""
    return printable(in_options(message), keep="\n")


def in_options(message: str) -> str:
    """Replace the arguments of Python that a message names by the options.

    >>> in_options("write a number, or say fill='linear', 'previous' or 'drop'")
    'write a number, or say --fill linear, previous or drop'
    >>> in_options("say which one is with label=. Its columns are: a, b")
    'say which one is with --label. Its columns are: a, b'
    """

    def option(match: re.Match[str]) -> str:
        name = _OPTIONS.get(match["name"], match["name"])
        values = match["values"]
        if values is None:
            return f"--{name}"
        # A value with a space keeps its quotes, as a shell wants it.
        plain = re.sub(_QUOTED, lambda q: q[0] if " " in q[0] else q[0][1:-1], values)
        return f"--{name} {plain}"

    return _FLAG.sub(r"--\1", _ARGUMENT.sub(option, message))
