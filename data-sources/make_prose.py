"""Make `src/gatewright/data/files/prose.txt.gz` from the help texts of CPython.

Run once by whoever maintains the project; the result is committed. Nobody who uses
Gatewright needs it. The source is the module `pydoc_data.topics` of CPython 3.11.7, so it
must be run with that version::

    python3.11 data-sources/make_prose.py

The topics are laid end to end in the order in which the module has them, unchanged.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from pydoc_data.topics import topics

TARGET = Path(__file__).parents[1] / "src/gatewright/data/files/prose.txt.gz"

VERSION = (3, 11, 7)
CHARACTERS, TOPICS = 464_970, 79


def main() -> None:
    """Check the texts and pack them."""
    assert sys.version_info[:3] == VERSION, sys.version
    text = "".join(topics.values())
    assert (len(text), len(topics)) == (CHARACTERS, TOPICS), (len(text), len(topics))
    packed = gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)
    TARGET.write_bytes(packed)
    print(TARGET.name, len(packed), "bytes, sha256", hashlib.sha256(packed).hexdigest())


if __name__ == "__main__":
    main()
