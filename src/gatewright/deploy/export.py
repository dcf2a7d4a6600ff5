"""`gw.export`: a layer or a model as a program in another language; the file's ending decides."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gatewright.deploy.stream import stream_network
from gatewright.errors import ArgumentError
from gatewright.exports import c, javascript, python
from gatewright.exports.network import ExportedNetwork
from gatewright.files import check_new_file, write_file
from gatewright.names import did_you_mean

#: By the ending of the file: the texts of all files of that language, and whether they can show
#: every named value.
LANGUAGES: Mapping[str, tuple[Callable[[ExportedNetwork], dict[str, str]], bool]] = (
    MappingProxyType(
        {
            ".c": (c.source_files, False),
            ".js": (javascript.source_files, True),
            ".py": (python.source_files, True),
        }
    )
)


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    values: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write a layer or a trained model as a program that runs event by event without this package.

    >>> import gatewright as gw
    >>> gw.export(gw.GRU(3, 8), "filter.c")                             # doctest: +SKIP
    [PosixPath('filter.h'), PosixPath('filter.c')]

    A trained model goes out whole, with the scaling of its inputs and its read-out.

    Args:
        model: A layer, or a model of `train` or `load`.
        path: The file to write; its ending decides: `.c` writes C99 with a header, `.js` an ES
            module with its types, `.py` a file that needs only NumPy. Its name begins the
            names of the program.
        values: Whether the program shows every named value of a step, such as the gates.
        overwrite: Replace files that exist.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: if the model cannot run event by event, the ending is none of these, or a
            file exists.
    """
    path = Path(path)
    if path.suffix not in LANGUAGES:
        nearest = did_you_mean(path.suffix, LANGUAGES)
        raise ArgumentError(
            f"the ending of {path} is {path.suffix!r}; {nearest}expected {', '.join(LANGUAGES)}"
        )
    write, shows_values = LANGUAGES[path.suffix]
    if values and not shows_values:
        raise ArgumentError(
            f"values is True, and a {path.suffix} file has no place for every value of a step; "
            "export to .js or .py, or leave values out"
        )
    files = write(stream_network(model, _name(path), values=values))
    targets = {path.with_suffix(ending): text for ending, text in files.items()}
    for target in targets:
        check_new_file(target, overwrite=overwrite)
    for target, text in targets.items():
        write_file(target, text.encode(), overwrite=overwrite)
    return list(targets)


def _name(path: Path) -> str:
    """The name of the program, from that of its file.

    >>> _name(Path("Wake-word 2.c"))
    'wake_word_2'
    """
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"model_{name}".rstrip("_")
