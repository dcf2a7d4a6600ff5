"""Pages that show the source files and folders that are linked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from website.links import Linked, lead
from website.pages import ROOT, is_asset

#: Hidden from the search, which would find every word of the code.
HEAD = "---\norphan: true\nnosearch: true\n---\n\n"
LANGUAGES = {
    ".py": "python",
    ".toml": "toml",
    ".js": "js",
    ".ts": "ts",
    ".mjs": "js",
    ".css": "css",
    "": "bash",
}


def source_page(path: Path) -> Linked:
    """Return the page of a file or folder of the repository that is no page itself."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        return folder_page(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        page = lead(text, path)
        return Linked(HEAD + page.text, page.files)
    fence = "`" * (3 + max(map(len, re.findall("`+", text)), default=0))
    language = LANGUAGES.get(path.suffix, "text")
    return Linked(f"{HEAD}# `{name}`\n\n{fence}{language}\n{text}\n{fence}\n")


def folder_page(path: Path) -> Linked:
    """Return the list of a folder's files; those of a program with their purpose, others linked."""
    files = sorted(file for file in path.iterdir() if not file.name.startswith((".", "_")))
    lines = []
    for file in files:
        if is_asset(file):
            lines.append(f"- [{file.name}]({file.name})")
        elif file.suffix == ".py":
            purpose = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "-"
            lines.append(f"- `{file.name}`: {purpose.splitlines()[0]}")
        else:
            lines.append(f"- `{file.name}`")
    page = lead("\n".join(lines), path / "index.md")
    return Linked(f"{HEAD}# `{path.relative_to(ROOT).as_posix()}/`\n\n{page.text}\n", page.files)
