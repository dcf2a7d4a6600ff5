"""The page of layers and trained models: the document that `gatewright look` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gatewright.deploy.stages import chains_of
from gatewright.page.document import page_document
from gatewright.page.examples import COUNT


def document_of(
    models: Mapping[str, Any],
    data: Any = None,
    *,
    count: int = COUNT,
    memory: Sequence[Mapping[str, Any]] = (),
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
    return page_document(models, data, chains=chains_of, count=count, memory=memory)
