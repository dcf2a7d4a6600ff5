"""The versions of the site, each in a folder of its own, and the switch between them.

The list of the versions is a script, `versions.js`: a page that is opened from the disk may run a
script next to it, but may read no file.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from website.pages import ROOT

#: The file in the folder of a version that describes it.
DESCRIPTION = "version.json"
#: The files at the top of the site, and the first of them: it leads to the newest version.
FIRST, LIST = "index.html", "versions.js"
FIRST_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Gatewright</title>
<meta http-equiv="refresh" content="0; url={version}/index.html">
<p>The documentation of <a href="{version}/index.html">Gatewright {version}</a>.</p>
</html>
"""


@dataclass(frozen=True)
class Version:
    """A version of the site.

    Attributes:
        version: Its number.
        date: The day of its release in the form 2026-11-28, or "Unreleased".
        pages: Its pages, relative to its folder.
    """

    version: str
    date: str
    pages: list[str]


def release() -> tuple[str, str]:
    """Return the version of this checkout and its date, from the changelog's topmost heading.

    Raises:
        ValueError: if the heading has another form.
    """
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(r"(?m)^## (.*)$", text)
    match = heading and re.fullmatch(r"\[(\d+(?:\.\w+)+)\] - (\S+)", heading[1])
    if not match:
        raise ValueError("CHANGELOG.md: expected the first heading ## [VERSION] - DATE")
    return match[1], match[2]


def publish(site: Path, version: str, date: str) -> None:
    """Describe the version that was built, and write the list of all and the first page."""
    folder = site / version
    pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
    description = Version(version, date, pages)
    (folder / DESCRIPTION).write_text(json.dumps(asdict(description)) + "\n", encoding="utf-8")
    versions = stored(site)
    text = json.dumps([asdict(version) for version in versions])
    (site / LIST).write_text(f"const gatewrightVersions = {text};\n", encoding="utf-8")
    first = FIRST_PAGE.format(version=versions[0].version)
    (site / FIRST).write_text(first, encoding="utf-8")


def stored(site: Path) -> list[Version]:
    """Return the versions of a site, the newest first."""
    texts = (path.read_text(encoding="utf-8") for path in site.glob(f"*/{DESCRIPTION}"))
    versions = [Version(**json.loads(text)) for text in texts]
    return sorted(versions, key=lambda v: [*map(int, re.findall(r"\d+", v.version))], reverse=True)
