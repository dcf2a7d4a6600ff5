"""The record of a run: its data, its settings, and what was decided by measured times.

A run can be resumed only with the same data and settings, which are compared by this record.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from gatewright.designs.design import Design
from gatewright.errors import ArgumentError, ModelError
from gatewright.files import regular_file
from gatewright.layers.saving import SEAL, UNFINISHED, leftover, sealed
from gatewright.schema import stored_hints, typed_fields
from gatewright.tasks.registry import presentation_of
from gatewright.training.cell_file import names_a_file
from gatewright.training.checkpoint import versions
from gatewright.training.networks import DEFAULT_CELL
from gatewright.training.plan import ExperimentPlan

FORMAT, VERSION = "gatewright run", 2
#: The largest record that is read, in bytes.
MAX_RECORD_BYTES = 64 * 2**20
#: The end of messages about a record that cannot be used.
BEGIN_AGAIN = "Begin the run again in a new directory"
#: The fields of data that say what they are called, not what they are.
NAMES = ("name", "about")
#: The key of an object of Python, of which only the name of its class is stored.
IN_MEMORY = "class"
#: The settings that mean nothing else than that the user left them out, by command.
_SHARED = {"budget": "normal", "streaming": False, "device": "auto", "precision": "float32"}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "train": {**_SHARED, "cells": [DEFAULT_CELL], "distil": False},
    "compare": {**_SHARED, "cells": None, "seeds": 5},
}


@dataclass(frozen=True, slots=True)
class Decisions:
    """The parts of a plan that were decided by measured times, and hold for the whole run."""

    seeds: int
    folds: int
    pilot: float
    epochs: list[int]  # of each variant
    baselines: list[str]  # titles
    limits: dict[str, float]
    seconds_left: float | None  # until no slow baseline is fitted any more
    notes: list[str]
    remarks: list[str]

    @classmethod
    def of(cls, plan: ExperimentPlan) -> Self:
        """The decisions in a plan."""
        return cls(
            seeds=plan.seeds,
            folds=plan.effort.folds,
            pilot=plan.effort.pilot,
            epochs=[variant.recipe.epochs for variant in plan.variants],
            baselines=[baseline.title for baseline in plan.baselines],
            limits=dict(plan.limits),
            seconds_left=None if plan.deadline is None else plan.deadline - time.monotonic(),
            notes=list(plan.notes),
            remarks=list(plan.remarks),
        )

    def applied(self, plan: ExperimentPlan) -> ExperimentPlan:
        """A plan that was made of the same data and settings, with these decisions."""
        if len(self.epochs) != len(plan.variants):
            raise ModelError("the run has another number of variants than its data and settings")
        variants = [
            replace(variant, recipe=replace(variant.recipe, epochs=epochs))
            for variant, epochs in zip(plan.variants, self.epochs, strict=True)
        ]
        return replace(
            plan,
            seeds=self.seeds,
            effort=replace(plan.effort, folds=self.folds, pilot=self.pilot),
            variants=variants,
            baselines=[b for b in plan.baselines if b.title in self.baselines],
            limits=self.limits,
            deadline=None if self.seconds_left is None else time.monotonic() + self.seconds_left,
            notes=tuple(self.notes),
            remarks=tuple(self.remarks),
        )


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that a run was begun with, as run.json has it."""

    command: str  # train or compare
    data: str | None  # a file or the name of a bundled data set; None for data in memory
    settings: dict[str, Any]  # as they were given
    digest: str  # of the content of the data
    part: str  # digest of the training part
    size: str  # of the training part, in words
    trainings: str  # digest of the trainings that these settings mean
    decisions: Decisions
    gatewright: str = field(default_factory=lambda: versions()["gatewright"])
    torch: str = field(default_factory=lambda: versions()["torch"])

    @classmethod
    def of(cls, command: str, data: Any, settings: Mapping[str, Any], plan: ExperimentPlan) -> Self:
        """The record of a plan that is decided.

        Args:
            data, settings: The arguments that the plan was made from.
        """
        return cls(
            command=command,
            data=_named(data) if isinstance(data, str | os.PathLike) else None,
            settings=stored_settings(settings),
            digest=digest_of(data, plan),
            part=digest_of(None, plan),
            size=presentation_of(plan.task).part_size(plan.training),
            trainings=trainings_of(plan),
            decisions=Decisions.of(plan),
        )

    def to_bytes(self) -> bytes:
        """The record as JSON, with a checksum."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return (json.dumps(sealed(content), indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record in a file.

        Raises:
            ModelError: if it is damaged, or of another version.
        """
        try:
            with regular_file(path) as (file, size):
                values = json.loads(file.read(min(size, MAX_RECORD_BYTES)))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read: {error}. {BEGIN_AGAIN}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ModelError(f"{path} is damaged: it is no run of gatewright. {BEGIN_AGAIN}")
        if values.get("version") != VERSION:
            raise ModelError(
                f"{path} has version {values.get('version')!r}; this gatewright reads {VERSION}: "
                f"resume with gatewright {values.get('gatewright')}"
            )
        if values.get(SEAL) != sealed(values)[SEAL]:
            raise ModelError(f"{path} is damaged: its checksum differs. {BEGIN_AGAIN}")
        hints = {"format": str, "version": int, SEAL: str, **stored_hints(cls)}
        try:
            checked = typed_fields(values, hints, path.name)
        except ModelError as error:
            raise ModelError(f"{path} is damaged: {error}. {BEGIN_AGAIN}") from error
        return cls(**{name: checked[name] for name in stored_hints(cls)})


def digest_of(data: Any, plan: ExperimentPlan) -> str:
    """The digest of the data: of their file, where they are from one, and of the training part.

    Names do not count, so that a file may be moved. The test part is not opened before the end of
    the training, not even for this.
    """
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if is_dataclass(value):
            digest.update(type(value).__name__.encode())
            for part in fields(value):
                content = getattr(value, part.name)
                is_name = part.name == "ids" and content == (plan.data,)  # of the only series
                if part.name not in NAMES and not is_name:
                    add(content)
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)} of".encode())
            for item in value:
                add(item)
        else:
            digest.update(f"{value!r};".encode())

    if isinstance(data, str | os.PathLike) and os.path.isfile(data):
        with open(data, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    add(plan.training)
    return digest.hexdigest()


def trainings_of(plan: ExperimentPlan) -> str:
    """The digest of all trainings that a plan may need: networks, sizes and recipes."""
    keys = [
        job.key for variant in plan.variants for job in replace(plan, variants=[variant]).jobs()
    ]
    return hashlib.sha256(" ".join(keys).encode()).hexdigest()


def how_to_resume(target: Path, command: str) -> str:
    """A sentence for the user, with the command that resumes a run."""
    return f"Resume with: gatewright {command} --resume {shlex.quote(str(target))}"


def check_same(record: RunRecord, now: RunRecord, target: Path) -> None:
    """Refuse to resume a run with other data, settings or versions than it was begun with.

    Raises:
        ArgumentError: with each difference.
    """
    differences = [
        f"{name} was {_shown(record.settings.get(name))}, and is now {_shown(value)}"
        for name, value in now.settings.items()
        if record.settings.get(name) != value
    ]
    if record.command != now.command:
        differences.insert(0, f"it is a run of {record.command}, not of {now.command}")
    if record.digest != now.digest:
        differences.append(f"the data are not those that it was begun with: {_data(record, now)}")
    if not differences and record.trainings != now.trainings:
        differences.append("the networks are not the same: was the file of a cell edited?")
    for name in ("gatewright", "torch"):
        before, after = getattr(record, name), getattr(now, name)
        if before != after:
            differences.append(
                f"it was begun with {name} {before}, and this is {after}: results could differ"
            )
    if differences:
        raise ArgumentError(_refusal(target, differences))


def _data(record: RunRecord, now: RunRecord) -> str:
    """The difference between the data of two records, in words."""
    if record.size != now.size:
        return f"there were {record.size} to learn from, and there are now {now.size}"
    if record.part != now.part:
        return f"the {now.size} to learn from have other values, columns or classes"
    return f"the {now.size} to learn from are the same, and the rest of the file is another"


def _refusal(target: Path, differences: Sequence[str]) -> str:
    return (
        f"{target} cannot be resumed: {'; '.join(differences)}. Its checkpoints are kept: "
        "resume with the same data and settings, or begin in another directory"
    )


def _named(source: str | os.PathLike[str]) -> str:
    """The name of the data from any directory: a file's absolute path, else the name itself."""
    text = os.fspath(source)
    return os.path.abspath(text) if os.path.exists(text) else text


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)


def resumed_arguments(
    target: Path, record: RunRecord | None, command: str, settings: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The data and the settings of a run that is resumed by its directory only.

    Args:
        settings: Those of the call, of which any that is set has to be that of the run.

    Raises:
        ArgumentError: if there is no run, or its arguments cannot be had from its record.
    """
    if record is None:
        if (target / UNFINISHED).is_dir():
            raise ArgumentError(leftover(target))
        fact = "is a file" if target.is_file() else "holds no unfinished training"
        raise ArgumentError(
            f"{target} {fact}; expected the directory of a run, or the data and the directory: "
            f"gatewright {command} DATA --out DIR --resume, gw.{command}(data, out=..., "
            "resume=True)"
        )
    if record.command != command:
        raise ArgumentError(
            f"{target} is a run of {record.command}. {how_to_resume(target, record.command)}"
        )
    in_memory = [cell for cell in record.settings["cells"] or () if not isinstance(cell, str)]
    if record.data is None or in_memory:
        raise ArgumentError(
            f"the {'cells' if record.data is not None else 'data'} of the run in {target} were "
            f"objects of Python; give them again: gw.{command}(data, ..., out={str(target)!r}, "
            "resume=True)"
        )
    if os.path.isabs(record.data) and not os.path.exists(record.data):
        raise ArgumentError(
            f"there is no file {record.data} any more, the data of the run in {target}. If it was "
            f"moved, give its new path: gatewright {command} DATA --out {shlex.quote(str(target))} "
            f"--resume"
        )
    settings = stored_settings(settings)
    defaults = DEFAULTS[command]
    differences = [
        f"{name} was {_shown(record.settings[name])}, and is now {_shown(value)}"
        for name, value in settings.items()
        if value not in (record.settings[name], defaults.get(name), {})
    ]
    if differences:
        raise ArgumentError(_refusal(target, differences))
    arguments = dict(record.settings)
    if isinstance(arguments["design"], dict):
        arguments["design"] = Design.from_config(arguments["design"])
    return record.data, arguments


def stored_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in JSON's types: designs by their fields, cells and files by their names."""

    def stored(value: Any) -> Any:
        if hasattr(value, "to_config"):
            return value.to_config()
        if isinstance(value, Mapping):
            return {str(key): stored(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [stored(item) for item in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        return {IN_MEMORY: value.__name__ if isinstance(value, type) else type(value).__name__}

    values = {name: stored(value) for name, value in settings.items()}
    if values["cells"] is not None:
        values["cells"] = [_named_cell(cell) for cell in values["cells"]]
    return values


def _named_cell(cell: Any) -> Any:
    """A cell of a file with the file's absolute path, any other as it is."""
    if not isinstance(cell, str) or not names_a_file(cell):
        return cell
    file, colon, name = cell.partition(".py:")
    return _named(f"{file}.py") + f":{name}" if colon else _named(cell)
