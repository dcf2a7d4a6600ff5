"""The index of a pandas frame as columns: it often holds the times, and the series they are of."""

from __future__ import annotations

from typing import Any


def with_index(native: Any) -> tuple[Any, tuple[str, ...]]:
    """A pandas frame with names of text and its index as columns, and notes on what it was.

    Levels without a name that hold times are called time, those beside them id. Whole numbers
    without a name number the rows, and are left out.
    """
    index = native.index
    levels = [index.get_level_values(at) for at in range(index.nlevels)]
    notes: tuple[str, ...] = ()
    if index.nlevels > 1 or index.names[0] is not None or not _is_numbering(levels[0]):
        taken = {str(name) for name in (*native.columns, *index.names) if name is not None}
        names = _level_names(levels, taken)
        if nameless := [name for name, own in zip(names, index.names, strict=True) if own is None]:
            notes = (f"the index has no name: it is read as {' and '.join(nameless)}",)
        native = native.set_axis(_plain(index, names)).reset_index()
    elif len(index) and list(index) != list(range(len(index))):
        notes = ("the index numbers the rows and is left out; give it a name to have it read",)
    native = native.set_axis([str(name) for name in native.columns], axis="columns")
    for name, dtype in native.dtypes.items():
        if str(dtype).startswith("period"):
            native = native.assign(**{name: native[name].dt.to_timestamp()})
    return native, notes


def _plain(index: Any, names: list[str]) -> Any:
    return index.set_names(names if index.nlevels > 1 else names[0])


def _level_names(levels: list[Any], taken: set[str]) -> list[str]:
    """The name of each level: its own, else by what it holds, and none twice."""
    timed = [at for at, level in enumerate(levels) if _holds_times(level)]
    if not timed and len(levels) > 1:
        timed = [at for at, level in enumerate(levels) if level.dtype.kind in "iuf"][-1:]
    names: list[str] = []
    for at, level in enumerate(levels):
        name = level.name
        if name is None:
            role = "time" if at in timed else ("id" if len(levels) > 1 else "index")
            name = next(new for new in (role, f"{role} {at}", f"level {at}") if new not in taken)
        names.append(str(name))
        taken.add(str(name))
    return names


def _holds_times(level: Any) -> bool:
    return level.dtype.kind == "M" or str(level.dtype).startswith("period")


def _is_numbering(level: Any) -> bool:
    """Is this how pandas numbers rows by itself, or what is left of it?"""
    return level.dtype.kind in "iu" or not len(level)
