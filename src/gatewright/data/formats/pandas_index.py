"""Convert the index of a pandas frame to columns: it often has the times and the ids of series."""

from __future__ import annotations

from typing import Any


def with_index(native: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a pandas frame with its index as columns and text as names, and notes.

    Levels without a name are called time if they have times, else id. Whole numbers without a
    name only number the rows, and are left out.
    """
    index = native.index
    levels = [index.get_level_values(position) for position in range(index.nlevels)]
    notes: tuple[str, ...] = ()
    if index.nlevels > 1 or index.names[0] is not None or not _is_numbering(levels[0]):
        taken = {str(name) for name in (*native.columns, *index.names) if name is not None}
        names = _level_names(levels, taken)
        if nameless := [name for name, own in zip(names, index.names, strict=True) if own is None]:
            notes = (f"the index has no name: it is read as {' and '.join(nameless)}",)
        native = native.set_axis(_rename(index, names)).reset_index()
    elif len(index) and list(index) != list(range(len(index))):
        notes = ("the index numbers the rows and is left out; give it a name to have it read",)
    native = native.set_axis([str(name) for name in native.columns], axis="columns")
    for name, dtype in native.dtypes.items():
        if str(dtype).startswith("period"):
            native = native.assign(**{name: native[name].dt.to_timestamp()})
    return native, notes


def _rename(index: Any, names: list[str]) -> Any:
    return index.set_names(names if index.nlevels > 1 else names[0])


def _level_names(levels: list[Any], taken: set[str]) -> list[str]:
    """Return a unique name for each level: its own, else one that fits its values."""
    timed = [position for position, level in enumerate(levels) if _has_times(level)]
    if not timed and len(levels) > 1:  # then the last level of numbers counts time
        numbers = [position for position, level in enumerate(levels) if level.dtype.kind in "iuf"]
        timed = numbers[-1:]
    names: list[str] = []
    for position, level in enumerate(levels):
        name = level.name
        if name is None:
            role = "time" if position in timed else ("id" if len(levels) > 1 else "index")
            candidates = (role, f"{role} {position}", f"level {position}")
            name = next(candidate for candidate in candidates if candidate not in taken)
        names.append(str(name))
        taken.add(str(name))
    return names


def _has_times(level: Any) -> bool:
    return level.dtype.kind == "M" or str(level.dtype).startswith("period")


def _is_numbering(level: Any) -> bool:
    """Return True for row numbers as pandas makes them, or what is left of them."""
    return level.dtype.kind in "iu" or not len(level)
