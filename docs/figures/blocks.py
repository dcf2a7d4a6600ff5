"""The marks between which a page has generated text, and the text between them.

A block has lines of its own:

    <!-- NAME: made by docs/SCRIPT.py -->
    ...
    <!-- end of NAME -->

A figure within a sentence: `it takes <!--NAME-->2.1<!--/--> µs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

INLINE = re.compile(r"<!--([\w.-]+)-->([^\n]*?)<!--/-->")


def between(text: str, name: str, script: str, content: str) -> str:
    """Return a page with `content` in the block of a name.

    Raises:
        ValueError: if the page has no such block.
    """
    begin, end = f"<!-- {name}: made by docs/{script}.py -->\n", f"<!-- end of {name} -->"
    before, opening, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not (opening and closing):
        raise ValueError(f"expected the lines {begin.strip()} and {end}")
    return before + begin + content.strip("\n") + "\n" + end + after


def names(text: str, script: str) -> set[str]:
    """Return the names of the figures that a page has, blocks and those within sentences."""
    blocks = re.findall(rf"<!-- (\S+): made by docs/{script}\.py -->", text)
    return {*blocks, *(match[1] for match in INLINE.finditer(text))}


def filled(text: str, script: str, figures: Mapping[str, Callable[[], str]]) -> str:
    """Return a page with all its figures made anew.

    Raises:
        ValueError: if a figure is unknown, or is a mark at the beginning of a line, where Markdown
            would take the whole line for HTML.
    """
    used = names(text, script)
    if unknown := sorted(used - figures.keys()):
        raise ValueError(f"no figure has the name {', '.join(unknown)}; expected a key of FIGURES")
    if misplaced := re.findall(r"(?m)^<!--([\w.-]+)-->", text):
        raise ValueError(f"put a word in front of {', '.join(misplaced)} on its line")
    for name in used:
        if f"<!-- {name}: " in text:
            text = between(text, name, script, figures[name]())
    return INLINE.sub(lambda match: f"<!--{match[1]}-->{figures[match[1]]()}<!--/-->", text)
