"""Chunks: read with the states carried they are the whole sequences, each step once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

import gatewright as gw
from example_count import example_count
from gatewright.data import Recordings, Tagged, Text
from gatewright.data.chunks import text_steps
from gatewright.data.chunks.array_steps import MappedSteps, ResidentSteps, array_steps
from tolerances import SAME, close

F64 = torch.float64


def one_of_each_family() -> list[str]:
    """A cell of each module of cells that reads nothing but its event."""
    families: dict[str, str] = {}
    for name, kind in gw.CELLS.items():
        equations = kind().equations
        if not equations.inputs and not equations.sizes:
            families.setdefault(kind.__module__, name)
    return list(families.values())


def sequences(lengths: list[int], channels: int = 3, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, channels, generator=generator, dtype=F64) for n in lengths]


def listed(chunks: Any) -> list[tuple[Any, ...]]:
    """The fields of all chunks of an epoch, to compare them."""
    fields = ("x", "target", "starts", "ends", "lengths", "sequence", "position")
    return [tuple(getattr(chunk, field) for field in fields) for chunk in chunks]


def same(first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]) -> None:
    assert len(first) == len(second)
    for own, other in zip(first, second, strict=True):
        for a, b in zip(own, other, strict=True):
            assert (a is None) == (b is None) and (a is None or torch.equal(a, b))


shapes = st.tuples(
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    st.integers(1, 11),
    st.integers(1, 7),
)


# The laws.
@pytest.mark.parametrize("cell", one_of_each_family())
@settings(max_examples=example_count(3), deadline=None)
@hypothesis.given(shape=shapes)
def test_chunks_with_carried_states_are_the_whole_sequences(cell: str, shape: Any):
    check_against_whole(gw.Recurrent(cell, 4, 4, 2, dtype=F64, backend="reference").eval(), shape)


@pytest.mark.parametrize("kind", [gw.LSTM, gw.GRU])
@settings(max_examples=example_count(5), deadline=None)
@hypothesis.given(shape=shapes)
def test_the_kernels_read_chunks_as_whole_sequences(kind: Any, shape: Any):
    check_against_whole(kind(4, 5, dtype=F64), shape)


@torch.no_grad()
def check_against_whole(layer: Any, shape: tuple[list[int], int, int]) -> None:
    lengths, steps, batch = shape
    data = sequences(lengths, 4)
    whole = [layer(x[:, None]) for x in data]
    state, last = None, {}
    for chunk in gw.chunks(data, steps=steps, batch=batch, cut=False, dtype=F64):
        y, state = layer(chunk.x, state, starts=chunk.starts, lengths=chunk.lengths)
        for t, b in chunk.mask.nonzero().tolist():
            own, position = int(chunk.sequence[t, b]), int(chunk.position[t, b])
            close(y[t, b], whole[own][0][position, 0], "output", SAME)
            last[b] = own
    # What is in a row after all chunks are the states of the last sequence that it has read.
    for row, own in last.items():
        for state_, expected in zip(several(state), several(whole[own][1]), strict=True):
            close(state_[:, row], expected[:, 0], "state", SAME)


def several(state: Any) -> tuple[torch.Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def test_the_gradients_of_a_chunk_as_long_as_the_sequences_are_those_of_the_whole():
    data = sequences([7, 3, 5])
    layer = gw.LSTM(3, 4, dtype=F64)
    sum(layer(x[:, None])[0].square().sum() for x in data).backward()
    expected = [weight.grad.clone() for weight in layer.parameters()]
    layer.zero_grad()
    (chunk,) = gw.chunks(data, steps=10, batch=2, dtype=F64)
    y, _ = layer(chunk.x, starts=chunk.starts, lengths=chunk.lengths)
    y[chunk.mask].square().sum().backward()
    close([weight.grad for weight in layer.parameters()], expected)


def test_no_gradient_crosses_a_row_or_a_start():
    (chunk,) = gw.chunks(sequences([5, 4, 6]), steps=20, batch=2, dtype=F64)
    layer = gw.LSTM(3, 4, dtype=F64)
    x = chunk.x.requires_grad_()
    y, _ = layer(x, starts=chunk.starts, lengths=chunk.lengths)
    for own in range(3):
        (gradient,) = torch.autograd.grad(y[chunk.sequence == own].sum(), x, retain_graph=True)
        assert torch.equal(gradient.abs().sum(-1) > 0, chunk.sequence == own)


@settings(max_examples=example_count(40), deadline=None)
@hypothesis.given(
    shape=shapes, cut=st.sampled_from([None, True, False]), seed=st.none() | st.integers(0, 9)
)
def test_every_step_comes_once_and_follows_the_one_before(shape: Any, cut: Any, seed: Any):
    lengths, steps, batch = shape
    data = [torch.arange(n) + 100 * k for k, n in enumerate(lengths)]
    targets = [-x for x in data]
    chunks = gw.chunks((data, targets), steps=steps, batch=batch, cut=cut, seed=seed)
    for epoch in range(2):
        assert chunks.epoch == epoch
        seen, rows = [], defaultdict(list)
        count = len(chunks)
        for number, chunk in enumerate(chunks, 1):
            assert chunk.x.shape == (len(chunk.x), chunks.batch)
            assert len(chunk.x) == steps or number == count
            assert torch.equal(chunk.mask.sum(0), chunk.lengths)
            assert torch.equal(chunk.target, -chunk.x)
            for row, length in enumerate(chunk.lengths.tolist()):
                assert not chunk.starts[length:, row].any() and not chunk.ends[length:, row].any()
                rows[row] += [
                    tuple(column)
                    for column in torch.stack(
                        [chunk.sequence, chunk.position, chunk.x, chunk.starts, chunk.ends], -1
                    )[:length, row].tolist()
                ]
        assert number == count
        for steps_of_row in rows.values():
            assert steps_of_row[0][3]
            for (own, place, *_), (other, later, _, is_start, _) in pairwise(steps_of_row):
                assert is_start or (own, place + 1) == (other, later)
            for own, place, x, is_start, is_end in steps_of_row:
                assert x == 100 * own + place
                assert is_start or place
                assert is_end == (place == lengths[own] - 1)
                seen.append((own, place))
        assert sorted(seen) == [(k, t) for k, n in enumerate(lengths) for t in range(n)]
        long = [len(steps_of_row) for steps_of_row in rows.values()]
        if cut:
            assert max(long) - min(long) <= 1
        if cut is False or (cut is None and len([n for n in lengths if n]) >= batch):
            assert all(first[1] == 0 for row in rows.values() for first in row if first[3])


@settings(max_examples=example_count(15), deadline=None)
@hypothesis.given(
    shape=shapes, cut=st.booleans(), seed=st.none() | st.integers(0, 9), place=st.integers(0, 9)
)
def test_a_restored_position_gives_the_remaining_chunks(
    shape: Any, cut: bool, seed: Any, place: int
):
    lengths, steps, batch = shape
    data = sequences(lengths)

    def new() -> Any:
        return gw.chunks(data, steps=steps, batch=batch, cut=cut, seed=seed)

    chunks = new()
    list(chunks)
    stored, rest = None, []
    place = min(place, len(chunks) - 1)
    for number, chunk in enumerate(chunks):
        rest += listed([chunk]) if stored is not None else []
        if number == place:
            stored = chunks.state_dict()
    restored = new()
    restored.load_state_dict(stored)
    assert restored.epoch == 1
    same(listed(restored), rest)
    assert restored.epoch == 2
    same(listed(restored), listed(chunks))
    # Left early, the next pass begins anew.
    next(iter(chunks))
    same(listed(chunks), listed(restored))


def test_a_seed_draws_another_order_and_other_cuts_for_each_epoch():
    for data in (sequences([5] * 9), sequences([90])):
        chunks = gw.chunks(data, steps=10, batch=3, seed=1)
        first, second = ([chunk.sequence * 100 + chunk.position for chunk in chunks] for _ in "ab")
        assert not all(map(torch.equal, first, second))
        again = gw.chunks(data, steps=10, batch=3, seed=1)
        assert all(map(torch.equal, first, [c.sequence * 100 + c.position for c in again]))


def test_the_shapes_of_the_documentation():
    (chunk,) = gw.chunks((np.zeros((6, 3), np.int16), np.zeros(6)), steps=9, batch=1)
    assert (chunk.x.shape, chunk.x.dtype) == ((6, 1, 3), torch.float32)
    assert (chunk.target.shape, chunk.target.dtype) == ((6, 1, 1), torch.float32)
    (chunk,) = gw.chunks(
        (np.zeros((2, 6, 3)), [np.zeros(6, bool)] * 2), steps=9, batch=2, batch_first=True
    )
    assert chunk.x.shape == (2, 6, 3) and chunk.starts.shape == chunk.mask.shape == (2, 6)
    assert chunk.target.shape == (2, 6) and chunk.target.dtype == torch.int64
    (chunk,) = gw.chunks(np.zeros((6, 2, 3)), steps=9, batch=2, dtype=torch.bfloat16)
    assert chunk.x.shape == (6, 2, 3) and chunk.x.dtype == torch.bfloat16
    assert gw.chunks(np.zeros(9), steps=2, batch=16).batch == 9  # no row without a step
    assert gw.chunks([np.zeros(9)] * 2, steps=2, batch=16, cut=False).batch == 2


def test_states_are_detached_in_any_structure():
    x = torch.ones(2, requires_grad=True) * 2
    state = (x, [x, None], {"c": x})
    own = gw.detach(state)
    assert (
        not own[0].requires_grad and not own[1][0].requires_grad and not own[2]["c"].requires_grad
    )
    assert own[1][1] is None and own[0].data_ptr() == x.data_ptr() and gw.detach(None) is None
    with pytest.raises(gw.ArgumentError, match="a state is a int"):
        gw.detach((x, 3))


# The sources: from each, the chunks are those of the same steps in memory.
VALUES = np.random.default_rng(2).normal(size=(70, 4)).astype(np.float32)


def reference(values: Any = VALUES) -> list[tuple[Any, ...]]:
    return listed(gw.chunks(values.copy(), steps=8, batch=3))


MAPS = {
    "plain": lambda a: a,
    "rows": lambda a: a[5:61],
    "columns": lambda a: a[:, 1:3],
    "one column": lambda a: a[:, 2],
    "every third": lambda a: a[1::3],
    "spaced columns": lambda a: a[:, ::2],
    "view": np.asarray,
    "reversed": lambda a: a[::-1, ::-1],
    "windows": lambda a: np.lib.stride_tricks.sliding_window_view(a[:, 0], 3),
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("view", MAPS)
def test_a_mapped_array_is_read_from_its_file(view: str, order: Any, tmp_path: Path):
    np.save(tmp_path / "a.npy", np.asarray(VALUES, order=order))
    mapped = MAPS[view](np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert isinstance(array_steps(mapped, "x"), MappedSteps)
    same(listed(gw.chunks(mapped, steps=8, batch=3)), reference(MAPS[view](VALUES)))


def test_a_raw_map_with_an_offset_and_a_private_copy(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0" * 6000 + VALUES.tobytes())
    mapped = np.memmap(path, np.float32, "r", 6000, VALUES.shape)
    assert isinstance(array_steps(mapped, "x"), MappedSteps)
    same(listed(gw.chunks(mapped, steps=8, batch=3)), reference())
    private = np.memmap(path, np.float32, "c", 6000, VALUES.shape)
    private[3] = 5.0  # in memory only
    expected = VALUES.copy()
    expected[3] = 5.0
    same(listed(gw.chunks(private, steps=8, batch=3)), reference(expected))


def test_a_map_of_a_file_that_was_replaced_keeps_its_values(tmp_path: Path):
    np.save(tmp_path / "a.npy", VALUES)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.save(tmp_path / "b.npy", -VALUES)
    os.replace(tmp_path / "b.npy", tmp_path / "a.npy")
    same(listed(gw.chunks(mapped, steps=8, batch=3)), reference())


SHRINKING = """
import os, sys
import numpy as np, torch, gatewright as gw

def from_file(shared):
    return torch.from_file(sys.argv[1], shared, 80_000, dtype=torch.float64)

MAPS = {
    "a view in reverse order": lambda: np.load(sys.argv[1], mmap_mode="r")[::-1],
    "a private copy": lambda: np.load(sys.argv[1], mmap_mode="c"),
}
if os.path.exists("/proc/self/maps"):  # tensors do not know the map that they are in
    MAPS["a tensor"] = lambda: torch.from_numpy(np.load(sys.argv[1], mmap_mode="r+"))[2:]
    MAPS["a shared tensor"] = lambda: from_file(True)
    MAPS["a private tensor"] = lambda: from_file(False)
for name, make in MAPS.items():
    np.save(sys.argv[1], np.zeros(80_000))
    array = make()
    os.truncate(sys.argv[1], 200)
    try:
        list(gw.chunks(array, steps=500, batch=2))
    except gw.DataError as error:
        assert "became shorter" in str(error), error
    else:
        raise AssertionError(name)
"""


@pytest.mark.usefixtures("forked_python")
def test_no_map_of_a_file_that_shrinks_ends_the_process(tmp_path: Path):
    command = [sys.executable, "-c", SHRINKING, str(tmp_path / "a.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_tensor_of_a_map_is_read_from_its_file(tmp_path: Path):
    np.save(tmp_path / "a.npy", VALUES)
    for mode in ("r+", "c"):
        whole = torch.from_numpy(np.load(tmp_path / "a.npy", mmap_mode=mode))
        for name in ("plain", "rows", "columns", "every third"):
            same(
                listed(gw.chunks(MAPS[name](whole), steps=8, batch=3)),
                reference(MAPS[name](VALUES)),
            )
    if os.path.exists("/proc/self/maps"):
        assert isinstance(array_steps(whole.numpy(), "x"), ResidentSteps)
    np.save(tmp_path / "b.npy", -VALUES)
    os.replace(tmp_path / "b.npy", tmp_path / "a.npy")
    same(listed(gw.chunks(whole, steps=8, batch=3)), reference())


def test_many_sequences_of_one_map_open_its_file_once(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((3000, 2, 1), np.float32))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    chunks = gw.chunks(array, steps=2, batch=30, batch_first=True)
    assert len(chunks) == 100
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 1


def test_a_file_of_numpy_and_an_array_of_hdf5(tmp_path: Path):
    np.save(tmp_path / "x.npy", VALUES)
    np.save(tmp_path / "y.npy", VALUES[:, 0].astype(np.int64))
    same(listed(gw.chunks(tmp_path / "x.npy", steps=8, batch=3)), reference())
    pair = gw.chunks((str(tmp_path / "x.npy"), tmp_path / "y.npy"), steps=8, batch=3)
    assert next(iter(pair)).target.dtype == torch.int64
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = VALUES
        same(listed(gw.chunks(file["x"], steps=8, batch=3)), reference())


def test_a_parquet_file_is_read_by_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    from gatewright.data.chunks import parquet_steps

    monkeypatch.setattr(parquet_steps, "BLOCK_ROWS", 6)
    lengths = [20, 1, 31, 18]
    label = np.arange(70) % 3
    columns = {"unit": np.repeat(["a", "b", "c", "d"], lengths), "label": label, "note": ["?"] * 70}
    columns |= {f"v{k}": VALUES[:, k] for k in range(4)}
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=13)
    borders = np.cumsum([0, *lengths])
    parts = [VALUES[a:b] for a, b in pairwise(borders)], [label[a:b] for a, b in pairwise(borders)]
    for batch in (1, 3):
        own = gw.chunks(
            path, steps=8, batch=batch, seed=3, target="label", id="unit", ignore="note"
        )
        for _ in range(2):
            expected = gw.chunks(parts, steps=8, batch=batch, seed=3)
            expected.epoch = own.epoch
            same(listed(own), listed(expected))
    with pytest.raises(gw.ArgumentError, match=r"target names 'labl'; did you mean label\?"):
        gw.chunks(path, steps=8, batch=1, target="labl")
    with pytest.raises(gw.DataError, match=r"column 'note' .* ignore='note'"):
        gw.chunks(path, steps=8, batch=1, target="label", id="unit")
    with pytest.raises(gw.DataError, match="sort the table by label first"):
        gw.chunks(path, steps=8, batch=1, id="label", ignore=["note", "unit"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(gw.DataError, match="cannot be read as Parquet"):
        gw.chunks(path, steps=8, batch=1)


TEXT = "Gewöhnlich 日本語, 🙂 and plain;\r\nlines\nand \r more é\r\n" * 9


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_text_is_decoded_right_across_borders(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = TEXT if encoding != "cp1252" else TEXT.encode("cp1252", "ignore").decode("cp1252")
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    expected = gw.read(path).data
    # Borders fall into characters and between the two ends of a line.
    for block, marked in ((1, 1), (2, 7), (3, 50), (1 << 14, 1 << 20)):
        monkeypatch.setattr(text_steps, "BLOCK", block)
        monkeypatch.setattr(text_steps, "MARKED", marked)
        own = gw.chunks(path, steps=17, batch=3, seed=5)
        assert own.alphabet == expected.alphabet
        for _ in range(2):
            other = gw.chunks(expected, steps=17, batch=3, seed=5)
            other.epoch = own.epoch
            same(listed(own), listed(other))


def test_a_file_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_steps, "BLOCK", 10)
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)))
    own = gw.chunks(path, steps=17, batch=2, text="bytes")
    same(listed(own), listed(gw.chunks(gw.read(path, text="bytes").data, steps=17, batch=2)))
    assert len(own.alphabet) == 256


def test_the_data_of_read_have_targets():
    x = [VALUES[:5], VALUES[5:12]]
    recordings = Recordings(tuple(x), np.array([1, 0]), ("a", "b"))
    (chunk,) = gw.chunks(recordings, steps=20, batch=1)
    assert chunk.target[:, 0].tolist() == [1] * 5 + [0] * 7
    assert chunk.target[chunk.ends].tolist() == [1, 0]
    same(listed(gw.chunks((x, np.array([1, 0])), steps=20, batch=1)), [listed([chunk])[0]])
    tags = (np.arange(5), np.arange(7))
    (chunk,) = gw.chunks(Tagged(tuple(x), tags, tuple("abcdefg")), steps=20, batch=1)
    assert chunk.target[:, 0].tolist() == [*range(5), *range(7)]
    text = Text.from_string("abcab")
    (chunk,) = gw.chunks(text, steps=20, batch=1)
    assert chunk.x[:, 0].tolist() == [0, 1, 2, 0] and chunk.target[:, 0].tolist() == [1, 2, 0, 1]
    weather = gw.read("weather")
    chunk = next(iter(gw.chunks(weather, steps=20, batch=1)))
    values = torch.from_numpy(weather.data.values[0]).float()
    close(chunk.x[:, 0], values[:20])
    close(chunk.target[:, 0], values[1:21, list(weather.data.target_positions)])


def test_a_table_of_pandas_is_read_by_position():
    """Its slices are by label where the index has fractions."""
    table = pd.DataFrame(VALUES, index=np.arange(70) / 2)
    same(listed(gw.chunks(table, steps=8, batch=3)), reference())
    same(listed(gw.chunks(table[2], steps=8, batch=3)), reference(VALUES[:, 2]))
    pair = gw.chunks((table, table[0]), steps=8, batch=3)
    close(next(iter(pair)).target[..., 0], next(iter(pair)).x[..., 0])


# The refusals.
class Foreign:
    """An array whose type is of another library."""

    shape, dtype = (3, 2), "its own"


REFUSED: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no steps": (VALUES, {"steps": 0}, gw.ArgumentError, "steps is 0; expected a whole number"),
    "half a row": (VALUES, {"batch": 1.5}, gw.ArgumentError, "batch is 1.5; expected a whole"),
    "a seed of -1": (VALUES, {"seed": -1}, gw.ArgumentError, "seed is -1; expected"),
    "a narrow type": (VALUES, {"dtype": torch.float8_e5m2}, gw.ArgumentError, "16 bits or more"),
    "masked values": (np.ma.masked_less(VALUES, 0), {}, gw.DataError, "x has masked values"),
    "a sparse tensor": (torch.ones(3, 2).to_sparse(), {}, gw.ArgumentError, "give x.to_dense"),
    "no memory": (torch.ones(3, device="meta"), {}, gw.ArgumentError, "has no numbers"),
    "an integer type": (VALUES, {"dtype": torch.int64}, gw.ArgumentError, "floating-point types"),
    "no data": ([], {}, gw.DataError, "x is an empty list"),
    "empty sequences": ([VALUES[:0]], {}, gw.DataError, "the data have no step"),
    "numbers": ([1.0, 2.0], {}, gw.DataError, r"x\[0\] is of the type float; expected an array"),
    "objects": (np.array([{}]), {}, gw.DataError, "x is Python objects; expected whole or real"),
    "texts": (np.array(["a"]), {}, gw.DataError, "x is of type <U1; expected whole or real"),
    "complex": (VALUES + 1j, {}, gw.DataError, "x is of type complex64"),
    "four axes": (np.zeros((2, 2, 2, 2)), {}, gw.DataError, r"the shape \(2, 2, 2, 2\)"),
    "other channels": ([VALUES, VALUES[:, :2]], {}, gw.SizeError, r"x\[1\] has steps of shape"),
    "symbols and numbers": (
        [np.zeros(3), np.zeros(3, int)],
        {},
        gw.SizeError,
        r"x\[1\] has steps of shape \(\) and type int64, and x\[0\] of \(\) and float64",
    ),
    "three arrays": ((VALUES,) * 3, {}, gw.ArgumentError, "a tuple of 3; expected"),
    "other lengths": ((VALUES, VALUES[1:]), {}, gw.SizeError, "70 steps and its targets have 69"),
    "fewer targets": (([VALUES] * 2, [VALUES]), {}, gw.SizeError, "2 sequences and the targets ha"),
    "fewer labels": (
        ([VALUES] * 2, np.array([1])),
        {},
        gw.SizeError,
        "2 sequences and there are 1",
    ),
    "columns of an array": (VALUES, {"target": "a"}, gw.ArgumentError, "are about files"),
    "no targets": ((VALUES, None), {}, gw.DataError, "y is of the type NoneType"),
    "texts of pandas": (pd.DataFrame({"a": ["b"]}), {}, gw.DataError, "x is Python objects"),
    "a type of another library": (Foreign(), {}, gw.DataError, "which numpy does not know"),
    "a file that is not there": ("no.npy", {}, gw.DataError, "there is no file 'no.npy'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_refused(case: str):
    data, options, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        gw.chunks(data, **{"steps": 5, "batch": 2, **options})


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"", "a.txt", "is empty"),
        (b"a\0b", "a.txt", "the character NUL"),
        (b"\x81\x8d\x00", "a.txt", "is not text"),
        (b"a,b\n1,2\n", "a.csv", "cannot be read in chunks"),
        (b"\x1f\x8b", "a.txt.gz", "cannot be read in chunks"),
        (b"no array", "a.npy", "cannot be mapped as an array"),
    ],
)
def test_files_that_are_no_steps_are_refused(content: bytes, name: str, words: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(gw.DataError, match=words):
        gw.chunks(tmp_path / name, steps=2, batch=1)


def test_values_that_are_not_finite_are_refused_with_their_place():
    values = VALUES.astype(np.float64)
    values[33, 2] = np.nan
    with pytest.raises(gw.DataError, match=r"x, sequence 0: step 33, value 2, is nan"):
        list(gw.chunks(values, steps=8, batch=3))
    values[33, 2] = 1e300  # more than the type of the layers holds
    with pytest.raises(
        gw.DataError, match=r"step 33, value 2, is .* too large for float32; .*scale"
    ):
        list(gw.chunks(values, steps=8, batch=3))
    list(gw.chunks(values, steps=8, batch=3, dtype=F64))
    values[33, 2] = 1e6
    with pytest.raises(gw.DataError, match="step 33, value 2, is inf"):
        list(gw.chunks(values, steps=8, batch=3, dtype=torch.float16))


def test_symbols_beyond_int64_are_refused():
    symbols = np.array([1, 2**63], np.uint64)
    with pytest.raises(gw.DataError, match="symbol 9,223,372,036,854,775,808 does not fit"):
        list(gw.chunks(symbols, steps=8, batch=1))


def test_tensors_of_any_kind_have_their_values():
    values = torch.arange(6.0).view(3, 2)
    for tensor in (torch._neg_view(-values), values.to(torch.float8_e5m2).float(), values.half()):
        (chunk,) = gw.chunks(tensor, steps=8, batch=1)
        assert torch.equal(chunk.x[:, 0], tensor.float())


def test_a_parquet_file_without_clear_sequences_is_refused(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path, x = tmp_path / "a.parquet", pyarrow.array([1.0, 2.0])
    for ids in ([1.0, float("nan")], [[1], [1]]):
        parquet.write_table(pyarrow.table({"x": x, "id": ids}), path)
        with pytest.raises(gw.DataError, match="expected a number or a text that tells"):
            gw.chunks(path, steps=2, batch=1, id="id")
    parquet.write_table(pyarrow.table([x, x], names=["x", "x"]), path)
    with pytest.raises(gw.DataError, match="two columns of one name"):
        gw.chunks(path, steps=2, batch=1)


def test_a_file_that_shrinks_or_changes_while_it_is_read_is_refused(tmp_path: Path):
    array, text = tmp_path / "a.npy", tmp_path / "a.txt"
    np.save(array, np.zeros(100_000))
    text.write_text("abc" * 100)
    mapped = iter(gw.chunks(np.load(array, mmap_mode="r"), steps=8, batch=2))
    symbols = iter(gw.chunks(text, steps=8, batch=2))
    next(mapped), next(symbols)
    os.truncate(array, 1000)
    text.write_text("abc" * 90)
    with pytest.raises(gw.DataError, match="became shorter while it was read"):
        next(mapped)
    with pytest.raises(gw.DataError, match="changed while it was read"):
        next(symbols)


def test_a_position_of_other_data_or_arguments_is_refused():
    stored = gw.chunks(VALUES, steps=8, batch=2).state_dict()
    for data, options in ((VALUES[1:], {}), (VALUES, {"steps": 9}), (VALUES, {"seed": 1})):
        with pytest.raises(gw.ArgumentError, match="the position was stored with"):
            gw.chunks(data, **{"steps": 8, "batch": 2, **options}).load_state_dict(stored)
    with pytest.raises(gw.ArgumentError, match="the position is 10; expected 0 to 5 chunks"):
        gw.chunks(VALUES, steps=8, batch=2).load_state_dict({**stored, "position": 10})
    for name, value in (("position", 1.5), ("position", "1"), ("epoch", -1), ("epoch", None)):
        with pytest.raises(gw.ArgumentError, match=f"the {name} is {value!r}; expected"):
            gw.chunks(VALUES, steps=8, batch=2).load_state_dict({**stored, name: value})
