"""Lead the links of the README to the repository, for the page of the package on an index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: The target of a link, or the source of a picture, that is a file of this repository.
TARGET = re.compile(r'(?<=\]\()(?![a-z]+:|#)[^()\s]+|(?<=src=")(?![a-z]+:)[^"]+')
#: The marks between which docs/make_figures.py writes.
MARK = re.compile(r"<!-- [^\n]*? -->\n")


class ReadmeHook(MetadataHookInterface):
    """Set the readme, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme of the metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        readme = absolute(text, metadata["urls"]["Source"], metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def absolute(text: str, source: str, version: str) -> str:
    """Return a page whose links and pictures are those of the tag of a version.

    An index shows a picture only from an address that answers with it, `raw`; a link leads to the
    page of the file, `blob`, or of the folder, which the repository's host redirects to.

    Args:
        text: The page in Markdown, with addresses relative to the repository.
        source: The address of the repository.
        version: The version whose tag the addresses have, such as 0.2.0.
    """

    def address(match: re.Match[str]) -> str:
        kind = "raw" if text[: match.start()].endswith('src="') else "blob"
        return f"{source}/{kind}/v{version}/{match[0]}"

    return TARGET.sub(address, MARK.sub("", text))
