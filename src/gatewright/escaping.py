"""Text from data and models, made harmless for the place where it is shown.

A column's name, a class or a file's name may hold anything: control characters that move a
terminal's cursor, brackets that its markup takes for tags, HTML, the bars of a Markdown table.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

#: Characters that Markdown or HTML in it may read as more than a character.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~])")
_ENTITIES = {"<": "&lt;", ">": "&gt;"}
#: Turns the direction of the text that follows, so that it reads as something else.
_TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: object, *, keep: str = "") -> str:
    r"""A text without control characters, which are written as escapes.

    >>> print(printable("speed\x1b[2J\n"))
    speed\x1b[2J\n

    Args:
        keep: Control characters that stay, such as line breaks of the caller's own.
    """
    return "".join(
        letter if letter in keep or not _controls(letter) else _written_out(letter)
        for letter in str(text)
    )


def terminal_text(text: object) -> Text:
    """A text for a table of rich's: neither control characters nor markup act in it."""
    from rich.text import Text

    return Text(printable(text, keep="\n"))


def markdown(text: object) -> str:
    r"""A text for a line of Markdown or a cell of its tables.

    >>> print(markdown("a|b <script> [x](y)"))
    a\|b &lt;script&gt; \[x\](y)
    """
    escaped = _MARKDOWN.sub(
        lambda match: _ENTITIES.get(match[1], f"\\{match[1]}"), str(text).replace("&", "&amp;")
    )
    return printable(escaped)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _controls(character: str) -> bool:
    return character in _TURNING or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
