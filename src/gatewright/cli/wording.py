"""What the library says, in the command line's words: `--fill linear` for `fill='linear'`."""

from __future__ import annotations

import re

from gatewright.escaping import printable

#: Arguments of the library whose option is called otherwise.
_OTHERWISE = {"hidden_size": "hidden"}
_NAMES = (
    "task|target|time|id|label|known|static|ignore|text|fill|decimal|thousands|encoding|"
    "timezone|horizon|window|memory|minutes|unknown|cell|cells|"
    "seeds|epochs|budget|hidden_size"
)
_QUOTED = r"'[^']*'|\"[^\"]*\""
_ARGUMENT = re.compile(
    rf"(?<![\w'.-])(?P<name>{_NAMES})=(?P<values>(?:{_QUOTED}|\d+)(?:(?:, | or )(?:{_QUOTED}))*)?"
)


def on_screen(said: str) -> str:
    """A message in the command line's words, in which no control character acts."""
    return printable(in_options(said), keep="\n")


def in_options(said: str) -> str:
    """A message whose hints are arguments of Python, with the options in their place.

    >>> in_options("write a number, or say fill='linear', 'previous' or 'drop'")
    'write a number, or say --fill linear, previous or drop'
    >>> in_options("say which one is with label=. Its columns are: a, b")
    'say which one is with --label. Its columns are: a, b'
    """

    def option(found: re.Match[str]) -> str:
        name = _OTHERWISE.get(found["name"], found["name"])
        values = found["values"]
        if values is None:
            return f"--{name}"
        # A value with a space keeps its quotes, as a shell wants it.
        plain = re.sub(_QUOTED, lambda one: one[0] if " " in one[0] else one[0][1:-1], values)
        return f"--{name} {plain}"

    return _ARGUMENT.sub(option, said).replace("overwrite=True", "--overwrite")
