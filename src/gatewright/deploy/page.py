"""The page of layers and trained models: what `gw.export` writes and `gatewright look` shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gatewright.cells import ALIASES, CELLS
from gatewright.data.catalogue import BUNDLED
from gatewright.deploy.stages import chains_of
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.precision import in_float32
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.saving import load
from gatewright.names import did_you_mean
from gatewright.page.document import page_document
from gatewright.page.examples import COUNT
from gatewright.page.html import Page, write_page
from gatewright.training.cell_file import cell_from_file, names_a_file

#: Inputs and units of the layer of a lesson: few enough to read every number.
LESSON_INPUTS, LESSON_UNITS = 2, 8


def document_of(
    models: Mapping[str, Any], data: Any = None, *, count: int = COUNT, curves: bool = True
) -> dict[str, Any]:
    """The document of one model, or of several that do the same task side by side.

    >>> import gatewright as gw
    >>> document = document_of({"lstm": gw.LSTM(2, 4)})
    >>> document["format"], document["version"], document["task"]["kind"]
    ('gatewright-page', 1, 'layer')

    The arguments are those of `page_document`.

    Raises:
        ArgumentError: if the models do not go together, or have no recurrent layers.
        DataError: if the data do not fit.
    """
    models = {title: in_float32(model) for title, model in models.items()}
    return page_document(models, data, chains=chains_of, count=count, curves=curves)


def page_of(models: Mapping[str, Any], data: Any = None) -> Page:
    """The page of models on data; see `document_of`."""
    return write_page(document_of(models, data))


def look_at(names: list[str]) -> Page:
    """The page of what a command names: models or cells, then data if any.

    Args:
        names: Directories of models, names of cells or `my.py:MyCell`, one or two of them; then,
            for models, a file or a bundled data set.

    Raises:
        ArgumentError: if no model is named, or more than two.
        ModelError, DataError: if one cannot be read.
    """
    subjects = [name for name in names if is_model(name)]
    data = [name for name in names if name not in subjects]
    _check_names(names, subjects, data)
    models = {}
    for name in subjects:
        path = Path(name)
        is_directory = path.is_dir()
        title = path.resolve().name if is_directory else name
        title = title if title not in models else f"{title} 2"
        models[title] = load(path) if is_directory else lesson_layer(name)
    return page_of(models, data[0] if data else None)


def is_model(name: str) -> bool:
    """Tell if a name is that of a model's directory, or of a cell, rather than of data."""
    return Path(name).is_dir() or name in CELLS or name in ALIASES or names_a_file(name)


def _check_names(names: list[str], subjects: list[str], data: list[str]) -> None:
    """Refuse names that are not those of one or two models, and then of one data set at most."""
    for name in data:
        if name in BUNDLED or Path(name).exists():
            continue
        cells = (*CELLS, *ALIASES)
        if names[0] == name:
            fact, nearest = f"there is no directory and no cell {name}", did_you_mean(name, cells)
        else:
            fact = f"there is no directory, no cell, no file and no bundled data set {name}"
            nearest = did_you_mean(name, (*cells, *BUNDLED))
        raise ArgumentError(
            f"{fact}; {nearest}expected MODEL [MODEL2] [DATA] (gatewright cells lists the cells)"
        )
    if not subjects:
        raise ArgumentError(
            f"{data[0]} is data; name the directory of a trained model first: "
            f"gatewright look MODEL {data[0]}"
        )
    if len(subjects) > 2 or len(data) > 1:
        raise ArgumentError(
            f"{' '.join(names)} names {len(subjects)} models and {len(data)} data sets; expected "
            "one or two models, then one data set at most"
        )
    if names[: len(subjects)] != subjects:
        raise ArgumentError(
            f"{data[0]} is data, and a model comes after it; put the data last: "
            f"gatewright look {' '.join(subjects)} {data[0]}"
        )


def lesson_layer(name: str) -> Recurrent:
    """A small untrained layer of a cell, the same each time.

    Raises:
        ArgumentError: if there is no such cell.
    """
    cell = cell_from_file(name) if names_a_file(name) else name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return Recurrent(cell, LESSON_INPUTS, LESSON_UNITS, backend="reference")
        except SizeError:  # some cells need as many inputs as units
            return Recurrent(cell, LESSON_UNITS, LESSON_UNITS, backend="reference")
