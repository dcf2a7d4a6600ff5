"""The file of `gatewright train --config`: settings of a training, as JSON or TOML.

    cell = "lstm"
    hidden_size = 48
    window = 72

    [design]
    layers = 2

    [recipe]
    learning_rate = 0.002

Keys are arguments of `gw.train`, options of reading included; `design` has fields of `Design`, or
is its name, and `recipe` has fields of `Recipe`. All of them are optional.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from gatewright.data.source.request import Request
from gatewright.designs.design import PLAIN, Design, find_design
from gatewright.errors import ArgumentError, ModelError
from gatewright.files import regular_file, user_path
from gatewright.names import did_you_mean
from gatewright.schema import stored_hints, typed, typed_fields
from gatewright.training.recipe import Recipe, check_limits

#: The largest file that is read, in bytes.
MAX_BYTES = 2**20
#: Fields of a recipe that are arguments of `gw.train`, or decided there.
ELSEWHERE = ("design", "memory", "seconds", "device", "precision", "chunk", "recompute")
#: By key: the type of its value; a list of columns may be a single name.
KEYS: Mapping[str, Any] = MappingProxyType(
    {
        "cell": str,
        "budget": str,
        "seeds": int,
        "epochs": int,
        "hidden_size": int,
        "memory": int,
        "chunk": int,
        "recompute": int | bool,
        "device": str,
        "precision": str,
        "streaming": bool,
        "distil": bool,
        "horizon": int,
        "window": int,
        **{
            name: str | tuple[str, ...] if hint == tuple[str, ...] else hint
            for name, hint in stored_hints(Request).items()
            if name not in ("labelled", "numbers")
        },
    }
)
RECIPE_KEYS: Mapping[str, Any] = MappingProxyType(
    {name: hint for name, hint in stored_hints(Recipe).items() if name not in ELSEWHERE}
)


def read_config(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `gw.train` in a file, or in a mapping with the same keys.

    Raises:
        ArgumentError: if the file cannot be read, or names a key or value that there is none of.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "config")
    path = user_path(source)
    try:
        with regular_file(path) as (file, size):
            content = file.read(min(size, MAX_BYTES))
        is_json = path.suffix.lower() == ".json"
        text = content.decode("utf-8")
        values = json.loads(text) if is_json else tomllib.loads(text)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise ArgumentError(f"{path} is not {kind}: {error}") from error
    if not isinstance(values, dict):
        raise ArgumentError(f'{path} holds no object; expected one such as {{"cell": "gru"}}')
    return _checked(values, str(path))


def with_config(
    source: str | os.PathLike[str] | Mapping[str, Any] | None, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments that were passed, and those of a config for the others.

    An argument that is None, or a flag that is False, was not passed.
    """
    config = {} if source is None else read_config(source)
    passed = {
        name: value for name, value in arguments.items() if value is not None and value is not False
    }
    return {**arguments, **config, **passed}


def to_config(
    *,
    cell: str,
    hidden_size: int,
    recipe: Recipe,
    **further: Any,
) -> dict[str, Any]:
    """The config with which `gw.train` trains networks of exactly this cell, size and recipe."""
    values = {
        name: value
        for name, value in recipe.to_config().items()
        if name in RECIPE_KEYS and name != "parameters"  # the hidden size decides on them
    }
    return {
        "cell": cell,
        "hidden_size": hidden_size,
        **({} if recipe.memory is None else {"memory": recipe.memory}),
        **further,
        "design": recipe.design.to_config(),
        "recipe": {name: value for name, value in values.items() if value is not None},
    }


def _checked(values: dict[str, Any], path: str) -> dict[str, Any]:
    """The arguments in a config, each of the type that it has to be."""
    design, recipe = values.pop("design", None), values.pop("recipe", {})
    _refuse_unknown(values, [*KEYS, "design", "recipe"], path)
    try:
        arguments = {
            name: typed(item, KEYS[name], f"{path}: {name}") for name, item in values.items()
        }
        for name in ("target", "known", "static", "ignore"):
            if isinstance(arguments.get(name), tuple):
                arguments[name] = list(arguments[name])
        if design is not None:
            arguments["design"] = _design(design, f"{path}: design")
        if recipe:
            place = f"{path}: recipe"
            if isinstance(recipe, dict):
                _refuse_unknown(recipe, RECIPE_KEYS, place)
            arguments["recipe"] = typed_fields(recipe, RECIPE_KEYS, place, optional=RECIPE_KEYS)
            check_limits(arguments["recipe"], f"{place}.")
    except ModelError as error:
        raise ArgumentError(str(error)) from None
    return arguments


def _design(value: Any, path: str) -> Design:
    if isinstance(value, str | Design):
        return find_design(value)
    if isinstance(value, dict):
        _refuse_unknown(value, stored_hints(Design), path)
    design: Design = typed(
        {**PLAIN.to_config(), **value} if isinstance(value, dict) else value, Design, path
    )
    return design


def _refuse_unknown(values: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    """Refuse a key that is not known, naming the nearest, or the table that it belongs in.

    Raises:
        ArgumentError: then.
    """
    known = list(known)
    for name in values:
        if name in known:
            continue
        hint = did_you_mean(name, known)
        for table, keys in (("recipe", RECIPE_KEYS), ("design", stored_hints(Design))):
            if not hint and name in keys and "recipe" in known:
                hint = f"it belongs in the table {table}; "
        raise ArgumentError(f"{path} has the key {name!r}; {hint}there are: {', '.join(known)}")
