"""Docstrings as Markdown."""

from __future__ import annotations

import re

SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Raises": "Raises",
    "Returns": "Returns",
    "Yields": "Yields",
}
ENTRY = re.compile(r"^(\*{0,2}[\w.\[\]`\"]+(?:, \*{0,2}[\w.]+)*): ?(.*)$")
FLAG = re.compile(r" +# doctest: .*$", re.MULTILINE)


def markdown(text: str) -> str:
    """Return a docstring, without its indentation, as Markdown.

    Examples become blocks of code, and the sections `Args:`, `Raises:` and their like become
    lists.
    """
    parts = []
    for block in re.split(r"\n{2,}(?=\S)", text.strip()):
        head, _, rest = block.partition("\n")
        title = SECTIONS.get(head.removesuffix(":")) if head.endswith(":") else None
        if title:
            parts.append(f"**{title}**\n\n{entries(rest)}")
        elif block.startswith(">>>"):
            parts.append(f"```pycon\n{FLAG.sub('', block)}\n```")
        else:
            parts.append(block)
    return "\n\n".join(parts)


def entries(text: str) -> str:
    """Return the entries of a section as a list, or its text if it has none."""
    lines: list[str] = []
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        match = ENTRY.match(line.strip()) if depth == 4 else None
        if match:
            lines.append(f"- `{match[1].strip('`')}`: {match[2]}")
        elif lines:
            lines.append(line[2:])
        else:
            lines.append(line[4:])
    return "\n".join(lines)
