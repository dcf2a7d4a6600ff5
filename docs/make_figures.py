"""Write the figures of the documentation anew, from the raw results in `benchmarks/results`.

python docs/make_figures.py

The prose of the pages is written by hand; the figures are between their marks, see
`figures/blocks.py`. `tests/test_docs.py` fails where a figure is not that of the raw results.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from figures import int8, page, recompute, results, rl, speed
from figures.blocks import filled, names

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "make_figures"
MODULES = (speed, results, int8, recompute, rl, page)


def main() -> None:
    """Write the figures into the pages."""
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")


def pages() -> dict[Path, str]:
    """The pages with figures, all of them fresh.

    Raises:
        ValueError: if two figures have the same name, or one is on no page.
    """
    figures: dict[str, Callable[[], str]] = {}
    for module in MODULES:
        if twice := figures.keys() & module.FIGURES.keys():
            raise ValueError(f"two modules of docs/figures make {', '.join(sorted(twice))}")
        figures |= module.FIGURES
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    }
    used = {path: names(text, SCRIPT) for path, text in texts.items()}
    if absent := figures.keys() - set().union(*used.values()):
        raise ValueError(f"no page shows {', '.join(sorted(absent))}; remove it from FIGURES")
    return {path: filled(texts[path], SCRIPT, figures) for path, shown in used.items() if shown}


if __name__ == "__main__":
    main()
