"""Build labelled sequences from the parts of a table: one label each, or one at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.number_format import number_of
from gatewright.data.containers.recordings import Recordings
from gatewright.data.containers.tagged import Tagged
from gatewright.data.source.request import Roles, TaskName
from gatewright.data.tables.parts import TablePart
from gatewright.data.tables.table import Columns, Table, wrong_cell
from gatewright.errors import DataError

_MAX_CLASSES = 10_000  # the readout has a row of weights for each class


def build_sequences(
    table: Table,
    parts: tuple[TablePart, ...],
    columns: Columns,
    roles: Roles,
    name: str,
    task: TaskName | None,
    labelled: bool,
) -> tuple[Recordings | Tagged, tuple[str, ...]]:
    """Return `Recordings` for the task classify, `Tagged` for tag, and notes.

    Without a task, labels that are constant within each id mean classify. If `labelled` is False
    and a label is missing, the result has no labels: the classes are () and the labels -1.
    """
    common: dict[str, Any] = {
        "sequences": tuple(part.values.astype(np.float32) for part in parts),
        "channel_names": roles.channels,
        "ids": tuple(part.id for part in parts),
        "name": name,
    }
    if roles.id is None and task == "classify":
        raise DataError(
            f"no column of {table.source} shows which rows form one sequence, and classify needs "
            "several; name it with id=, or learn a label at every step with task='tag'"
        )
    classes_and_labels = _classes(table, columns, roles, labelled)
    if classes_and_labels is None:
        if task == "tag":
            unknown = tuple(np.full(len(part.rows), -1) for part in parts)
            return Tagged(labels=unknown, classes=(), **common), ()
        return Recordings(labels=np.full(len(parts), -1), classes=(), **common), ()
    classes, row_labels = classes_and_labels
    step_labels = [row_labels[part.rows] for part in parts]  # (T,) each
    if task is None:
        # A label that never changes within an id is a label of the whole sequence.
        constant = all(len(np.unique(own[own >= 0])) == 1 for own in step_labels)
        task = "classify" if roles.id is not None and constant else "tag"
    if task == "tag":
        for part, own in zip(parts, step_labels, strict=True):
            if (own < 0).any():
                raise _no_label(table, roles, part, int(np.flatnonzero(own < 0)[0]))
        return Tagged(labels=tuple(step_labels), classes=classes, **common), ()
    labels = [
        _common_label(table, roles, part, own, classes)
        for part, own in zip(parts, step_labels, strict=True)
    ]
    notes = _unlabelled_rows(table, roles, parts, step_labels)
    return Recordings(labels=np.array(labels, dtype=np.int64), classes=classes, **common), notes


def sorted_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort names by their numbers if all are numbers, else alphabetically.

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
    """Return the classes and the label of every row, (rows,); None if there are no labels."""
    if roles.label is None:
        return None
    codes, names = columns[roles.label]
    if not labelled and (codes < 0).any():
        return None
    if len(names) < 2 and labelled:
        raise DataError(
            f"column {roles.label} of {table.source} has "
            f"{f'only one class, {names[0]}' if names else 'no label'}; "
            "expected at least two classes"
        )
    if len(names) > min(max(1000, len(codes) // 2), _MAX_CLASSES):
        raise DataError(
            f"column {roles.label} of {table.source} has {len(names)} different values in "
            f"{len(codes)} rows, too many for classes; is it a target= to forecast?"
        )
    classes = sorted_classes(names)
    positions = {name: position for position, name in enumerate(classes)}
    # From codes, which count in order of appearance, to sorted classes. The last entry is for
    # the code -1 of a missing label.
    lookup = np.array([*(positions[name] for name in names), -1], dtype=np.int64)
    return classes, lookup[codes]


def _common_label(
    table: Table, roles: Roles, part: TablePart, own: NDArray[np.int64], classes: tuple[str, ...]
) -> int:
    """Return the label of a sequence whose rows have the same label or none."""
    labelled = np.flatnonzero(own >= 0)
    if not len(labelled):
        raise _no_label(table, roles, part, 0)
    first = labelled[0]
    different = labelled[own[labelled] != own[first]]
    if len(different):
        assert roles.label is not None
        raise wrong_cell(
            table,
            roles.label,
            int(part.rows[different[0]]),
            f"sequence {part.id} has the label {classes[own[different[0]]]} here and "
            f"{classes[own[first]]} in {table.row(int(part.rows[first]))}; classify needs "
            "one label per sequence, task='tag' learns one at every step",
        )
    return int(own[first])


def _unlabelled_rows(
    table: Table, roles: Roles, parts: tuple[TablePart, ...], step_labels: list[NDArray[np.int64]]
) -> tuple[str, ...]:
    """Return a note if rows of a labelled sequence have no label."""
    unlabelled = [part.rows[own < 0] for part, own in zip(parts, step_labels, strict=True)]
    rows = np.sort(np.concatenate(unlabelled))
    if not len(rows):
        return ()
    count = f"{len(rows)} rows have" if len(rows) > 1 else "1 row has"
    return (
        f"column {roles.label}: {count} no label ({table.row(int(rows[0]))} first); "
        "the label of the other rows of the sequence is used",
    )


def _no_label(table: Table, roles: Roles, part: TablePart, step: int) -> DataError:
    assert roles.label is not None
    message = f"the label of {part.id} is missing; write it, or remove the row"
    return wrong_cell(table, roles.label, int(part.rows[step]), message)
