"""The streams of a server in a file: written whole or not at all, for the same model only.

`streams.safetensors` has a tensor for each state, and in its header, as JSON, the ids, the steps
and the digest of the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as write_tensors
from torch import Tensor

from gatewright.errors import GatewrightError, ModelError
from gatewright.files import write_file
from gatewright.schema import typed

FILE = "streams.safetensors"
FORMAT = "gatewright streams"
VERSION = 1


@dataclass(frozen=True, slots=True)
class SavedStream:
    """The id of a stream, and the events that it has read."""

    id: str
    step: int


@dataclass(frozen=True, slots=True)
class SavedStreams:
    """Streams, and their states, each `(layers, streams, size)`."""

    streams: tuple[SavedStream, ...]
    states: tuple[Tensor, ...]


def write_streams(folder: Path, saved: SavedStreams, digest: str) -> None:
    """Write streams in place of those that the folder has, on one rename.

    Raises:
        ArgumentError: if the file cannot be written; then the one before is still there.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "model": digest,
        "streams": [asdict(stream) for stream in saved.streams],
    }
    tensors = {f"state.{number}": state.contiguous() for number, state in enumerate(saved.states)}
    content = write_tensors(tensors, {"gatewright": json.dumps(header)})
    write_file(folder / FILE, content, overwrite=True)


def read_streams(folder: Path, digest: str, starts: Sequence[Tensor]) -> SavedStreams | None:
    """The streams that the folder has, or None.

    Args:
        starts: The states of one stream of the model, `(layers, 1, size)`.

    Raises:
        ModelError: if the file is damaged, or has the streams of another model.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header: Any = json.loads((file.metadata() or {})["gatewright"])
            states = tuple(file.get_tensor(f"state.{number}") for number in range(len(starts)))
        if header["format"] != FORMAT or header["version"] != VERSION:
            raise ModelError(f"its format is {header['format']}, version {header['version']}")
        streams = tuple(typed(entry, SavedStream, "stream") for entry in header["streams"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, GatewrightError) as error:
        raise ModelError(
            f"{path} is damaged ({error}); expected the streams that gatewright serve has saved: "
            "move the file away to begin without them"
        ) from None
    if header["model"] != digest:
        raise ModelError(
            f"{path} has the streams of another model, or of this one before it was trained again; "
            "expected those of the model that is served: name another folder, or move the file away"
        )
    for state, start in zip(states, starts, strict=True):
        shape = (start.shape[0], len(streams), start.shape[2])
        if tuple(state.shape) != shape or state.dtype != start.dtype:
            raise ModelError(
                f"{path} is damaged: a state has shape {tuple(state.shape)}; expected {shape}. "
                "Move the file away to begin without it"
            )
    return SavedStreams(streams, states)
