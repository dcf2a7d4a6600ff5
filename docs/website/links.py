"""A page with its links led to places on the site."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

from website.pages import ROOT, is_asset, place

CODE = re.compile(r"(?s)^(?P<fence>```+|~~~+).*?^(?P=fence)|`[^`\n]+`", re.MULTILINE)
LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s]+)\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^()\s]+)\)")
SOURCE = re.compile(r'(?<=src=")[^"]+(?=")')
MASK = re.compile("\0(\\d+)\0")


@dataclass
class Linked:
    """A page for the site.

    Attributes:
        text: Its Markdown.
        files: Files and folders of the repository that it links to.
    """

    text: str
    files: set[Path] = field(default_factory=set)


def lead(text: str, path: Path) -> Linked:
    """Lead the links of a page of the repository to places on the site.

    Args:
        text: The page in Markdown, with links as the repository's host follows them.
        path: The file of the page, which the links are relative to.
    """
    code: list[str] = []

    def masked(match: re.Match[str]) -> str:
        code.append(match[0])
        return f"\0{len(code) - 1}\0"

    page = Linked(CODE.sub(masked, text))
    folder = posixpath.dirname(place(path))

    def target(link: str) -> tuple[str, Path | None]:
        """The link on the site, and the file that it leads to, if any."""
        name, _, anchor = link.partition("#")
        if not name or ":" in name:
            return link, None
        file = (path.parent / name).resolve()
        if not file.exists() or not file.is_relative_to(ROOT):
            raise ValueError(f"{path.relative_to(ROOT)}: the link {link} leads nowhere")
        page.files.add(file)
        return posixpath.relpath(place(file), folder or ".") + (
            f"#{anchor}" if anchor else ""
        ), file

    def led(match: re.Match[str]) -> str:
        link, file = target(match[2])
        if file is not None and is_asset(file):
            return f'<a href="{link}">{match[1]}</a>'  # Sphinx would offer it as a download
        return f"[{match[1]}]({link})"

    # Pictures are tags, since Sphinx would rename their files; a link may be around a picture.
    page.text = PICTURE.sub(r'<img alt="\1" src="\2">', page.text)
    page.text = SOURCE.sub(lambda match: target(match[0])[0], page.text)
    page.text = LINK.sub(led, page.text)
    page.text = MASK.sub(lambda match: code[int(match[1])], page.text)
    return page
