"""Checkpoints: the state of a training, or its outcome, as one file that is whole or not there.

The file is safetensors: the tensors, and in its header JSON for everything else, with a checksum
of both. It holds whole tensors, whatever number of processes wrote it, so that any number can
read it. Nothing is pickled.

    write_checkpoint(path, {"kind": "state", "state": loop_state.state_dict()})
    loop_state.load_state_dict(read_checkpoint(path)["state"])
"""

from __future__ import annotations

import errno
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from gatewright.errors import ModelError, TrainingError
from gatewright.files import regular_file, replace_file
from gatewright.layers.weights.file import read_shapes
from gatewright.schema import typed_fields
from gatewright.training.history import BY_HAND, History
from gatewright.training.job import Outcome, TrainingJob
from gatewright.training.loop import Keeper, LoopState
from gatewright.training.state_check import check_history

FORMAT, VERSION = "gatewright checkpoint", 1
#: Keys of the header of the file.
CONTENT, CHECKSUM = "checkpoint", "sha256"
#: The end of messages about a damaged file.
REMOVE = (
    "Remove this file to repeat its training from the start; the other trainings of the run are "
    "kept"
)
#: An object with only this key stands for the tensor that it names.
TENSOR = "tensor"
FIELDS = {"format": str, "version": int, "gatewright": str, "torch": str, "content": dict[str, Any]}
#: An epoch's checkpoint is left out until this many times the duration of the last one is over,
#: so that checkpoints take at most 1 / 50 = 2 % of the time, on whatever disk.
SPACING = 50.0
#: Seconds that the first checkpoint is taken to last, before one was measured.
FIRST_DURATION = 0.02
#: What to do where a checkpoint cannot be written, by the kind of error; elsewhere to make room.
REMEDIES = {
    errno.ENOENT: "Put the directory back",
    errno.ENOTDIR: "Put the directory back",
    errno.EROFS: "Make it writable",
    errno.EACCES: "Make it writable",
    errno.EPERM: "Make it writable",
}


def versions() -> dict[str, str]:
    """The versions that a training depends on to the bit."""
    return {"gatewright": version("gatewright"), "torch": torch.__version__}


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a tree of tensors and JSON's types; the previous file stays until it is complete.

    Raises:
        TrainingError: if it cannot be written: the disk is full, or the directory is gone.
    """
    file = to_bytes(content)
    try:
        replace_file(path, file)
    except OSError as error:
        earlier = "the one before it is still there" if path.exists() else "no earlier one is there"
        remedy = REMEDIES.get(error.errno or 0, "Make room there")
        raise TrainingError(
            f"cannot write the checkpoint {path}: {error.strerror or error}; {earlier}. {remedy} "
            "and resume, or train into another directory"
        ) from error


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """A tree of tensors and JSON's types as the content of a file."""
    tensors: dict[str, Tensor] = {}
    tree = _packed(content, "", tensors)
    header = {"format": FORMAT, "version": VERSION, **versions(), "content": tree}
    text = json.dumps(header, allow_nan=False)
    metadata = {CONTENT: text, CHECKSUM: _checksum(text, tensors)}
    return write_tensors(tensors, metadata=metadata)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tree that `write_checkpoint` wrote.

    Raises:
        ModelError: if the file is damaged, edited, or of another version.
    """
    try:
        with regular_file(path) as (file, size):
            read_shapes(file, size, path)
            file.seek(0)
            data = file.read(size)
    except ModelError as error:
        raise ModelError(f"{error}. {REMOVE}") from error
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    return from_bytes(data, path)


def from_bytes(data: bytes, path: Path) -> dict[str, Any]:
    """The tree of `to_bytes`; the path is for messages.

    Raises:
        ModelError: if it is damaged, edited, or of another version.
    """
    try:
        tensors: dict[str, Tensor] = read_tensors(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        text, checksum = metadata[CONTENT], metadata[CHECKSUM]
        header = json.loads(text)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _damaged(path, "it is no checkpoint of gatewright")
    if header.get("version") != VERSION:
        raise ModelError(
            f"{path} has version {header.get('version')!r} of the format of checkpoints; this "
            f"gatewright reads {VERSION}: resume with gatewright {header.get('gatewright')}"
        )
    if checksum != _checksum(text, tensors):
        raise _damaged(path, "its checksum differs: it is not as it was written")
    try:
        content = typed_fields(header, FIELDS, path.name)["content"]
        return dict(_unpacked(content, tensors))
    except (ModelError, KeyError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, fact: str) -> ModelError:
    return ModelError(f"the checkpoint {path} is damaged: {fact}. {REMOVE}")


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A tree in JSON's types; its tensors are put into `tensors`, named by their place."""
    if isinstance(value, Tensor):
        # A copy, since safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {TENSOR: name}
    prefix = f"{name}." if name else ""
    if isinstance(value, Mapping):
        return {key: _packed(item, f"{prefix}{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(item, f"{prefix}{index}", tensors) for index, item in enumerate(value)]
    return value


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if list(value) == [TENSOR] and isinstance(value[TENSOR], str):
            return tensors[value[TENSOR]]
        return {key: _unpacked(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    return value


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the JSON and of the bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        flat = tensors[name].reshape(-1).view(torch.uint8)
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        digest.update(flat.numpy().data)
    return digest.hexdigest()


#: The fields of a checkpoint, by its kind.
CONTENTS: Mapping[str, dict[str, Any]] = {
    "state": {"kind": str, "job": str, "state": dict[str, Any]},
    "outcome": {"kind": str, "job": str, "history": dict[str, Any], "weights": dict[str, Any]},
}


def read_job(path: Path, job: TrainingJob) -> dict[str, Any] | None:
    """The checkpoint of a job, of either kind, or None if there is none yet.

    Raises:
        ModelError: if it is damaged, or that of another job.
    """
    if not path.exists():
        return None
    content = read_checkpoint(path)
    try:
        hints = CONTENTS.get(content.get("kind", ""))
        if hints is None:
            raise ModelError("its kind is unknown")
        content = typed_fields(content, hints, path.name)
        if content["job"] != job.key:
            raise ModelError("it is of another training")
        if content["kind"] == "outcome":
            check_history(content["history"], "history")
    except ModelError as error:
        raise _damaged(path, str(error)) from error
    return content


def read_outcome(path: Path, job: TrainingJob) -> Outcome | None:
    """The result of a job that ended, or None if it has to be trained, or trained further."""
    content = read_job(path, job)
    if content is None or content["kind"] != "outcome":
        return None
    return Outcome(job, History.from_json(content["history"]), content["weights"])


class JobKeeper(Keeper):
    """Keeps the state of one job in a file, and in the end its outcome.

    Args:
        every: Steps after which a checkpoint is written inside an epoch; None writes none there.
        on_write: Called after each checkpoint of a state.
    """

    def __init__(
        self,
        path: Path,
        job: TrainingJob,
        every: int | None = None,
        on_write: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.job = job
        self.every = every
        self.on_write = on_write
        self._last = time.monotonic()
        self._duration = FIRST_DURATION

    def restore(self, state: LoopState) -> None:
        """Set a fresh state to that of the checkpoint, if there is one."""
        stored = self.stored()
        if stored is None:
            return
        try:
            state.load_state_dict(stored)
        except (ModelError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _damaged(self.path, str(error)) from error

    def stored(self) -> dict[str, Any] | None:
        """The state in the checkpoint, or None if there is none."""
        content = read_job(self.path, self.job)
        return content["state"] if content is not None and content["kind"] == "state" else None

    def after_step(self, state: LoopState) -> None:
        """Write the state after every `every` steps."""
        if self.every and state.steps % self.every == 0:
            self._keep(state)

    def after_epoch(self, state: LoopState) -> None:
        """Write the state, unless the last checkpoint is so young that this would cost too much."""
        is_due = time.monotonic() - self._last > SPACING * self._duration
        if is_due or self.every or state.history.stopped == BY_HAND:
            self._keep(state)

    def before_stop(self, state: LoopState) -> None:
        """Write the state at once."""
        self._keep(state)

    def _keep(self, state: LoopState) -> None:
        began = time.monotonic()
        self._write({"kind": "state", "state": state.state_dict()})
        self._last = time.monotonic()
        self._duration = self._last - began
        self.on_write()

    def finish(self, history: History, weights: Mapping[str, Tensor]) -> None:
        """Write the outcome in the place of the state; one that was ended by hand has none."""
        if history.stopped != BY_HAND:
            content = {"kind": "outcome", "history": history.to_json(), "weights": weights}
            self._write(content)

    def _write(self, content: dict[str, Any]) -> None:
        write_checkpoint(self.path, {**content, "job": self.job.key})
