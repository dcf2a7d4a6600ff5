"""The languages that a model can go out in, and the endings of their files.

On its own, so that the command line can name them without importing what writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The ending of the file, by the name of the language.
ENDINGS: Mapping[str, str] = MappingProxyType(
    {"c": ".c", "js": ".js", "python": ".py", "onnx": ".onnx", "html": ".html"}
)

#: The file to write for what comes with it.
COMPANIONS: Mapping[str, str] = MappingProxyType(
    {
        ".h": "a header is written with its .c file: name that",
        ".ts": "the types are written with the .js file: name that",
    }
)


def language(name: str) -> str | None:
    """The name of a language, also from the ending of its files; None if there is no such one.

    >>> language("py"), language("python"), language("rust")
    ('python', 'python', None)
    """
    return next((key for key, end in ENDINGS.items() if name in (key, end, end[1:])), None)
