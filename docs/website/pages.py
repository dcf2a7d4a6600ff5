"""The sections of the site, their pages, and the place of each file on the site."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: Endings of files that are shown on a page; a browser shows or downloads the others as they are.
SHOWN = {".md", ".py", ".toml", ".lock", ".js", ".mjs", ".ts", ".css", ".Dockerfile", ""}


@dataclass(frozen=True)
class Section:
    """A section of the navigation.

    Attributes:
        title: Its caption.
        pages: Its pages, as a toctree lists them: places on the site, without `.md`.
    """

    title: str
    pages: list[str]


def sections(generated: Iterable[str] = ()) -> list[Section]:
    """Return the sections with the pages of `docs/` and those that are `generated`.

    Raises:
        ValueError: if a page is in no section.
    """
    entries = tomllib.loads((DOCS / "website" / "navigation.toml").read_text(encoding="utf-8"))
    names = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    names += sorted(generated)
    patterns = [pattern for entry in entries["section"] for pattern in entry["pages"]]
    owners = {name: _owner(name, patterns) for name in names}
    return [
        Section(
            entry["title"],
            [
                _entry(name, entries["titles"])
                for pattern in entry["pages"]
                for name in names
                if owners[name] == pattern
            ],
        )
        for entry in entries["section"]
    ]


def _entry(name: str, titles: Mapping[str, str]) -> str:
    """A page as an entry of a toctree."""
    document = place(DOCS / name).removesuffix(".md")
    return f"{titles[name]} <{document}>" if name in titles else document


def _owner(name: str, patterns: list[str]) -> str:
    """The pattern that takes a page: of those with its folder, the longest."""
    fitting = [
        pattern
        for pattern in patterns
        if fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
    ]
    if not fitting:
        raise ValueError(f"docs/{name} is in no section: name it in docs/website/navigation.toml")
    return max(fitting, key=lambda pattern: (pattern == name, len(pattern)))


def place(path: Path) -> str:
    """Return the place of a file or folder of the repository on the site, relative to its root."""
    name = PurePosixPath(path.relative_to(ROOT).as_posix())
    if str(name) == "README.md":
        return "index.md"
    if str(name) == "docs/README.md":
        return "words-and-cells.md"
    documented = name.parts[0] == "docs" and (name.suffix == ".md" or is_asset(path))
    below = PurePosixPath(*name.parts[1:]) if documented else "source" / name
    if path.is_dir():
        return f"{below}/index.md"
    if name.name == "README.md":
        return f"{below.parent}/index.md"
    if name.suffix == ".md" or is_asset(path):
        return str(below).removeprefix("made/")
    return f"{below}.md"


def is_asset(path: Path) -> bool:
    """Tell if a file is on the site as it is, rather than shown on a page."""
    return path.suffix not in SHOWN
