"""Which column of a table is what: by what the user said, else by its name and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from gatewright.data.columns.column import Kind
from gatewright.data.columns.number_format import number_of
from gatewright.data.source.request import Request, Roles
from gatewright.data.tables.table import Look
from gatewright.errors import ArgumentError, DataError

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "day", "month", "year", "step", "t")
# Of numbers, "day" and "month" are more likely a part of a date than a count of time.
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
# Names that a label has in some tables and a number to forecast in others.
TARGET_NAMES = ("y", "target")

# Gives a column a role: take(role, name, because) notes it and returns the name.
Take = Callable[[str, str, str], str]


def kinds_of(roles: Roles, looks: Mapping[str, Look]) -> dict[str, Kind]:
    """What each column that has a role is to be read as."""
    kinds: dict[str, Kind] = {}
    if roles.time is not None:
        look = looks[roles.time]
        counts = look.kind == "number" and not (look.days or look.unix)
        kinds[roles.time] = "step" if counts else "time"
    kinds |= {name: "text" for name in (roles.id, roles.label) if name is not None}
    kinds |= {name: "text" if looks[name].kind == "text" else "number" for name in roles.static}
    channels: dict[str, Kind] = {
        name: "flag" if looks[name].kind == "flag" else "number" for name in roles.channels
    }
    return {**kinds, **channels}


def find_roles(
    source: str, looks: Mapping[str, Look], request: Request
) -> tuple[Roles, tuple[str, ...]]:
    """The columns' roles, and a note on each that was not said but found.

    `DataError` for a column that is not there, `ArgumentError` for roles that exclude each
    other.
    """
    request = request.of_new(tuple(looks))
    said = request.columns
    _check(source, tuple(looks), said)
    time, id, label = request.time, request.id, request.label
    task, targets, ignored = request.task, request.target, request.ignore
    notes: list[str] = []
    free = {name: look for name, look in looks.items() if not any(name in s for s in said.values())}

    def take(role: str, name: str, because: str) -> str:
        notes.append(f"column {name} is the {role}: {because}")
        del free[name]
        return name

    if time is None:
        time = _find_time(source, free, take)
    if id is None and (found := _named(free, ID_NAMES)):
        id = take("id", found, "by its name")
    if task != "forecast" and label is None:
        # A target that is said to be a class, or is text, is a label by another name.
        if len(targets) == 1 and (task is not None or looks[targets[0]].kind == "text"):
            label, targets = targets[0], ()
        elif not targets:
            label = _find_label(source, free, take, needed=task is not None and request.labelled)
    if label is not None and task == "forecast":
        raise ArgumentError(
            f"label={label!r} does not go with the task forecast; say target= for what is to be "
            "forecast, or task='classify'"
        )
    if label is not None and targets:
        raise ArgumentError(
            f"label={label!r} and target={targets[0]!r} exclude each other: a label is for "
            "telling classes, a target for a forecast"
        )
    if time is None and label is None and task is None:
        _check_order(source, free, id)
    for name, look in list(free.items()):
        if look.unix and time is not None:
            look = replace(look, kind="time")
        if look.kind in ("text", "time", "nothing"):
            what = {
                "text": f"is text ({', '.join(look.examples[:3])}, ...)",
                "time": "holds times beside the time column",
                "nothing": "is empty in the first rows",
            }[look.kind]
            notes.append(f"column {name} {what}: left out")
            ignored += (name,)
            del free[name]
    static = request.static
    inputs: tuple[str, ...] = ()
    if static and (label is not None or task in ("classify", "tag")):
        texts = [name for name in static if looks[name].kind == "text"]
        if texts:
            raise DataError(
                f"column {texts[0]} of {source} is static and text, which only a forecast can "
                "use; write it as numbers, or leave it out with ignore="
            )
        notes.append(f"{_list(static)}: static, so the same input at every step")
        inputs, static = static, ()
    used = {*free, *targets, *request.known, *inputs}
    channels = tuple(name for name in looks if name in used)
    if not channels:
        raise DataError(f"{source} has no column of numbers to learn from: {_shown(looks)}")
    roles = Roles(time, id, label, channels, targets, request.known, static, ignored)
    return roles, tuple(notes)


def missing_column(source: str, name: str, role: str, names: Sequence[str]) -> DataError:
    """The error for a column that is not there, with what it may have been meant to be."""
    lower = {known.lower(): known for known in names}
    near = [lower[close] for close in get_close_matches(name.lower(), lower, n=2)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return DataError(
        f"{source} has no column {name!r}, asked for as {role}; its columns are: "
        f"{_list(names)}.{hint}"
    )


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return ", ".join(shown[:20]) + more


def _shown(looks: Mapping[str, Look]) -> str:
    """Each column with one of its cells."""
    columns = list(looks.items())
    shown = [
        f"{name} holds {look.examples[0][:40]!r}" if look.examples else f"{name} is empty"
        for name, look in columns[:8]
    ]
    more = f", and {len(columns) - 8} more columns" if len(columns) > 8 else ""
    return ", ".join(shown) + more


def _check(source: str, names: tuple[str, ...], said: Mapping[str, tuple[str, ...]]) -> None:
    roles: dict[str, str] = {}
    for role, given in said.items():
        for name in given:
            if name not in names:
                raise missing_column(source, name, role, names)
            if name in roles:
                raise ArgumentError(
                    f"column {name} is given as {roles[name]} and as {role}; give it one role"
                )
            roles[name] = role


def _named(free: Mapping[str, Look], names: Sequence[str]) -> str | None:
    """The first of these names that a column has, in upper or lower case."""
    lower = {name.lower(): name for name in reversed(list(free))}
    return next((lower[name] for name in names if name in lower), None)


def _find_time(source: str, free: Mapping[str, Look], take: Take) -> str | None:
    times = {name: look for name, look in free.items() if look.kind == "time"}
    if len(times) == 1:
        return take("time", next(iter(times)), f"it holds {next(iter(times.values())).examples[0]}")
    if times:
        if named := _named(times, TIME_NAMES):
            return take("time", named, "by its name and what it holds")
        raise DataError(
            f"{source} has several columns of times: {_list(times)}; say which one counts with "
            "time=, and ignore= the others"
        )
    texts = {name: look for name, look in free.items() if look.kind == "text"}
    # "day" and "t" may well be a text of another kind, these are not.
    if named := _named(texts, ("time", "date", "datetime", "timestamp", "ds")):
        raise DataError(
            f"column {named} of {source} is a time by its name and holds "
            f"{texts[named].examples[0]!r}, which is not written like one; expected a form like "
            "2024-01-31 or 2024-01-31T18:00:00. Rewrite it, or leave it out with ignore="
        )
    numbers = {name: look for name, look in free.items() if look.kind == "number"}
    if named := _named(numbers, STEP_NAMES):
        return take("time", named, "by its name")
    unix = {name: look for name, look in numbers.items() if look.unix and look.named}
    if unix and len(numbers) > len(unix):
        name, look = next(iter(unix.items()))
        return take("time", name, f"numbers like {look.examples[0]} are read as Unix time")
    return None


def _check_order(source: str, free: Mapping[str, Look], id: str | None) -> None:
    """`DataError` where rows have names of their own, and nothing says that they follow in time.

    The names may be times in a form that is not known, or the rows no steps at all.
    """
    for name, look in free.items():
        if look.kind == "text" and (look.named or (id is not None and look.numbered)):
            shown = ", ".join(repr(cell[:40]) for cell in look.examples[:2])
            raise DataError(
                f"column {name} of {source} has a text of its own in each row ({shown}), and no "
                "column holds times, so nothing says that one row follows the other. If these are "
                "times, write them in a form like 2024-01-31; if the rows do follow each other as "
                f"they stand, leave the column out with ignore={name!r}"
            )


def _find_label(source: str, free: Mapping[str, Look], take: Take, needed: bool) -> str | None:
    texts = {name: look for name, look in free.items() if look.kind in ("text", "flag")}
    present = {name: look for name, look in free.items() if _could_name(look)}
    if named := _named(present, LABEL_NAMES) or _named(texts, TARGET_NAMES):
        return take("label", named, "by its name")
    if not needed:
        return None
    if named := _named(present, TARGET_NAMES):
        return take("label", named, "by its name")
    if len(texts) == 1:
        return take("label", next(iter(texts)), "it is the one column of text")
    raise DataError(
        f"no column of {source} looks like a label; say which one is with label=. "
        f"Its columns are: {_list(free)}"
    )


def _could_name(look: Look) -> bool:
    """Can these be the names of classes: texts, or whole numbers?"""
    if look.kind == "number":
        return all((number_of(text) or 0.0).is_integer() for text in look.examples)
    return look.kind in ("text", "flag")
