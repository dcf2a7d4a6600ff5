"""Reading any file returns data or raises an error that explains the fault, and nothing else.

It takes little time and memory, too. `GATEWRIGHT_EXAMPLES=5000` runs more than the default.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import time
from datetime import UTC
from pathlib import Path

import hypothesis
import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, example, settings
from hypothesis import strategies as st
from pyarrow import parquet

from example_count import example_count
from gatewright.data import Reading, Recordings, Series, Tagged, Text, read
from gatewright.errors import GatewrightError
from gatewright.training.source import read_arguments

EXAMPLES = example_count(120)
MOST_SECONDS, MOST_MEGABYTES = 20, 500

fuzzed = settings(
    max_examples=EXAMPLES,
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
    ".csv.gz": LABELLED,  # compressed after the changes
    ".ts": TS,
    ".txt": "Grüße aus Oslo.\r\nBis bald!\n".encode(),
    ".parquet": as_parquet(
        pyarrow.table({"time": pyarrow.array([1, 2, 3]), "x": [0.5, None, 2.0], "s": list("abc")})
    ),
}
# Files as people have them, each with a peculiarity.
REAL = {
    "german.csv": "Datum;Umsatz;Aktion\n01.02.2024;1.234,56;True\n02.02.2024;998;False\n"
    "03.02.2024;1.000,5;True\n",
    "excel.csv": "sep=;\r\nDate;Time;CO\r\n15/03/2024;18.00.00;2,6\r\n15/03/2024;19.00.00;2\r\n"
    "15/03/2024;20.00.00;2,2\r\n15/03/2024;21.00.00;1\r\n",
    "money.csv": 'when,price,share\n2024-W01,"$1,234.50",5 %\n2024-W02,$12,6 %\n2024-W03,$7,1 %\n',
    "quarters.csv": "year,quarter,output\n1990,1,1.5\n1990,2,2\n1990,3,3\n1990,4,4\n1991,1,5\n",
    "clock.csv": "time,x\n2024-10-27 01:00,1\n2024-10-27 02:00,2\n2024-10-27 02:00,3\n"
    "2024-10-27 03:00,4\n2024-10-27 04:00,5\n",
    "unix.csv": "ts,x\n1700000000,1\n1700000060,2\n1700000120,3\n",
    "short.csv": "Month,x\nJan-49,1\nFeb-49,2\nMar-49,3\n",
    "people.csv": "person,seconds,x\na,0,1\na,1,2\na,2,4\nb,0,3\nb,1,3\nb,2,5\n",
    "places.csv": "name,latitude,longitude\np1,33.2,-75\np2,28.8,-73\np3,29,-7\n",
    "wide.csv": "Country,Code,1990,1991,1992,1993\nA,AA,1,2,3,4\nB,BB,,3,4,\n",
    "years.csv": "Year,Q1,Q2,Q3,Q4\n2000,1,2,3,4\n2001,5,6,7,8\n",
    "recordings.csv": "label,t1,t2,t3,t4,t5,t6,t7,t8\na,1,2,3,4,5,6,7,8\nb,8,7,6,5,4,3,2,1\n"
    "a,1,2,3,4,5,6,7,9\n",
    "ucr.tsv": "".join(
        f"{k % 2}\t" + "\t".join(f"{k}.{t}" for t in range(9)) + "\n" for k in range(6)
    ),
    "ucr.txt": "".join(
        f"{k % 2}  " + "  ".join(f"{k}.{t}" for t in range(9)) + "\n" for k in range(6)
    ),
    "m4.tsf": "@relation demo\n@attribute series_name string\n@attribute start_timestamp date\n"
    "@frequency monthly\n@horizon 3\n@missing true\n@equallength false\n@data\n"
    "T1:1960-01-01 00-00-00:1,2,?,4\nT2:1961-03-01 00-00-00:5,6\n",
    "records.json": json.dumps(
        [{"year": 1956 + k, "miles": 3000.5 * k, "dry": k % 2 == 0} for k in range(4)]
    ),
    "columns.json": json.dumps({"t": {"0": 1, "1": 2}, "x": {"0": 2.5, "1": 3}}),
    "lines.jsonl": '{"t": 1, "x": 2.5}\n{"t": 2, "x": -1e3, "z": "a"}\n',
    "classes.ts": TS.decode(),
    "prose.txt": "Grüße aus Oslo.\r\nBis bald!\n",
}
FORMS = (
    *(("decimal", mark) for mark in ".,"),
    *(("thousands", mark) for mark in "., '"),
    *(("encoding", name) for name in ("utf-8", "cp1252", "utf-16", "utf-32", "ascii", "cp500")),
    *(("timezone", name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kolkata")),
)
ROLES = ("target", "time", "id", "label", "known", "static", "ignore")


def options_for(columns: tuple[str, ...]) -> st.SearchStrategy[dict[str, object]]:
    """Draw arguments of `read`: roles of columns and other options."""
    role = st.tuples(st.sampled_from(ROLES), st.sampled_from(columns))
    other = st.one_of(
        st.tuples(st.just("task"), st.sampled_from(["forecast", "classify", "tag", "next symbol"])),
        st.tuples(st.just("fill"), st.sampled_from(["linear", "previous", "drop"])),
        st.sampled_from(FORMS),
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


def reads_or_refuses(source: object, **options: object) -> None:
    begun, before = time.perf_counter(), megabytes()
    try:
        reading = read(source, **options)
    except GatewrightError as error:
        assert 20 < len(str(error)) < 3000
    else:
        check(reading)
    assert time.perf_counter() - begun < MOST_SECONDS
    assert megabytes() - before < MOST_MEGABYTES


def megabytes() -> float:
    """Return the peak memory of this process; 0 on Windows, which does not report it."""
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def check(reading: Reading) -> None:
    """Check the invariants of the type that was read."""
    data = reading.data
    assert reading.summary and repr(data)
    if isinstance(data, Series):
        assert all(np.isfinite(values).all() for values in data.values)
        assert all(
            (np.diff(times) > times.dtype.type(0)).all() for times in map(as_steps, data.times)
        )
        assert max(data.lengths) >= 2
        data.with_calendar()
    elif isinstance(data, Recordings | Tagged):
        assert all(np.isfinite(values).all() and len(values) for values in data.sequences)
        assert all(values.dtype == np.float32 for values in data.sequences)
    else:
        assert isinstance(data, Text) and len(data)


def as_steps(times: np.ndarray) -> np.ndarray:
    return times.astype(np.int64) if times.dtype.kind == "M" else times


PIECES = (
    *(b",", b";", b"\t", b"\n", b"\r\n", b"\r", b'"', b":", b"@data\n", b"?", b"\x00", b"\xff"),
    *(b"nan", b"-inf", b"1e999", b"9" * 30, b"2024-02-30", b"2024-01-02T00:00:00+01:00", b"3/4/24"),
    *(b"1_000", "\u0661".encode(), b"", b" ", b"a,a\n", b"9999-01-01", b"0.1", b"-", b"1,2", b"a"),
    *(b"2024-01-01", b"2024-03-31", b"time", b"label", b"x,y\n", b"5", b"\xef\xbb\xbf"),
    *(b"1.234", b"1.234,56", b"$5", b"7 %", b"True", b"sep=;\n", b"{", b"[", b"}", b"]", b"null"),
    *(b"2024-W05", b"Jan-49", b"31/12/99", b"1700000000", b"9" * 19, b"24:00", b"2024Q1", b"year"),
    *(b"quarter", b"hour", b"@frequency often\n", b"@attribute", b"1e400", b"-0", b"\xe9", b"1990"),
)


@pytest.mark.parametrize("suffix", WHOLE)
@fuzzed
@hypothesis.given(content=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES)).map(b"".join))
@example(content=b"")
@example(content=b"\xef\xbb\xbf")
@example(content=b"\n\n\r\n")
@example(content=b'a,b\n1,"2\n')
@example(content=b"a\x00b,c\n1,2\n")
@example(content=b"PAR1PAR1PAR1")
def test_any_bytes(suffix: str, content: bytes, tmp_path: Path):
    reads_or_refuses(write(tmp_path / f"fuzzed{suffix}", content))
    (tmp_path / f"fuzzed{suffix}").write_bytes(content)
    reads_or_refuses(tmp_path / f"fuzzed{suffix}", text="bytes")


@pytest.mark.parametrize("suffix", WHOLE)
@fuzzed
@hypothesis.given(
    changes=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(PIECES)), max_size=3),
    options=options_for(("time", "station", "wind", "rain", "x", "y", "id", "class", "s")),
    cut=st.none() | st.integers(0, 500),
)
def test_any_change_of_a_valid_file(
    suffix: str,
    changes: list[tuple[int, bytes]],
    options: dict[str, object],
    cut: int | None,
    tmp_path: Path,
):
    """Replace cells (in Parquet: bytes), and cut the file in some examples."""
    cells = re.split(rb"([,;:\n])", WHOLE[suffix])
    if suffix == ".parquet":
        cells = [bytes([byte]) for byte in WHOLE[suffix]]
    for position, cell in changes:
        cells[position % len(cells)] = cell
    content = b"".join(cells)[:cut]
    reads_or_refuses(write(tmp_path / f"fuzzed{suffix}", content), **options)


def names_in(content: str) -> tuple[str, ...]:
    """Return words of a file that may be names of its columns."""
    return tuple(dict.fromkeys(re.findall(r"\w+", content)[:12])) or ("x",)


@fuzzed
@hypothesis.given(
    name=st.sampled_from(sorted(REAL)),
    changes=st.lists(
        st.tuples(st.integers(0, 300), st.sampled_from(PIECES) | st.binary(max_size=6)), max_size=4
    ),
    copies=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=2),
    cut=st.none() | st.integers(0, 400),
    packed=st.booleans(),
    data=st.data(),
)
def test_any_change_of_a_file_as_people_have_it(
    name: str,
    changes: list[tuple[int, bytes]],
    copies: list[tuple[int, int]],
    cut: int | None,
    packed: bool,
    data: st.DataObject,
    tmp_path: Path,
):
    """Replace cells, copy lines to other places, and cut or compress the file in some examples."""
    options = data.draw(options_for(names_in(REAL[name])))
    lines = REAL[name].encode().splitlines(keepends=True)
    for origin, target in copies:
        lines.insert(target % len(lines), lines[origin % len(lines)])
    cells = re.split(rb"([,;:\t\n])", b"".join(lines))
    for position, cell in changes:
        cells[position % len(cells)] = cell
    content = b"".join(cells)[:cut]
    reads_or_refuses(write(tmp_path / f"{name}{'.gz' if packed else ''}", content), **options)


@pytest.mark.parametrize("name", sorted(REAL))
def test_a_file_as_people_have_it(name: str, tmp_path: Path):
    """The unchanged files are read, some with an option that only the user knows."""
    fill = {"fill": "linear"}
    options = {"m4.tsf": fill, "classes.ts": fill, "places.csv": {"ignore": "name"}}
    path = write(tmp_path / name, REAL[name].encode())
    reading = read(path, **options.get(name, {}))
    check(reading)
    # A model stores how its data were read, and reads new data in the same way.
    again = read(path, **{**options.get(name, {}), **read_arguments(reading), "labelled": False})
    assert repr(again.data) == repr(reading.data) and again.roles == reading.roles
    if isinstance(reading.data, Series):
        for values, original in zip(again.data.values, reading.data.values, strict=True):
            np.testing.assert_array_equal(values, original)


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
@hypothesis.given(
    header=st.lists(names, min_size=1, max_size=5, unique=True),
    kinds=st.lists(st.sampled_from(sorted(columns)), min_size=5, max_size=5),
    rows=st.integers(0, 8),
    data=st.data(),
    options=options_for(COLUMNS),
)
def test_any_table(
    header: list[str],
    kinds: list[str],
    rows: int,
    options: dict[str, object],
    data: st.DataObject,
    tmp_path: Path,
):
    of = [
        data.draw(st.lists(columns[kind], min_size=rows, max_size=rows))
        for kind in kinds[: len(header)]
    ]
    if data.draw(st.booleans()):  # sorted, so that times may increase
        of = [sorted(column) for column in of]
    path = tmp_path / "fuzzed.csv"
    with open(path, "w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([header, *zip(*of, strict=True)])
    reads_or_refuses(path, **options)
    try:
        table = pyarrow.table(dict(zip(header, of, strict=True)))
    except UnicodeEncodeError:  # a single surrogate
        return
    reads_or_refuses(table, **options)


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
@hypothesis.given(
    columns=st.dictionaries(
        st.sampled_from(["time", "id", "label", "x", "wind", "y"]),
        st.sampled_from(sorted(typed)).flatmap(typed.__getitem__),
        min_size=1,
    ),
    options=options_for(COLUMNS),
)
def test_any_types(columns: dict[str, list[object]], options: dict[str, object], tmp_path: Path):
    try:
        table = pyarrow.table(columns)
    except (pyarrow.ArrowException, OverflowError):
        return
    for source in (table, table.to_pandas()):
        reads_or_refuses(source, **options)


@fuzzed
@hypothesis.given(
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
