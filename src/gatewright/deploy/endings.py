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
