"""The tables that benchmarks write into pages of the documentation, each between two marks."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def with_block(text: str, name: str, content: str) -> str:
    """Return a page with `content` in the block of the script `name`.

    Raises:
        ValueError: if the page has no such block.
    """
    begin = f"<!-- {name}: made by benchmarks/{name}.py -->\n"
    end = f"<!-- end of {name} -->"
    before, opening, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not (opening and closing):
        raise ValueError(f"expected the lines {begin.strip()} and {end}")
    return f"{before}{begin}\n{content.strip()}\n\n{end}{after}"


def write_block(page: str, name: str, content: str) -> None:
    """Write the block of a script into a page of `docs/`."""
    path = DOCS / page
    path.write_text(with_block(path.read_text(encoding="utf-8"), name, content), encoding="utf-8")
