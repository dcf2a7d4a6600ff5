"""Whatever stands in a file, a reader answers or says what is wrong with it: nothing else."""

from __future__ import annotations

import csv
import gzip
import io
import re
from datetime import UTC
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from gatewright.data import Reading, Recordings, Series, Tagged, Text, read
from gatewright.errors import GatewrightError

fuzzed = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

FORECAST = b"""time,station,wind,rain
2024-01-01,a,1.5,0
2024-01-02,a,2,1e3
2024-01-03,a,-1,0
2024-01-01,b,4,0.25
2024-01-02,b,4,0
"""
LABELLED = b"id;x;y;class\n1;0,5;1;calm\n1;0,7;2;calm\n2;3;1;storm\n2;1;1;storm\n"
TS = b"""# a comment
@problemName demo
@timeStamps false
@univariate false
@dimensions 2
@equalLength false
@classLabel true a b
@data
1,2,3:4,5,6:a
1.5,2:?,5e-3:b
"""


def as_parquet(table: pyarrow.Table) -> bytes:
    content = io.BytesIO()
    parquet.write_table(table, content)
    return content.getvalue()


WHOLE = {
    ".csv": FORECAST,
    ".csv.gz": LABELLED,  # packed after what is done to it
    ".ts": TS,
    ".txt": "Grüße aus Oslo.\r\nBis bald!\n".encode(),
    ".parquet": as_parquet(
        pyarrow.table({"time": pyarrow.array([1, 2, 3]), "x": [0.5, None, 2.0], "s": list("abc")})
    ),
}
ROLES = ("target", "time", "id", "label", "known", "static", "ignore")


def wishes_for(columns: tuple[str, ...]) -> st.SearchStrategy[dict[str, object]]:
    """Arguments of `read`: at most one of them a role, and one more thing."""
    role = st.tuples(st.sampled_from(ROLES), st.sampled_from(columns))
    other = st.one_of(
        st.tuples(st.just("task"), st.sampled_from(["forecast", "classify", "tag", "next symbol"])),
        st.tuples(st.just("fill"), st.sampled_from(["linear", "previous", "drop"])),
        st.sampled_from([("text", "bytes"), ("labelled", False)]),
    )
    return st.one_of(
        st.just({}),
        st.lists(other, max_size=2).map(dict),
        st.tuples(role, other).map(dict),
        st.lists(role, max_size=3).map(dict),
    )


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def answers_or_says_why(source: object, **wishes: object) -> None:
    try:
        reading = read(source, **wishes)
    except GatewrightError as error:
        assert len(str(error)) > 20
        return
    check(reading)


def check(reading: Reading) -> None:
    """What is read keeps the promises of its type."""
    data = reading.data
    assert reading.said and repr(data)
    if isinstance(data, Series):
        assert all(np.isfinite(values).all() for values in data.values)
        assert all(
            (np.diff(times) > times.dtype.type(0)).all() for times in map(as_steps, data.times)
        )
        assert max(data.lengths) >= 2
        data.with_calendar()
    elif isinstance(data, Recordings | Tagged):
        assert all(np.isfinite(one).all() and len(one) for one in data.sequences)
        assert all(one.dtype == np.float32 for one in data.sequences)
    else:
        assert isinstance(data, Text) and len(data)


def as_steps(times: np.ndarray) -> np.ndarray:
    return times.astype(np.int64) if times.dtype.kind == "M" else times


PIECES = (
    *(b",", b";", b"\t", b"\n", b"\r\n", b"\r", b'"', b":", b"@data\n", b"?", b"\x00", b"\xff"),
    *(b"nan", b"-inf", b"1e999", b"9" * 30, b"2024-02-30", b"2024-01-02T00:00:00+01:00", b"3/4/24"),
    *(b"1_000", "\u0661".encode(), b"", b" ", b"a,a\n", b"9999-01-01", b"0.1", b"-", b"1,2", b"a"),
    *(b"2024-01-01", b"2024-03-31", b"time", b"label", b"x,y\n", b"5", b"\xef\xbb\xbf"),
)


@pytest.mark.parametrize("suffix", WHOLE)
@fuzzed
@given(content=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES)).map(b"".join))
@example(content=b"")
@example(content=b"\xef\xbb\xbf")
@example(content=b"\n\n\r\n")
@example(content=b'a,b\n1,"2\n')
@example(content=b"a\x00b,c\n1,2\n")
@example(content=b"PAR1PAR1PAR1")
def test_any_bytes(suffix: str, content: bytes, tmp_path: Path):
    answers_or_says_why(write(tmp_path / f"fuzzed{suffix}", content))
    (tmp_path / f"fuzzed{suffix}").write_bytes(content)
    answers_or_says_why(tmp_path / f"fuzzed{suffix}", text="bytes")


@pytest.mark.parametrize("suffix", WHOLE)
@fuzzed
@given(
    changes=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(PIECES)), max_size=3),
    wishes=wishes_for(("time", "station", "wind", "rain", "x", "y", "id", "class", "s")),
    cut=st.none() | st.integers(0, 500),
)
def test_any_change_of_a_file_that_is_right(
    suffix: str,
    changes: list[tuple[int, bytes]],
    wishes: dict[str, object],
    cut: int | None,
    tmp_path: Path,
):
    """Cells are replaced, and the file may be cut; in Parquet some bytes are."""
    cells = re.split(rb"([,;:\n])", WHOLE[suffix])
    if suffix == ".parquet":
        cells = [bytes([byte]) for byte in WHOLE[suffix]]
    for at, put in changes:
        cells[at % len(cells)] = put
    content = b"".join(cells)[:cut]
    answers_or_says_why(write(tmp_path / f"fuzzed{suffix}", content), **wishes)


columns = {
    "anything": st.sampled_from([piece.decode("latin-1") for piece in PIECES])
    | st.text(max_size=5),
    "number": st.floats(-100, 100).map(repr) | st.integers(-5, 5).map(str),
    "float": st.floats().map(repr),
    "class": st.sampled_from(["a", "b", "c", "?"]),
    "day": st.dates().map(str),
    "january": st.integers(1, 31).map(lambda day: f"2024-01-{day:02d}"),
    "month": st.integers(1, 12).map(lambda month: f"2024-{month:02d}-28"),
    "time": st.datetimes(timezones=st.none() | st.just(UTC)).map(str),
}
COLUMNS = ("time", "id", "label", "x", "y", "wind", "")
names = st.sampled_from(COLUMNS) | st.text(max_size=4)


@fuzzed
@given(
    header=st.lists(names, min_size=1, max_size=5, unique=True),
    kinds=st.lists(st.sampled_from(sorted(columns)), min_size=5, max_size=5),
    rows=st.integers(0, 8),
    data=st.data(),
    wishes=wishes_for(COLUMNS),
)
def test_any_table(
    header: list[str],
    kinds: list[str],
    rows: int,
    wishes: dict[str, object],
    data: st.DataObject,
    tmp_path: Path,
):
    of = [
        data.draw(st.lists(columns[kind], min_size=rows, max_size=rows))
        for kind in kinds[: len(header)]
    ]
    if data.draw(st.booleans()):  # in order, so that times may rise
        of = [sorted(column) for column in of]
    path = tmp_path / "fuzzed.csv"
    with open(path, "w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([header, *zip(*of, strict=True)])
    answers_or_says_why(path, **wishes)
    try:
        table = pyarrow.table(dict(zip(header, of, strict=True)))
    except UnicodeEncodeError:  # a surrogate alone
        return
    answers_or_says_why(table, **wishes)


numbers = st.floats(-1e30, 1e30, allow_subnormal=False)
typed = {
    "int": st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=3, max_size=3),
    "float": st.lists(st.floats() | st.none(), min_size=3, max_size=3),
    "bool": st.lists(st.booleans() | st.none(), min_size=3, max_size=3),
    "time": st.lists(st.datetimes() | st.none(), min_size=3, max_size=3),
    "date": st.lists(st.dates() | st.none(), min_size=3, max_size=3),
    "delta": st.lists(st.timedeltas() | st.none(), min_size=3, max_size=3),
    "list": st.lists(st.lists(st.integers(0, 9)), min_size=3, max_size=3),
    "binary": st.lists(st.binary(max_size=4), min_size=3, max_size=3),
}


@fuzzed
@given(
    columns=st.dictionaries(
        st.sampled_from(["time", "id", "label", "x", "wind", "y"]),
        st.sampled_from(sorted(typed)).flatmap(typed.__getitem__),
        min_size=1,
    ),
    wishes=wishes_for(COLUMNS),
)
def test_any_types(columns: dict[str, list[object]], wishes: dict[str, object], tmp_path: Path):
    try:
        table = pyarrow.table(columns)
    except (pyarrow.ArrowException, OverflowError):
        return
    for source in (table, table.to_pandas()):
        answers_or_says_why(source, **wishes)


@fuzzed
@given(
    values=st.lists(st.tuples(numbers, numbers), min_size=2, max_size=20),
    mark=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    form=st.sampled_from([".csv", ".csv.gz", ".parquet"]),
)
def test_a_table_comes_back_as_it_was(values, mark: str, end: str, form: str, tmp_path: Path):
    expected = np.array(values)
    days = np.datetime64("2023-12-30", "ns") + np.arange(len(values)) * np.timedelta64(1, "D")
    path = tmp_path / f"table{form}"
    if form == ".parquet":
        parquet.write_table(
            pyarrow.table({"day": days, "first, one": expected[:, 0], "b": expected[:, 1]}), path
        )
    else:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=mark, lineterminator=end)
        writer.writerow(["day", "first, one", "b"])
        writer.writerows(
            [str(d)[:10], repr(x), repr(y)] for d, (x, y) in zip(days, values, strict=True)
        )
        content = text.getvalue().encode()
        path.write_bytes(gzip.compress(content) if form == ".csv.gz" else content)
    series = read(path).data
    assert isinstance(series, Series)
    assert series.channels == ("first, one", "b") and series.period == np.timedelta64(1, "D")
    np.testing.assert_array_equal(series.values[0], expected)
    np.testing.assert_array_equal(series.times[0], days)
