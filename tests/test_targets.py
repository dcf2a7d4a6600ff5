"""Kernels for other processors: built and inspected, and those for smaller x86 ones run."""

from __future__ import annotations

import re
import struct
from typing import Any

import llvmlite.binding as llvm
import pytest

import gatewright as gw
from gatewright.backends.llvm import build, digest, library, target
from gatewright.backends.llvm.target import Target
from gatewright.schedule.loop import ScheduleOptions
from kernel_build import forget_kernels
from odd_cells import CELLS
from test_kernels import F32, F64, LAYOUTS, VARIANTS, held_to_reference, task_of

X86 = target.levels("x86_64-unknown-linux-gnu")
TARGETS = {
    **X86,
    "neon": Target("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32),
    "power": Target("powerpc64le-unknown-linux-gnu", "pwr8", "", 128, 32),
}
#: The machine's number in the header of an ELF file, and a register of its widest vectors.
MARKS = {
    "avx512": (62, r"%zmm\d+"),
    "avx2": (62, r"%ymm\d+"),
    "sse2": (62, r"%xmm\d+"),
    "neon": (183, r"\bv\d+\.(4s|2d)"),
    "power": (21, r"\bxvmadd[am](sp|dp)"),
}
#: Instructions on wider vectors than the target has, or on single numbers instead of vectors.
WRONG = {
    "avx512": r"\bvfmadd\w*ss\b",
    "avx2": r"%zmm|\bvfmadd\w*ss\b",
    "sse2": r"%ymm|%zmm|\bv?fmadd|\bv(add|mul|mov)ps\b",
    "neon": r"\bfmadd\b",
    "power": r"\bxsmaddasp\b",
}
#: The functions that kernels may call: of torch's OpenMP library and of the C library.
OPENMP = {"GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"}
KNOWN = {*OPENMP, "sched_yield", "sinf", "sin"}


class Smooth(gw.Cell):
    """A function of the C library, a comparison, a sum over a row."""

    def step(self, x, h):
        a = gw.linear(x, h)
        h = gw.where(a > 0.0, gw.sin(a), gw.exp(a) - 1.0) / (1.0 + gw.sum(h * h))
        return gw.state(h=h)


def assembled(goal: Target, cell: gw.Cell, bits: int, monkeypatch: Any) -> tuple[str, bytes]:
    """Assembly and object code of a cell's training kernels, built in the usual way."""
    texts: list[str] = []
    codes: list[bytes] = []
    original = build.optimised

    def optimised(module: Any, goal: Target) -> llvm.ModuleRef:
        parsed = original(module, goal)
        texts.append(goal.machine().emit_assembly(parsed))
        return parsed

    class Collected:
        def __init__(self, code: bytes) -> None:
            codes.append(code)

        def function(self, name: str) -> int:
            return 0

    monkeypatch.setenv("GATEWRIGHT_CACHE", "")
    monkeypatch.setattr(build, "optimised", optimised)
    monkeypatch.setattr(build, "Library", Collected)
    for module in (build, digest):
        monkeypatch.setattr(module, "target", lambda: goal)
    library.Kernels(cell.graph, ScheduleOptions(), build.numbers(bits)).function("loop_training")
    return texts[0], codes[0]


@pytest.mark.parametrize(
    ("name", "bits"), [*((name, 32) for name in TARGETS), ("sse2", 64), ("neon", 64)]
)
def test_kernels_are_built_for_other_processors(
    name: str, bits: int, monkeypatch: pytest.MonkeyPatch
):
    cell = CELLS["lstm"][0] if bits == 32 else Smooth()
    text, code = assembled(TARGETS[name], cell, bits, monkeypatch)
    machine, register = MARKS[name]
    assert code[:5] == b"\x7fELF\x02"
    assert struct.unpack_from("<H", code, 18) == (machine,)
    assert len(re.findall(register, text)) > 100
    if bits == 32:
        assert not re.findall(WRONG[name], text)
    assert called(text) <= KNOWN


def called(text: str) -> set[str]:
    """The functions that assembly calls or jumps to without defining them."""
    jumps = re.findall(r"^\s*(?:callq?|jmpq?|bl|b)\s+\*?([\w.]+)", text, re.MULTILINE)
    own = set(re.findall(r"^([\w.$]+):", text, re.MULTILINE))
    local = re.compile(r"\.L|r[a-d0-9][x0-9]?$")
    return {one for one in jumps if one not in own and not local.match(one)}


def test_calls_in_assembly_are_recognised():
    text = "own:\n\tcallq\tfmaf@PLT\n\tjmp\t.LBB0_1\n\tcallq\town\n\tjmp\texpm1\n\tbl\tx.1\n"
    assert called(text) == {"fmaf", "expm1", "x.1"}


def test_each_processor_has_cache_entries_of_its_own(monkeypatch: pytest.MonkeyPatch):
    names = set()
    for goal in TARGETS.values():
        monkeypatch.setattr(digest, "target", lambda goal=goal: goal)
        digest.host.cache_clear()
        names.add(digest.key(CELLS["lstm"][0].graph, 32))
    digest.host.cache_clear()
    assert len(names) == len(TARGETS)


HERE = target.native()


@pytest.mark.slow(instead="test_kernels_are_built_for_other_processors")
@pytest.mark.skipif(not HERE.triple.startswith("x86_64"), reason="this is not x86-64")
@pytest.mark.parametrize("name", [name for name, one in X86.items() if one.bits < HERE.bits])
def test_a_smaller_processor_computes_the_same(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GATEWRIGHT_CPU", name)
    monkeypatch.setenv("GATEWRIGHT_CACHE", "")
    forget_kernels()
    try:
        assert target.target().bits == X86[name].bits
        for cell, dtype in (("lstm", F32), ("gru_before", F32), ("peak", F64)):
            sizes = {"input": 5, "hidden": 17}
            task = task_of(VARIANTS[cell].graph, sizes, dtype, LAYOUTS[3], restart=True)
            held_to_reference(task)
    finally:
        monkeypatch.undo()
        forget_kernels()


@pytest.mark.parametrize(
    ("asked", "bits", "message"),
    [("avx9", 512, "give one of native, avx512"), ("avx512", 256, "has 256")],
)
def test_a_processor_that_this_one_does_not_include_is_refused(
    asked: str, bits: int, message: str, monkeypatch: pytest.MonkeyPatch
):
    here = Target("x86_64-unknown-linux-gnu", "some", "", bits, 16)
    monkeypatch.setattr(target, "native", lambda: here)
    monkeypatch.setenv("GATEWRIGHT_CPU", asked)
    target.target.cache_clear()
    try:
        with pytest.raises(gw.BackendError, match=message):
            target.target()
    finally:
        target.target.cache_clear()
