"""Call lists are verified before they run: an access that does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import gatewright as gw
from gatewright.backends.llvm import build, library
from gatewright.backends.llvm.backward_program import BackwardProgram
from gatewright.backends.llvm.call_list import Program
from gatewright.backends.llvm.verify import Access, Contents, Span, verify, without
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.loop import ScheduleOptions

#: Four rows of eight numbers in block 1, which has 40 numbers; block 2 is lent.
ROWS = Span(1, 8, 8, 8, 40)
LENT = Span(2, 0, 8, 0, 32)
LENGTHS = {1: 40, 2: 32}


def access(kind: str, span: Span = ROWS, rows: int = 4, units: int = 8, **more: object) -> Access:
    return Access(kind, span, rows, units, more.pop("reach", units), **more)  # type: ignore[arg-type]


def check(*accesses: Access) -> None:
    verify([("kernel", [access]) for access in accesses], LENGTHS, {1}, Contents())


REFUSED = {
    "beyond its frame": ([access("write", rows=5)], "ends at 48, and the frame"),
    "before its frame": ([access("write", ROWS._replace(offset=4))], "the frame goes from 8 to 40"),
    "a frame beyond its block": (
        [access("write", ROWS._replace(end=48), rows=5)],
        "the frame ends at 48, and the block has 40",
    ),
    "vectors beyond a row": (
        [access("write", ROWS.from_unit(4), rows=3, units=4, reach=8)],
        "a row has 8 numbers, and it ends at 12",
    ),
    "lent memory": ([access("write", LENT)], "lent for reading"),
    "frames that overlap": (
        [access("write"), access("write", Span(1, 16, 4, 16, 24), rows=2, units=4)],
        "16 to 24 overlap 8 to 40",
    ),
    "memory that was not written": ([access("read")], "not all of it holds"),
    "a row that was not written": (
        [access("write", rows=3), access("read")],
        "not all of it holds",
    ),
    "a column that was not written": (
        [access("write", units=7, reach=8), access("read")],
        "not all of it holds",
    ),
    "a value that was replaced": (
        [access("write", content="a"), access("write", content="b"), access("read", content="a")],
        "not all of it holds",
    ),
    "a part of a value that was replaced": (
        [
            access("write", content="a"),
            access("write", ROWS.from_row(2), rows=1, content="b"),
            access("read", content="a"),
        ],
        "not all of it holds",
    ),
    "an update of memory that was not written": ([access("update")], "not all of it holds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_access_that_does_not_fit_is_refused(name: str):
    accesses, message = REFUSED[name]
    with pytest.raises(gw.errors.KernelError, match=message):
        check(*accesses)


def test_accesses_that_fit_are_not_refused():
    check(
        access("write", content="a"),
        access("write", ROWS.from_row(2), rows=2, content="b"),
        access("read", rows=2, content="a"),
        access("read", rows=2, content="b", first=2),
        access("update", units=4),
        access("read", LENT),
    )


def test_the_parts_of_a_rectangle_outside_of_another():
    area = (0, 4, 0, 4)
    cells = {(row, column) for row in range(4) for column in range(4)}
    for hole in [(1, 3, 1, 3), (0, 4, 0, 4), (2, 9, -3, 2), (5, 6, 0, 4), (0, 4, 3, 4)]:
        parts = list(without(area, hole))
        left = [
            (row, column)
            for top, bottom, begin, end in parts
            for row in range(top, bottom)
            for column in range(begin, end)
        ]
        inside = {
            (row, column) for row in range(hole[0], hole[1]) for column in range(hole[2], hole[3])
        }
        assert len(left) == len(set(left))
        assert set(left) == cells - inside


def run(layer: gw.Recurrent) -> None:
    layer(torch.randn(3, 2, 16, requires_grad=True))[0].sum().backward()


def short(place: Callable[..., None]) -> Callable[..., None]:
    """Buffers with one row too few."""

    def wrong(self: Program, block: str, rows: int, *buffers: tuple[str, int]) -> None:
        place(self, block, rows - (rows > 1), *buffers)

    return wrong


def shifted(apart: Callable[..., Span]) -> Callable[..., Span]:
    """Gradients that begin one row too late."""

    def wrong(self: BackwardProgram, whole: int, rows: int, length: int) -> Span:
        return apart(self, whole, rows, length).from_row(1)

    return wrong


def unwritten(clear: Callable[..., None]) -> Callable[..., None]:
    """Gradients that are not set to zero before they are added to."""

    def wrong(self: Program, target: Span, rows: int, units: int) -> None:
        pass

    return wrong


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [(Program, "place", short), (BackwardProgram, "apart", shifted), (Program, "clear", unwritten)],
)
def test_a_wrong_program_is_refused_before_it_runs(
    owner: type, name: str, wrong: Callable[..., object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    library.kernels.cache_clear()
    ran: list[object] = []
    monkeypatch.setattr(Program, "__call__", lambda self, bases: ran.append(self))
    with pytest.raises(gw.errors.KernelError, match="refused before it ran"):
        run(gw.GRU(16, 16))
    library.kernels.cache_clear()
    # At most the forward pass was right, and ran.
    assert len(ran) <= 1


def test_a_wrong_number_of_addresses_is_refused():
    layer = gw.GRU(16, 16)
    with torch.no_grad():
        layer(torch.randn(3, 2, 16))
    kernels = library.kernels(
        layer.graph, ScheduleOptions(input_gradients=False), build.numbers(32)
    )
    program = next(iter(kernels.programs.values()))
    with pytest.raises(gw.errors.KernelError, match="addresses for the blocks"):
        program([0])


def test_memory_that_two_values_share_holds_the_later_one():
    """The saved value reuses the buffer of the pre-activation, which is refused afterwards."""
    layer = gw.LSTM(16, 16)
    run(layer)
    kernels = library.kernels(layer.graph, ScheduleOptions(), build.numbers(32))
    program = next(p for (kind, _), p in kernels.programs.items() if kind == "training")
    shared = [
        (leaf, term)
        for leaf, term in kernels.replaced.items()
        if program.places.get(("before", Buffer("value", leaf)))
        == program.places.get(("loop", Buffer("value", term)))
    ]
    assert shared
    for leaf, term in shared:
        span = program.places["loop", Buffer("value", term)]
        access_ = Access("read", span, program.shape.total, 16, 16, f"value {term.index}")
        names = dict(enumerate(program.bases))
        lengths = {i: program.lengths.get(name, 0) for i, name in names.items()}
        writable = {program.bases["saved"]}
        verify([("again", [access_])], lengths, writable, program.contents)
        early = access_._replace(content=f"value {leaf.index}")
        with pytest.raises(gw.errors.KernelError, match="not all of it holds"):
            verify([("again", [early])], lengths, writable, program.contents)


def test_both_passes_agree_on_the_saved_memory():
    layer = gw.LSTM(16, 16)
    run(layer)
    kernels = library.kernels(layer.graph, ScheduleOptions(), build.numbers(32))
    shape = next(shape for kind, shape in kernels.programs if kind == "backward")
    forward = replace(shape, present=(), requested=(), pieces=(), wholes=())
    assert ("training", forward) in kernels.programs
