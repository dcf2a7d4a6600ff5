"""From the parts of a table to labelled sequences: one label each, or one at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.number_format import number_of
from gatewright.data.containers.recordings import Recordings
from gatewright.data.containers.tagged import Tagged
from gatewright.data.source.request import Roles, Task
from gatewright.data.tables.parts import Part
from gatewright.data.tables.table import Columns, Table, wrong_cell
from gatewright.errors import DataError

_MOST_CLASSES = 10_000  # a readout has a row of weights for each


def build_sequences(
    table: Table,
    parts: tuple[Part, ...],
    columns: Columns,
    roles: Roles,
    name: str,
    task: Task | None,
    labelled: bool,
) -> tuple[Recordings | Tagged, tuple[str, ...]]:
    """`Recordings` for the task classify, `Tagged` for tag; without a task, what the labels say.

    Without labels (`labelled=False`, where one is missing) the classes are () and the labels -1.
    Also returns what there is to note.
    """
    common: dict[str, Any] = {
        "sequences": tuple(part.values.astype(np.float32) for part in parts),
        "channel_names": roles.channels,
        "ids": tuple(part.id for part in parts),
        "name": name,
    }
    if roles.id is None and task == "classify":
        raise DataError(
            f"no column of {table.source} says which rows make one sequence, and classify needs "
            "several; name it with id=, or learn a label at every step with task='tag'"
        )
    known = _classes(table, columns, roles, labelled)
    if known is None:
        if task == "tag":
            blank = tuple(np.full(len(part.rows), -1) for part in parts)
            return Tagged(labels=blank, classes=(), **common), ()
        return Recordings(labels=np.full(len(parts), -1), classes=(), **common), ()
    classes, codes = known
    each = [codes[part.rows] for part in parts]
    if task is None:
        # A label that never changes within an id is one of the whole sequence.
        alone = all(len(np.unique(own[own >= 0])) == 1 for own in each)
        task = "classify" if roles.id is not None and alone else "tag"
    if task == "tag":
        for part, own in zip(parts, each, strict=True):
            if (own < 0).any():
                raise _no_label(table, roles, part, int(np.flatnonzero(own < 0)[0]))
        return Tagged(labels=tuple(each), classes=classes, **common), ()
    labels = [
        _label(table, roles, part, own, classes) for part, own in zip(parts, each, strict=True)
    ]
    notes = _without_label(table, roles, parts, each)
    return Recordings(labels=np.array(labels, dtype=np.int64), classes=classes, **common), notes


def sorted_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names in the order of their numbers, if all are numbers, else of the alphabet.

    >>> sorted_classes(("10", "9")), sorted_classes(("b", "10"))
    (('9', '10'), ('10', 'b'))
    """
    numbers = {name: number_of(name) for name in names}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(names, key=lambda name: (numbers[name], name)))
    return tuple(sorted(names))


def _classes(
    table: Table, columns: Columns, roles: Roles, labelled: bool
) -> tuple[tuple[str, ...], NDArray[np.int64]] | None:
    """The classes' names and every row's position in them; None where there are no labels."""
    if roles.label is None:
        return None
    codes, names = columns[roles.label]
    if not labelled and (codes < 0).any():
        return None
    if len(names) < 2 and labelled:
        raise DataError(
            f"column {roles.label} of {table.source} holds "
            f"{f'one class alone, {names[0]}' if names else 'no label'}; "
            "expected at least two classes to tell apart"
        )
    if len(names) > min(max(1000, len(codes) // 2), _MOST_CLASSES):
        raise DataError(
            f"column {roles.label} of {table.source} holds {len(names)} different values in "
            f"{len(codes)} rows, too many for classes; is it a target= to forecast?"
        )
    classes = sorted_classes(names)
    places = {name: at for at, name in enumerate(classes)}
    # The last place is that of -1, a missing label.
    position = np.array([*(places[name] for name in names), -1], dtype=np.int64)
    return classes, position[codes]


def _label(
    table: Table, roles: Roles, part: Part, own: NDArray[np.int64], classes: tuple[str, ...]
) -> int:
    there = np.flatnonzero(own >= 0)
    if not len(there):
        raise _no_label(table, roles, part, 0)
    other = there[own[there] != own[there[0]]]
    if len(other):
        assert roles.label is not None
        raise wrong_cell(
            table,
            roles.label,
            int(part.rows[other[0]]),
            f"sequence {part.id} has the label {classes[own[other[0]]]} here and "
            f"{classes[own[there[0]]]} in {table.row(int(part.rows[there[0]]))}; classify needs "
            "one label a sequence, task='tag' learns one at every step",
        )
    return int(own[there[0]])


def _without_label(
    table: Table, roles: Roles, parts: tuple[Part, ...], each: list[NDArray[np.int64]]
) -> tuple[str, ...]:
    """A note where a row of a labelled sequence has no label of its own."""
    blank = [part.rows[own < 0] for part, own in zip(parts, each, strict=True)]
    rows = np.sort(np.concatenate(blank))
    if not len(rows):
        return ()
    count = f"{len(rows)} rows have" if len(rows) > 1 else "1 row has"
    return (
        f"column {roles.label}: {count} no label ({table.row(int(rows[0]))} first); "
        "the label of the other rows of the sequence is taken",
    )


def _no_label(table: Table, roles: Roles, part: Part, at: int) -> DataError:
    assert roles.label is not None
    what = f"the label of {part.id} is missing; write it, or take the row out"
    return wrong_cell(table, roles.label, int(part.rows[at]), what)
