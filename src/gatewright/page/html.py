"""The page as one HTML file, and the policy under which a browser runs it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from gatewright.draw.diagram.cell_diagram import page_style
from gatewright.draw.page.elements import escape, tag
from gatewright.page.document import to_text

#: The name under which the script finds the document.
DOCUMENT_ID = "gatewright-document"


@dataclass(frozen=True, slots=True)
class Page:
    """A page and the Content-Security-Policy that it needs, which is in it too."""

    html: str
    policy: str


def write_page(document: Mapping[str, Any]) -> Page:
    """Write the page that shows a document: one file that loads nothing and sends nothing.

    The document is data in an element that no browser runs, and its texts are escaped; the script
    and the style sheet are the only ones that the page's policy allows, by their digests.

    Args:
        document: From `page_document`.
    """
    script, style = asset("bundle.js"), page_style() + asset("bundle.css")
    rules = policy(script, style)
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(rules)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # Without it, browsers request an icon from the network.
        '<link rel="icon" href="data:,">'
        + tag("title", escape(f"{document['title']} · Gatewright"))
        + f"<style>{style}</style>"
    )
    body = (
        tag("noscript", "This page runs the network in the browser, which needs JavaScript.")
        + f'<script type="application/json" id="{DOCUMENT_ID}">{to_text(document)}</script>'
        + f"<script>{script}</script>"
    )
    content = tag("html", tag("head", head) + tag("body", body), lang="en")
    return Page(f"<!doctype html>\n{content}\n", rules)


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy of a page with this script and this style sheet."""
    return (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """The digest of an inline element as a policy names it.

    >>> digest("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def asset(name: str) -> str:
    """The text of a file that the build of `view/` has written into this folder."""
    return files("gatewright.page").joinpath(name).read_text(encoding="utf-8")
