"""`prove`: the kernels of cells on the GPU at hand, held to the reference and timed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from gatewright.backends import triton
from gatewright.backends.recognise import FUNCTIONS, recognise
from gatewright.backends.triton import record
from gatewright.backends.triton.record import Device, Proof, Times
from gatewright.bench.checks import cell_names
from gatewright.bench.machine import Report, cores, silent
from gatewright.cells import CELLS
from gatewright.devices import accelerator, find_device
from gatewright.errors import ArgumentError, BackendError
from gatewright.files import locked
from gatewright.language.cell import Cell
from gatewright.layers.arguments import find_cell
from gatewright.proving.crew import Crew
from gatewright.schema import typed
from gatewright.training.cell_file import cell_from_file, names_a_file

#: The number types, in this order: most layers are in the first.
DTYPES = ("float32", "bfloat16", "float16")
#: The most processes that compile and compare side by side: each needs some memory on the GPU.
PROCESSES = 6
#: Seconds for the comparisons of one cell, and for its times, before its process is ended. On an
#: idle processor the first take some 15 s, most of it to compile 20 kernels.
CHECK_LIMIT, TIME_LIMIT = 180.0, 90.0
#: The share of the time that is left for the comparisons; the rest is for the times.
CHECKS_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class CellProof:
    """The result of one cell in one number type.

    Attributes:
        name: The cell's name, or the class of a cell that has none.
        proof: The proof or its failure, as it is recorded; None where there is none yet.
        refused: The reason why there are no kernels for the cell, or None.
        is_known: Whether the record had the whole proof before.
    """

    name: str
    dtype: str
    proof: Proof | None = None
    refused: str | None = None
    is_known: bool = False

    @property
    def text(self) -> str:
        """The result in words."""
        if self.refused is not None:
            return f"no kernels: {self.refused}"
        if self.proof is None:
            return "not proven yet: the time was over"
        if self.proof.failure is not None:
            return f"FAILED: {self.proof.failure}"
        return "proven" if self.proof.times else "proven, but not timed yet: the time was over"


@dataclass(frozen=True, slots=True)
class Proofs:
    """The results of all cells on one device."""

    device: Device
    outcomes: tuple[CellProof, ...]

    @property
    def is_right(self) -> bool:
        """True if no kernel failed."""
        return not any(o.proof is not None and o.proof.failure for o in self.outcomes)

    @property
    def is_whole(self) -> bool:
        """True if nothing was left when the time was over."""
        return all(
            o.refused is not None
            or (o.proof is not None and (o.proof.is_complete or o.proof.failure is not None))
            for o in self.outcomes
        )

    def to_json(self) -> str:
        """The results as JSON."""
        return json.dumps(
            {**asdict(self), "right": self.is_right, "whole": self.is_whole}, indent=1
        )


def prove(
    cells: Iterable[str | Cell | type[Cell]] | None = None,
    *,
    device: str = "auto",
    dtypes: Sequence[str] = DTYPES,
    minutes: float = 8.0,
    report: Report = silent,
) -> Proofs:
    """Prove the kernels of cells on a GPU: hold them to the reference, then time them.

    The results are recorded in the cache directory, cell by cell, and `backend="auto"` chooses
    kernels that are proven and faster. What is recorded already is not done again.

    >>> from gatewright.proving import prove
    >>> prove(["mgu"], minutes=2.0).is_right  # doctest: +SKIP
    True

    Args:
        cells: Names, "my.py:MyCell", or cells; by default all that ship.
        device: "auto" for the first GPU, or "cuda:1".
        dtypes: The number types of layers; see `DTYPES`.
        minutes: The time for everything. What is left then is done by the next call.
        report: Called with a text and the share that is done.

    Raises:
        BackendError: if the kernels cannot run on this machine.
        ArgumentError: for an unknown cell, device or number type, if the record cannot be written,
            or if another process is proving kernels for this device.
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise ArgumentError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    by_name = _cells(cells)
    place = _device(device)
    here = record.device_of(place)
    try:
        own = record.prepare(here)
        with locked(own) as lock:
            if lock is False:
                raise ArgumentError(
                    f"another process is proving kernels on {here.gpu}; wait until it has ended"
                )
            end = time.monotonic() + 60.0 * minutes
            return _Session(by_name, place, here, end, report).run(dtypes)
    except OSError as error:
        raise ArgumentError(
            f"cannot write the record in {record.folder()}: {error.strerror or error}. What was "
            "proven before is kept; set GATEWRIGHT_CACHE to a directory that can be written"
        ) from error


def _cells(cells: Iterable[str | Cell | type[Cell]] | None) -> dict[str, Cell]:
    """The cells by name: those that torch has no functions for first."""
    by_name: dict[str, Cell] = {}
    for cell in CELLS if cells is None else cells:
        if isinstance(cell, str):
            own = cell_from_file(cell) if names_a_file(cell) else None
            name = cell if own is not None else cell_names([cell], CELLS)[0]
            by_name[name] = own if own is not None else CELLS[name]()
        else:
            own = find_cell(cell)
            shipped = (name for name, kind in CELLS.items() if type(own) is kind)
            name = next(shipped, "")
            is_shipped = bool(name) and CELLS[name]().equations.same_as(own.equations)
            by_name[name if is_shipped else f"own {own.equations.name}"] = own
    if not by_name:
        raise ArgumentError("no cell was named; expected some, or None for all that ship")
    return dict(sorted(by_name.items(), key=lambda item: is_recognised(item[1])))


def is_recognised(cell: Cell) -> bool:
    """Tell if torch has a function for a cell."""
    return recognise(cell.graph, FUNCTIONS) is not None


def _device(name: str) -> torch.device:
    """The device of a name, on which kernels can run.

    Raises:
        ArgumentError, BackendError: if there is none.
    """
    device = find_device(name) or accelerator()
    if device is None:
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise BackendError(
            f"there is no GPU that torch can use (it was built {build}); the kernels are for "
            "NVIDIA GPUs, and a CPU needs no proof"
        )
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    if (reason := triton.why_no_device(device)) is not None:
        raise BackendError(f"the kernels cannot be proven on {device}: {reason}")
    return device


class _Session:
    """One call of `prove`."""

    def __init__(
        self,
        cells: dict[str, Cell],
        place: torch.device,
        here: Device,
        end: float,
        report: Report,
    ) -> None:
        self.cells = cells
        self.place = place
        self.here = here
        self.end = end
        self.report = report

    def run(self, dtypes: Sequence[str]) -> Proofs:
        """Compare and time all cells, one number type after another."""
        outcomes: list[CellProof] = []
        for position, dtype in enumerate(dtypes):
            first, width = position / len(dtypes), 1 / len(dtypes)
            own = [self._known(name, cell, dtype) for name, cell in self.cells.items()]
            now = time.monotonic()
            checks_end = now + CHECKS_SHARE * (self.end - now)
            middle = first + CHECKS_SHARE * width
            own = self._compare(own, checks_end, (first, middle))
            own = self._time(own, (middle, first + width))
            outcomes += own
        return Proofs(self.here, tuple(outcomes))

    def _known(self, name: str, cell: Cell, dtype: str) -> CellProof:
        proof = record.read(self.here, cell.graph, dtype)
        if proof is None or proof.failure is not None:  # failures are tried again
            return CellProof(name, dtype)
        return CellProof(name, dtype, proof, is_known=proof.is_complete)

    def _compare(
        self, outcomes: list[CellProof], end: float, shares: tuple[float, float]
    ) -> list[CellProof]:
        """Compare the kernels that are not proven with the reference, side by side."""
        processes = min(len(cores()), PROCESSES)
        environment = {"GATEWRIGHT_CHECKED": "1", "OMP_NUM_THREADS": "1"}
        with Crew(processes, CHECK_LIMIT, **environment) as crew:
            waiting = [i for i, outcome in enumerate(outcomes) if outcome.proof is None]
            return self._answered(crew, outcomes, waiting, end, "comparing", shares)

    def _time(self, outcomes: list[CellProof], shares: tuple[float, float]) -> list[CellProof]:
        """Time the kernels that are proven, one cell after another on an idle GPU."""
        with Crew(1, TIME_LIMIT) as crew:
            waiting = [
                i
                for i, outcome in enumerate(outcomes)
                if outcome.proof is not None
                and outcome.proof.failure is None
                and not outcome.proof.times
            ]
            return self._answered(crew, outcomes, waiting, self.end, "timing", shares)

    def _answered(
        self,
        crew: Crew,
        outcomes: list[CellProof],
        waiting: Sequence[int],
        end: float,
        verb: str,
        shares: tuple[float, float],
    ) -> list[CellProof]:
        """Let a crew answer for some outcomes, and record each answer when it comes.

        Args:
            shares: Those of all work that is done before and after it, for the progress bar.
        """
        outcomes = list(outcomes)
        requests = [self._request(outcomes[i], time=verb == "timing") for i in waiting]
        for done, (position, fields) in enumerate(crew.answers(requests, end), 1):
            i = waiting[position]
            outcomes[i] = self._record(outcomes[i], fields)
            text = f"{verb} {outcomes[i].name}, {outcomes[i].dtype}"
            before, after = shares
            self.report(text, before + (after - before) * done / len(requests))
        return outcomes

    def _request(self, outcome: CellProof, *, time: bool) -> dict[str, Any]:
        return {
            "name": outcome.name,
            "cell": self.cells[outcome.name].equations.to_json(),
            "dtype": outcome.dtype,
            "device": str(self.place),
            "time": time,
        }

    def _record(self, outcome: CellProof, fields: dict[str, Any]) -> CellProof:
        """Write the answer of a worker into the record."""
        if "refused" in fields:
            return replace(outcome, refused=fields["refused"])
        cell = self.cells[outcome.name]
        proof = outcome.proof or Proof(cell.equations.name, outcome.dtype)
        if "times" in fields:
            fields = {"times": typed(fields["times"], tuple[Times, ...], "times")}
        proof = replace(proof, **fields)
        record.write(self.here, cell.graph, proof)
        return replace(outcome, proof=proof)
