"""The record of what `gatewright doctor --gpu` has proven on the GPUs of this machine.

Each cell and number type has a file of its own, which is written whole or not at all. It is in a
directory whose name is a digest of everything that a proof depends on: the GPU, its driver, CUDA,
torch, Triton and the source of these kernels. So another card or another version finds nothing,
and two processes that prove at the same time do not undo each other's work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from gatewright.backends.cache_directory import directory
from gatewright.backends.sources import digest_of, sources_of
from gatewright.errors import ArgumentError, ModelError
from gatewright.files import replace_file, sweep
from gatewright.graph import Graph
from gatewright.schema import typed

#: Increased whenever records of an earlier version would be read differently.
VERSION = 1
#: The modules that run kernels; all others that decide on their text are imported by them.
ROOTS = ("backends.triton.autograd",)


@dataclass(frozen=True, slots=True)
class Device:
    """Everything that a proof depends on, the cell excepted."""

    gpu: str
    capability: str
    multiprocessors: int
    driver: str
    cuda: str
    torch: str
    triton: str
    sources: str

    @property
    def folder(self) -> str:
        """The name of the directory with the proofs on it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Times:
    """The times of the kernels at one size, as multiples of those of the backend `rival`.

    Attributes:
        size: (B, T, I, H).
        rival: The backend that "auto" would choose without the kernels.
        inference, training: How many times as long the rival takes: the median, and the ends of
            its 95 % interval.
    """

    size: tuple[int, int, int, int]
    rival: str
    inference: tuple[float, float, float]
    training: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof of one cell in one number type, or its failure.

    Attributes:
        cell: The cell's name.
        dtype: The number type, such as "float32".
        failure: The reason why the kernels are not proven, or None.
        checks: The number of runs that were compared with the reference.
        error: The largest error of a value or gradient, as a share of what is allowed.
        worst: The value with this error, and its run.
        times: The times at some sizes; empty where they are not measured yet.
    """

    cell: str
    dtype: str
    failure: str | None = None
    checks: int = 0
    error: float = 0.0
    worst: str = ""
    times: tuple[Times, ...] = ()

    @property
    def is_complete(self) -> bool:
        """True if nothing of the proof is left to do."""
        return self.failure is None and bool(self.times)

    def why_not(self, rows: int, units: int, *, training: bool) -> str | None:
        """Give the reason why the kernels are not the fastest for a run, or None.

        The smallest size that was timed with at least as many rows and units decides: against a
        loop in Python the kernels lose ground as the work of a step grows.
        """
        if self.failure is not None:
            return f"its kernels failed the proof on this GPU: {self.failure}"
        if not self.times:
            return "its kernels are proven on this GPU, but not timed yet"
        large = [t for t in self.times if t.size[0] >= rows and t.size[3] >= units]
        if not large:
            timed = ", ".join(f"{t.size[0]} and {t.size[3]}" for t in self.times)
            return (
                f"its kernels are proven on this GPU, but were not timed with {rows} rows and "
                f"{units} units: only up to {timed}"
            )
        times = min(large, key=lambda t: t.size[0] * t.size[3])
        ratio, low, _ = times.training if training else times.inference
        if low > 1.0:
            return None
        kind = "a training step" if training else "a forward run"
        size = ", ".join(map(str, times.size))
        return (
            f"its kernels are proven on this GPU, but there the backend {times.rival} takes "
            f"{ratio:.2f} times as long for {kind}, at B, T, I, H = {size}"
        )


@cache
def digest_of_sources() -> str:
    """Return a digest of the source of all that the kernels' text and launches depend on."""
    return digest_of(sources_of(ROOTS))[:24]


@lru_cache(maxsize=16)
def device_of(device: torch.device) -> Device:
    """Describe an NVIDIA GPU, with the versions that its kernels are built with.

    The CPU is Triton's interpreter, which needs no GPU.
    """
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    versions = {
        "cuda": str(torch.version.cuda),
        "torch": torch.__version__,
        "triton": triton,
        "sources": digest_of_sources(),
    }
    if device.type == "cpu":
        return Device("Triton's interpreter", "none", 1, "none", **versions)
    properties = torch.cuda.get_device_properties(device)
    # torch has the driver's number only inside, and only in builds for CUDA.
    driver = getattr(torch._C, "_cuda_getDriverVersion", lambda: "unknown")
    return Device(
        properties.name,
        f"{properties.major}.{properties.minor}",
        properties.multi_processor_count,
        str(driver()),
        **versions,
    )


@lru_cache(maxsize=256)
def digest_of_graph(graph: Graph) -> str:
    """Return a digest of a cell's equations: with biases and without is one proof."""
    return hashlib.sha256(graph.equations.content().encode()).hexdigest()[:32]


def folder() -> Path | None:
    """Return the directory of all records, or None if nothing is to be stored."""
    base = directory()
    return None if base is None else base / "triton" / "proofs"


def _name(graph: Graph, dtype: str) -> str:
    return f"{digest_of_graph(graph)}-{dtype}.json"


def prepare(device: Device) -> Path:
    """Make the directory of a device's records, and see that files can be written there.

    Raises:
        OSError: if not.
        ArgumentError: if nothing is to be stored.
    """
    base = folder()
    if base is None:
        raise ArgumentError(
            "there is no directory for the record: GATEWRIGHT_CACHE is empty, or this user has no "
            "home directory; set GATEWRIGHT_CACHE to a directory of your own"
        )
    own = base / device.folder
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(own)
    replace_file(own / "device", device.gpu.encode())
    return own


def write(device: Device, graph: Graph, proof: Proof) -> None:
    """Write the proof of a cell on a device; the one before it stays until this is complete.

    Raises:
        OSError, ArgumentError: as `prepare` does.
    """
    path = prepare(device) / _name(graph, proof.dtype)
    content = {"device": asdict(device), "graph": digest_of_graph(graph), "proof": asdict(proof)}
    stored = {"version": VERSION, "digest": _digest(content), **content}
    replace_file(path, json.dumps(stored, indent=1).encode())
    read.cache_clear()


@lru_cache(maxsize=1024)
def read(device: Device, graph: Graph, dtype: str) -> Proof | None:
    """Return the proof of a cell on a device, or None if there is none that can be trusted.

    A process reads it once: a training does not change its kernels on its way.
    """
    base = folder()
    if base is None:
        return None
    try:
        proof, of_device, of_graph = _read(base / device.folder / _name(graph, dtype))
    except (OSError, ModelError):
        return None
    right = of_device == device and of_graph == digest_of_graph(graph) and proof.dtype == dtype
    return proof if right else None


def _read(path: Path) -> tuple[Proof, Device, str]:
    """Read a record.

    Raises:
        OSError: if it cannot be read.
        ModelError: if it is damaged, of another version, or could be somebody else's.
    """
    if not path.is_file():  # to open a pipe would wait for its writer
        raise FileNotFoundError(f"{path} is no file")
    if not (_is_own(path) and _is_own(path.parent)):
        raise ModelError(f"{path} could have been written by another user")
    content = path.read_bytes()
    try:
        stored = json.loads(content)
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from None
    if not isinstance(stored, dict) or stored.get("version") != VERSION:
        raise ModelError(f"{path} is of another version")
    own = {key: value for key, value in stored.items() if key not in ("version", "digest")}
    if stored.get("digest") != _digest(own) or own.keys() != {"device", "graph", "proof"}:
        raise ModelError(f"{path} is damaged: its numbers have changed")
    device, proof = typed(own["device"], Device, "device"), typed(own["proof"], Proof, "proof")
    return proof, device, typed(own["graph"], str, "graph")


def _is_own(path: Path) -> bool:
    """Tell if a file or directory is this user's; others may not write to the directory."""
    if os.name == "nt":  # the user's profile is protected by its access lists
        return True
    status = path.stat()
    open_to_others = path.is_dir() and status.st_mode & 0o022
    return status.st_uid == os.geteuid() and not open_to_others


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def records() -> tuple[list[tuple[Proof, Device]], list[str]]:
    """Read all records: those that are whole, and the reasons why others are ignored."""
    base = folder()
    whole: list[tuple[Proof, Device]] = []
    ignored: list[str] = []
    for path in sorted(base.glob("*/*.json")) if base is not None else ():
        try:
            proof, device, _ = _read(path)
        except (OSError, ModelError) as error:
            ignored.append(str(error))
        else:
            whole.append((proof, device))
    return whole, ignored
