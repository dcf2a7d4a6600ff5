"""The page of layers and trained models: what `gw.export` writes and `gatewright look` shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gatewright.cells import ALIASES, CELLS
from gatewright.deploy.stages import chains_of
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.precision import in_float32
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.saving import load
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
        names: Directories of models, names of cells or `my.py:MyCell`, one or two of them; then a
            file or a bundled data set.

    Raises:
        ArgumentError: if no model is named, or more than two.
        ModelError, DataError: if one cannot be read.
    """
    subjects = [name for name in names if is_model(name)]
    data = [name for name in names if name not in subjects]
    if not subjects or len(subjects) > 2 or len(data) > 1 or names[: len(subjects)] != subjects:
        cells = ", ".join(["lstm", "gru", "rnn"])
        raise ArgumentError(
            f"{' '.join(names)} names {len(subjects)} models and {len(data)} data sets; expected "
            "MODEL [MODEL2] [DATA]: the directory of one or two models, or the names of cells "
            f"({cells}, ...; gatewright cells lists them), then data if any"
        )
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
    return os.path.isdir(name) or name in CELLS or name in ALIASES or names_a_file(name)


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
