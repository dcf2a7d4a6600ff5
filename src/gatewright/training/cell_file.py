"""Load a user's cell from a Python file, named as on the command line: `my.py:MyCell`."""

from __future__ import annotations

import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from gatewright.errors import ArgumentError, CellError
from gatewright.language.cell import Cell


def names_a_file(name: str) -> bool:
    """Tell `file.py:Name` from the name of a network."""
    return name.endswith(".py") or ".py:" in name


def cell_from_file(reference: str) -> Cell:
    """The cell `file.py:Name`; the name may be left out where the file holds only one cell.

    The file is run as a Python script would be, so that it can import from its own folder.

    Raises:
        ArgumentError: if the file cannot be read or run, or holds no such cell.
        CellError: if the cell cannot be read.
    """
    file, _, name = reference.partition(".py:")
    path = Path(file if file.endswith(".py") else f"{file}.py")
    if not path.is_file():
        raise ArgumentError(
            f"there is no file {path}; expected the name of a cell, or file.py:ClassName"
        )
    values = _run(path)
    classes = {
        key: value
        for key, value in values.items()
        if isinstance(value, type)
        and issubclass(value, Cell)
        and value.__module__ == values["__name__"]
    }
    if not name and len(classes) == 1:
        name = next(iter(classes))
    cell = classes.get(name, values.get(name))
    if isinstance(cell, Cell):
        return cell
    if not (isinstance(cell, type) and issubclass(cell, Cell)):
        content = (
            f"it holds {', '.join(classes)}" if classes else "it holds no class that is a gw.Cell"
        )
        fact = f"{path} has no cell {name!r}" if name else f"no cell of {path} was named"
        raise ArgumentError(f"{fact}: {content}; give {path}:ClassName")
    try:
        return cell()
    except TypeError as error:
        raise ArgumentError(
            f"{path}: {name} needs arguments ({error}); add a line `my_cell = {name}(...)` "
            f"to the file, and give {path}:my_cell"
        ) from None


def _run(path: Path) -> dict[str, Any]:
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(str(path), run_name=path.stem)
    except CellError as error:
        raise CellError(
            f"{path}: {error.fact}", cell=error.cell, line=error.line, hint=error.hint
        ) from None
    except (Exception, SystemExit) as error:
        line = next(
            (
                f.lineno
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if Path(f.filename) == path
            ),
            getattr(error, "lineno", None),
        )
        place = f"{path}, line {line}" if line else str(path)
        raise ArgumentError(
            f"{place}: {type(error).__name__}: {error}; the file with the cell must run by itself"
        ) from None
    finally:
        sys.path.remove(folder)
