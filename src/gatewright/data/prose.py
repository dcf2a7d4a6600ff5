"""English prose, the topics of Python's help, to predict the next character (PSF licence)."""

from __future__ import annotations

import gzip

from gatewright.data.bundled import checked_file
from gatewright.data.containers.text import Text
from gatewright.data.source.request import Reading, Request

# The checksum of `files/prose.txt.gz`, as `data-sources/make_prose.py` prints it.
SHA256 = "e1ab65ff04bca125ce8723e8beab9d44e3f7f098847674b4019fd7b1619ce4e5"


def read_prose(request: Request) -> Reading:
    """Read 464,970 characters of the Python language reference, the text of `help("topics")`.

    >>> read_prose(Request()).data
    Text('prose', symbols=464970, alphabet=103, unit='characters')
    """
    source = "the bundled data set prose"
    request.without_columns(source, "is a text, which has no columns")
    request.for_tasks(source, "next symbol")
    packed = checked_file("prose.txt.gz", sha256=SHA256, name="prose").read_bytes()
    content = gzip.decompress(packed)
    about = {
        "name": "prose",
        "about": (
            "The Python language reference, from the help of CPython 3.11.7: 465 kB of English "
            "with some code. The task is to predict the next character."
        ),
        "licence": (
            "Copyright 2001-2023 Python Software Foundation; PSF License Agreement, whose text "
            "is next to the file."
        ),
    }
    if request.text == "bytes":
        text = Text.from_bytes(content, **about)
    else:
        text = Text.from_string(content.decode("utf-8"), unit=request.text, **about)
    return Reading(text, "next symbol", "it is plain text", source)
