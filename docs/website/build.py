"""Build the site into `site/VERSION/`: write the pages to `.site/source`, and let Sphinx run.

Run by `./dev site`. Nothing is loaded from a network, and a link that leads nowhere is an error.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from website import notebooks
from website.api import api_pages
from website.commands import command_page
from website.links import Linked, lead
from website.measured import measured_pages
from website.pages import DOCS, ROOT, is_asset, place, sections
from website.sources import source_page
from website.versions import publish, release

WORK = ROOT / ".site"
OUT = ROOT / "site"


def main() -> int:
    """Write the pages and run Sphinx; return its exit status."""
    from sphinx.cmd.build import main as sphinx

    version, date = release()
    # Sphinx leaves the pages that are gone, and reads all files again anyway: they are new.
    out = OUT / version
    for folder in (out, WORK / "doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    write(WORK / "source", WORK / "assets")
    settings = str(DOCS / "website")
    options = [
        "-b",
        "html",
        "-c",
        settings,
        "-d",
        str(WORK / "doctrees"),
        "-q",
        "-W",
        "--keep-going",
    ]
    status = sphinx([*options, str(WORK / "source"), str(out)])
    if status == 0:
        publish(OUT, version, date)
    return status


def write(pages: Path, assets: Path) -> None:
    """Write every page of the site, in Markdown, and the files that it shows as they are."""
    for folder in (pages, assets):
        shutil.rmtree(folder, ignore_errors=True)
    generated = made_pages()
    texts, files = linked_pages()
    texts |= {place(DOCS / name): text for name, text in generated.items()}
    for path in lessons():
        texts[place(path)] = write_lesson(path, texts[place(path)], assets)
    texts["index.md"] += contents(list(generated))
    for name, text in texts.items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text(text, encoding="utf-8")
    for file in files:
        (assets / place(file)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, assets / place(file))


def made_pages() -> dict[str, str]:
    """Return the pages that are made of the package, by their names below docs/."""
    pages = {f"made/api/{name}.md": text for name, text in api_pages().items()}
    pages["made/command-line.md"] = command_page()
    pages["made/changes.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    pages |= {f"made/{name}": text for name, text in measured_pages().items()}
    return pages


def linked_pages() -> tuple[dict[str, str], list[Path]]:
    """Return the pages of the repository by place, and the other files that they lead to."""
    documents = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    texts: dict[str, str] = {}
    assets = []
    seen = set(documents)
    waiting = list(documents)
    while waiting:
        path = waiting.pop()
        if is_asset(path):
            assets.append(path)
            continue
        page = document(path) if path in documents else source_page(path)
        texts[place(path)] = page.text
        waiting += sorted(page.files - seen)
        seen |= page.files
    return texts, assets


def document(path: Path) -> Linked:
    """Return a page of the documentation."""
    return lead(path.read_text(encoding="utf-8"), path)


def lessons() -> list[Path]:
    """Return the pages of the course, which run."""
    return sorted((DOCS / "learn").glob("[0-9]*.md"))


def write_lesson(path: Path, text: str, assets: Path) -> str:
    """Run a page of the course; write its pictures and notebook, and return it with its output."""
    original = path.read_text(encoding="utf-8")
    cells = notebooks.run(original, path.name)
    shown, files = notebooks.page(text, cells, path.stem)
    files[f"{path.stem}.ipynb"] = notebooks.notebook(original, cells)
    folder = (assets / place(path)).parent
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return shown


def contents(generated: list[str]) -> str:
    """Return the navigation, which is a part of the first page."""
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {section.title}\n\n"
        + "\n".join(section.pages)
        + "\n```\n"
        for section in sections(generated)
    )


if __name__ == "__main__":
    sys.exit(main())
