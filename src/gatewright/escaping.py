"""Escape text from data and models for the place where it is shown.

A column's name, a class or a file's name may contain anything: control characters that move a
terminal's cursor, brackets that rich takes for markup, HTML, the bars of a Markdown table.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

#: Characters that have a meaning in Markdown, or in HTML inside it.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~])")
_ENTITIES = {"<": "&lt;", ">": "&gt;"}
#: Characters that change the direction of the text behind them, so that it reads differently.
_DIRECTION = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: object, *, keep: str = "") -> str:
    r"""Write the control characters of a text as escapes.

    >>> print(printable("speed\x1b[2J\n"))
    speed\x1b[2J\n

    Args:
        keep: Control characters that stay as they are, such as the caller's line breaks.
    """
    return "".join(
        letter if letter in keep or not _controls(letter) else _written_out(letter)
        for letter in str(text)
    )


def terminal_text(text: object) -> Text:
    """A text for a table of rich, in which control characters and markup have no effect."""
    from rich.text import Text

    return Text(printable(text, keep="\n"))


def markdown(text: object) -> str:
    r"""Escape a text for a line of Markdown, or a cell of a table.

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
    return character in _DIRECTION or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
