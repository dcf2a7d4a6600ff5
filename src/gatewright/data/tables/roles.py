"""Find the role of each column: as the user states it, else by its name and its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from gatewright.data.columns.column import ColumnKind
from gatewright.data.columns.number_format import number_of
from gatewright.data.source.request import Request, Roles
from gatewright.data.tables.table import ColumnPreview
from gatewright.errors import ArgumentError, DataError

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "day", "month", "year", "step", "t")
# Numbers called "day" or "month" are more likely a part of a date than a count of time.
STEP_NAMES = ("time", "timestamp", "ds", "date", "year", "step", "t")
ID_NAMES = (
    "id",
    "unique_id",
    "series",
    "series_id",
    "sequence",
    "sequence_id",
    "item_id",
    "case_id",
    "recording",
)
LABEL_NAMES = ("label", "labels", "class", "classes", "class_label", "tag", "tags")
# Names of a label where the values are 0 and 1: of a state that each row has or has not.
STATE_NAMES = ("anomaly", "is_anomaly", "anomalous", "fault", "is_fault", "failure", "is_failure")
# Names of a label in some tables, and of a number to forecast in others.
TARGET_NAMES = ("y", "target")

_MAX_NAMES_SHOWN = 20
_MAX_EXAMPLES_SHOWN = 8

# Gives a column a role: take(role, name, reason) writes a note and returns the name.
Take = Callable[[str, str, str], str]


def kinds_of(roles: Roles, previews: Mapping[str, ColumnPreview]) -> dict[str, ColumnKind]:
    """Return the kind that each column with a role must be read as."""
    kinds: dict[str, ColumnKind] = {}
    if roles.time is not None:
        preview = previews[roles.time]
        dates = preview.days or preview.months or preview.unix
        counts = preview.kind == "number" and not dates
        kinds[roles.time] = "step" if counts else "time"
    kinds |= {name: "text" for name in (roles.id, roles.label) if name is not None}
    kinds |= {name: "text" if previews[name].kind == "text" else "number" for name in roles.static}
    channels: dict[str, ColumnKind] = {
        name: "flag" if previews[name].kind == "flag" else "number" for name in roles.channels
    }
    return {**kinds, **channels}


def find_roles(
    source: str, previews: Mapping[str, ColumnPreview], request: Request
) -> tuple[Roles, tuple[str, ...]]:
    """Return the roles of the columns, and a note on each role that the user did not state.

    Raises `DataError` for a column that does not exist, `ArgumentError` for roles that exclude
    each other.
    """
    request = request.for_columns(tuple(previews))
    _check(source, tuple(previews), request.columns)
    time, id, label = request.time, request.id, request.label
    task, targets, ignored = request.task, request.target, request.ignore
    notes: list[str] = []
    stated = request.stated
    free = {name: preview for name, preview in previews.items() if name not in stated}

    def take(role: str, name: str, reason: str) -> str:
        notes.append(f"column {name} is the {role}: {reason}")
        del free[name]
        return name

    if time is None:
        time = _find_time(source, free, take)
    if id is None and (id_column := _named(free, ID_NAMES)):
        id = take("id", id_column, "by its name")
    if task != "forecast" and label is None:
        # A target of text, or of a task with classes, is a label by another name.
        if len(targets) == 1 and (task is not None or previews[targets[0]].kind == "text"):
            label, targets = targets[0], ()
        elif not targets:
            label = _find_label(source, free, take, needed=task is not None and request.labelled)
    if label is not None and task == "forecast":
        raise ArgumentError(
            f"label={label!r} does not go with the task forecast; pass target= for the column to "
            "forecast, or task='classify'"
        )
    if label is not None and targets:
        raise ArgumentError(
            f"label={label!r} and target={targets[0]!r} exclude each other: a label is for "
            "classes, a target for a forecast; leave one of them out"
        )
    if time is None and label is None and task is None:
        _check_order(source, free, id)
    for name, preview in list(free.items()):
        if preview.unix and time is not None:
            preview = replace(preview, kind="time")
        if preview.kind in ("text", "time", "nothing") and name not in request.numbers:
            reason = {
                "text": f"is text ({', '.join(preview.examples[:3])}, ...)",
                "time": "has times in addition to the time column",
                "nothing": "is empty in the first rows",
            }[preview.kind]
            notes.append(f"column {name} {reason}: left out")
            ignored += (name,)
            del free[name]
    static = request.static
    inputs: tuple[str, ...] = ()
    if static and (label is not None or task in ("classify", "tag")):
        texts = [name for name in static if previews[name].kind == "text"]
        if texts:
            raise DataError(
                f"column {texts[0]} of {source} is static and text, which only a forecast can "
                "use; write it as numbers, or leave it out with ignore="
            )
        # Labelled sequences have no place for static values: they become inputs.
        notes.append(f"{_list(static)}: static, so the same input at every step")
        inputs, static = static, ()
    used = {*free, *targets, *request.known, *inputs}
    channels = tuple(name for name in previews if name in used)
    if not channels:
        raise DataError(
            f"{source} has no column of numbers to learn from: {_examples(previews)}; expected at "
            "least one"
        )
    roles = Roles(time, id, label, channels, targets, request.known, static, ignored)
    return roles, tuple(notes)


def missing_column(source: str, name: str, role: str, names: Sequence[str]) -> DataError:
    """Return the error for a column that does not exist, with similar names."""
    lower = {known.lower(): known for known in names}
    similar = [lower[match] for match in get_close_matches(name.lower(), lower, n=2)]
    hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
    return DataError(
        f"{source} has no column {name!r}, asked for as {role}; its columns are: "
        f"{_list(names)}.{hint}"
    )


def _list(names: Iterable[str]) -> str:
    names = list(names)
    omitted = len(names) - _MAX_NAMES_SHOWN
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + (f" and {omitted} more" if omitted > 0 else "")


def _examples(previews: Mapping[str, ColumnPreview]) -> str:
    """List the columns, each with one of its cells."""
    columns = list(previews.items())
    texts = [
        f"{name} has {preview.examples[0][:40]!r}" if preview.examples else f"{name} is empty"
        for name, preview in columns[:_MAX_EXAMPLES_SHOWN]
    ]
    omitted = len(columns) - _MAX_EXAMPLES_SHOWN
    return ", ".join(texts) + (f", and {omitted} more columns" if omitted > 0 else "")


def _check(source: str, names: tuple[str, ...], stated: Mapping[str, tuple[str, ...]]) -> None:
    """Raise an error unless the user's columns exist, each with one role."""
    role_of: dict[str, str] = {}
    for role, role_names in stated.items():
        for name in role_names:
            if name not in names:
                raise missing_column(source, name, role, names)
            if name in role_of:
                raise ArgumentError(
                    f"column {name} is given as {role_of[name]} and as {role}; give it one role"
                )
            role_of[name] = role


def _named(free: Mapping[str, ColumnPreview], names: Sequence[str]) -> str | None:
    """Return the column with the first of these names, in upper or lower case, or None."""
    lower = {name.lower(): name for name in reversed(list(free))}
    return next((lower[name] for name in names if name in lower), None)


def _find_time(source: str, free: Mapping[str, ColumnPreview], take: Take) -> str | None:
    times = {name: preview for name, preview in free.items() if preview.kind == "time"}
    if len(times) == 1:
        name, preview = next(iter(times.items()))
        return take("time", name, f"it has times like {preview.examples[0]}")
    if times:
        if named := _named(times, TIME_NAMES):
            return take("time", named, "by its name and its values")
        raise DataError(
            f"{source} has several columns of times: {_list(times)}; choose one with time=, and "
            "leave the others out with ignore="
        )
    texts = {name: preview for name, preview in free.items() if preview.kind == "text"}
    # A text called "day" or "t" may be something else, but these names mean a time.
    if named := _named(texts, ("time", "date", "datetime", "timestamp", "ds")):
        raise DataError(
            f"column {named} of {source} is a time by its name and has "
            f"{texts[named].examples[0]!r}, which is not in a known form; expected a form like "
            "2024-01-31 or 2024-01-31T18:00:00: rewrite it, or leave it out with ignore="
        )
    numbers = {name: preview for name, preview in free.items() if preview.kind == "number"}
    if named := _named(numbers, STEP_NAMES):
        return take("time", named, "by its name")
    if len(numbers) > 1:
        for name, preview in numbers.items():
            if preview.rises and (preview.days or preview.months):
                return take("time", name, f"numbers like {preview.examples[0]} are read as dates")
    unix = {name: preview for name, preview in numbers.items() if preview.unix and preview.named}
    if unix and len(numbers) > len(unix):
        name, preview = next(iter(unix.items()))
        return take("time", name, f"numbers like {preview.examples[0]} are read as Unix time")
    return None


def _check_order(source: str, free: Mapping[str, ColumnPreview], id: str | None) -> None:
    """Raise `DataError` if each row has a name and no column shows an order of the rows.

    The names may be times in an unknown form, or the rows may not be steps at all.
    """
    for name, preview in free.items():
        if preview.kind == "text" and (preview.named or (id is not None and preview.numbered)):
            examples = ", ".join(repr(cell[:40]) for cell in preview.examples[:2])
            raise DataError(
                f"column {name} of {source} has a different text in each row ({examples}), and no "
                "column has times, so it is not clear that the rows follow each other in time. If "
                "the texts are times, write them in a form like 2024-01-31; if the rows are in "
                f"order, leave the column out with ignore={name!r}"
            )


def _find_label(
    source: str, free: Mapping[str, ColumnPreview], take: Take, needed: bool
) -> str | None:
    texts = {name: preview for name, preview in free.items() if preview.kind in ("text", "flag")}
    classes = {name: preview for name, preview in free.items() if _could_name(preview)}
    states = {name: preview for name, preview in free.items() if _is_state(preview)}
    if len(free) > 1 and (named := _named(states, STATE_NAMES)):
        return take("label", named, "by its name, and its values are 0 and 1")
    if named := _named(classes, LABEL_NAMES) or _named(texts, TARGET_NAMES):
        return take("label", named, "by its name")
    if not needed:
        return None
    if named := _named(classes, TARGET_NAMES):
        return take("label", named, "by its name")
    if len(texts) == 1:
        return take("label", next(iter(texts)), "it is the only column of text")
    raise DataError(
        f"no column of {source} looks like a label; name one with label=. "
        f"Its columns are: {_list(free)}"
    )


def _is_state(preview: ColumnPreview) -> bool:
    """Return True if the first values are 0 and 1, or only 0: the other may be rare."""
    return preview.kind == "flag" or set(preview.examples) in ({"0", "1"}, {"0"})


def _could_name(preview: ColumnPreview) -> bool:
    """Return True if the values can be names of classes: texts, or whole numbers."""
    if preview.kind == "number":
        return all((number_of(text) or 0.0).is_integer() for text in preview.examples)
    return preview.kind in ("text", "flag")
