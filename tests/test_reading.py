"""Reading detects what a table is for and reports it; the values agree with other readers."""

from __future__ import annotations

import gzip
import importlib
import importlib.resources
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import strategies as st
from pyarrow import parquet

import gatewright.data
from example_count import example_count
from gatewright.data import Recordings, Series, Tagged, Text, load_vowels, read
from gatewright.data.columns.time_column import TimeColumn
from gatewright.data.columns.time_format import parse_time
from gatewright.errors import DataError

DAY = np.timedelta64(1, "D")


@pytest.fixture
def table(tmp_path: Path):
    """Return a function that writes a text to a file and returns the path."""

    def write(text: str, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


def test_weather_agrees_with_pandas():
    file = importlib.resources.files("gatewright.data") / "files" / "weather.csv.gz"
    with importlib.resources.as_file(file) as path:
        expected = pd.read_csv(path)
    reading = read("weather")
    series = reading.data
    assert isinstance(series, Series) and reading.task == "forecast"
    assert series.channels == series.targets == ("precipitation", "temp_max", "temp_min", "wind")
    np.testing.assert_array_equal(series.values[0], expected[list(series.channels)].to_numpy())
    dates = pd.to_datetime(expected["date"], format="%Y/%m/%d").to_numpy("datetime64[ns]")
    np.testing.assert_array_equal(series.times[0], dates)
    assert series.period == DAY and series.steps_a_season == 365
    assert "public domain" in series.licence
    assert any("weather is text" in note for note in reading.notes)
    assert read("weather", label="weather").task == "tag"


def test_prose_is_the_help_of_python():
    reading = read("prose")
    text = reading.data
    assert isinstance(text, Text) and reading.task == "next symbol"
    assert (len(text), len(text.alphabet), text.codes.dtype) == (464_970, 103, np.uint8)
    assert text.decode(text.codes[:22]) == 'The "assert" statement'
    bytes_ = read("prose", text="bytes").data
    assert bytes_.codes.tobytes().decode() == text.decode(text.codes)
    folder = importlib.resources.files("gatewright.data") / "files"
    terms = (folder / "prose.LICENCE.md").read_text(encoding="utf-8")
    for word in ("Python Software Foundation", "derivative", "unchanged", "3.11.7"):
        assert word in terms
    assert "public domain" in (folder / "weather.LICENCE.md").read_text().replace("\n", " ")


def test_vowels_come_with_their_test_part():
    reading = read("vowels")
    assert reading.data.counts.sum() == 270 and reading.test.counts.sum() == 370


@pytest.mark.parametrize(
    ("text", "task", "repr_"),
    [
        ("time,x\n0,1\n1,2\n", "forecast", "steps=2, channels=1, period=1 step"),
        ("x,y\n1,2\n3,4\n5,7\n", "forecast", "steps=3, channels=2, period=1 step"),
        ("ds,unique_id,y\n2024-01,a,1\n2024-02,a,2\n2024-01,b,5\n", "forecast", "n=2"),
        ("id,x,class\n1,5,a\n1,6,a\n2,5,b\n", "classify", "n=2, channels=1, steps=1..2, classes=2"),
        ("id,x,class\n1,5,a\n1,6,b\n2,5,b\n", "tag", "n=2, channels=1, steps=1..2, classes=2"),
        ("x,label\n5,0\n6,1\n6,1\n", "tag", "n=1, channels=1, steps=3, classes=2"),
        (
            "Date;Wert\n31.12.2023;1,5\n01.01.2024;2\n",
            "forecast",
            "steps=2, channels=1, period=1 d",
        ),
    ],
)
def test_the_task_is_detected_and_reported(text: str, task: str, repr_: str, table):
    reading = read(table(text))
    assert reading.task == task and repr_ in repr(reading.data)
    assert (
        reading.summary.startswith("table.csv: ")
        and f"for the task {task}, because" in reading.summary
    )


def test_the_same_table_from_any_library(table):
    text = "day,id,x,n,label\n" + "".join(
        f"2024-01-{day:02d},{id},{day / 7!r},{day},{id.upper()}\n"
        for id in "ab"
        for day in range(1, 6)
    )
    path = table(text)
    expected = read(path).data
    assert isinstance(expected, Recordings) and expected.classes == ("A", "B")
    frame = pd.read_csv(path, parse_dates=["day"])
    arrow = pyarrow.table(frame)
    parquet.write_table(arrow, path.with_suffix(".parquet"))
    dated = frame.set_index("day")
    typed = frame.astype({"id": "category", "n": "Int64", "x": "Float64"})
    for source in (frame, arrow, path.with_suffix(".parquet"), dated, typed, pd.read_csv(path)):
        result = read(source).data
        assert isinstance(result, Recordings)
        assert (result.classes, result.ids) == (expected.classes, expected.ids)
        assert result.channel_names == ("x", "n")
        np.testing.assert_array_equal(result.labels, expected.labels)
        for sequence, other in zip(result.sequences, expected.sequences, strict=True):
            np.testing.assert_array_equal(sequence, other)


def test_an_index_of_periods_and_a_single_column(table):
    months = pd.Series(range(5), index=pd.period_range("2020-01", periods=5, freq="M"), name="x")
    for source in (months, months.to_frame(), months.to_timestamp()):
        assert read(source).data.period == np.timedelta64(1, "M")


def test_mixed_line_ends_and_quoted_ones(table):
    series = read(table('t,"a\nname",x\r\n1,"a, b",1\n2,c,"2"\r3,"d\r\n",3\n\n\n')).data
    assert series.values[0].ravel().tolist() == [1, 2, 3] and series.channels == ("x",)


def test_polars_eager_and_lazy(table):
    polars = pytest.importorskip("polars")
    path = table("time,x\n2024-01-01T00:00:00,1\n2024-01-01T00:30:00,2\n")
    expected = read(path).data
    for source in (polars.read_csv(path, try_parse_dates=True), polars.scan_csv(path)):
        result = read(source).data
        np.testing.assert_array_equal(result.values[0], expected.values[0])
        np.testing.assert_array_equal(result.times[0], expected.times[0])
        assert result.steps_a_season == 48


def test_several_series_may_be_mixed_and_keep_their_rows(table):
    path = table("station,day,x\nb,1,10\na,1,20\nb,2,11\na,2,21\nb,3,12\n")
    series = read(path, id="station", time="day").data
    assert series.ids == ("b", "a")
    assert [values.ravel().tolist() for values in series.values] == [[10, 11, 12], [20, 21]]
    assert series.times[0].tolist() == [1, 2, 3] and series.times[0].dtype == np.int64


def test_known_channels_have_a_future(table):
    path = table("day,sold,price\n1,5,2.0\n2,6,2.5\n3,,3.0\n4,NA,3.5\n")
    series = read(path, time="day", target="sold", known="price").data
    assert series.targets == ("sold",) and series.lengths.tolist() == [2]
    assert series.known_after(0, 2).tolist() == [[3.0], [3.5]]
    with pytest.raises(
        gatewright.GatewrightError, match=r"price .* given for 2 steps .*at least 3"
    ):
        series.known_after(0, 3)


def test_constant_columns_are_static(table):
    path = table("id,day,x,height,kind\na,1,1,10,sea\na,2,2,10,sea\nb,1,3,20,hill\nb,2,4,20,hill\n")
    reading = read(path, time="day", static="kind")
    assert reading.data.channels == ("x",)
    assert reading.data.static_names == ("kind=sea", "kind=hill", "height")
    assert reading.data.static.tolist() == [[1, 0, 10], [0, 1, 20]]
    assert any(note.startswith("height: the same") for note in reading.notes)
    labelled = read(table("id,x,size,label\n1,5,7,a\n1,6,7,a\n2,5,9,b\n", "b.csv"), static="size")
    assert labelled.data.channel_names == ("x", "size")
    assert labelled.data.sequences[0].tolist() == [[5, 7], [6, 7]]


def test_a_row_without_a_label_in_a_labelled_sequence_is_noted(table):
    reading = read(table("id,x,label\n1,5,a\n1,6,\n2,7,\n2,8,b\n"))
    assert reading.data.labels.tolist() == [0, 1]
    assert any("2 rows have no label (row 3 first)" in note for note in reading.notes)


def test_columns_that_number_rows_or_are_empty_are_left_out(table):
    reading = read(table(",time,x,nothing\n0,1,5,\n1,2,6,\n2,3,8,\n"))
    assert reading.data.channels == ("x",) and reading.roles.time == "time"
    assert set(reading.roles.ignored) == {"column 1", "nothing"}
    assert "column 1 has no name in the header: it is named by its number" in reading.notes
    unique = read(table("id,x\n7,5\n9,6\n8,8\n"))
    assert len(unique.data) == 1 and "id" in unique.roles.ignored


@pytest.mark.parametrize(
    ("fill", "expected", "times"),
    [
        ("linear", [1, 2, 3, 5, 7, 7], [1, 2, 3, 4, 5, 6]),
        ("previous", [1, 1, 3, 3, 7, 7], [1, 2, 3, 4, 5, 6]),
        ("drop", [1, 3, 7], [1, 3, 5]),
    ],
)
def test_filling_agrees_with_pandas(fill: str, expected: list, times: list, table):
    path = table("t,x\n1,1\n2,\n3,3\n5,7\n6,inf\n")
    reading = read(path, fill=fill)
    assert reading.data.values[0].ravel().tolist() == expected
    assert reading.data.times[0].tolist() == times
    whole = pd.Series([1, np.nan, 3, np.nan, 7, np.nan], index=range(1, 7))
    oracle = {"linear": whole.interpolate(), "previous": whole.ffill(), "drop": whole.dropna()}
    assert oracle[fill].tolist() == expected
    assert "2 " in "".join(reading.notes)


def test_a_missing_leap_day_is_inserted(table):
    path = table("day,x\n2024-02-27,1\n2024-02-28,2\n2024-03-01,4\n")
    series = read(path, fill="linear").data
    assert series.times[0].astype("M8[D]").astype(str).tolist()[2] == "2024-02-29"
    assert series.values[0].ravel().tolist() == [1, 2, 3, 4]


def test_the_calendar_agrees_with_pandas_and_continues():
    hours = pd.date_range("2023-11-05 06:00", periods=24 * 500, freq="h")
    whole = read(pd.DataFrame({"time": hours, "x": np.arange(len(hours), dtype=float)})).data
    past = whole.cut(stop=hours[-100].to_numpy()).with_calendar()
    assert past.calendar == ("hour of day", "day of week", "day of year")
    year = np.where(hours.is_leap_year, 366, 365)
    phases = (
        hours.hour / 24,
        (hours.day_of_week + hours.hour / 24) / 7,
        (hours.day_of_year - 1 + hours.hour / 24) / year,
    )
    expected = np.stack([f(2 * np.pi * p) for p in phases for f in (np.sin, np.cos)], axis=1)
    np.testing.assert_allclose(past.values[0][:, 1:], expected[:-100], atol=1e-9)
    np.testing.assert_allclose(past.known_after(0, 100), expected[-100:], atol=1e-9)
    assert whole.with_calendar(("hour of day",)).channels[1:] == past.channels[1:3]


@pytest.mark.parametrize("day", [15, 28, 31])
def test_months_are_regular(day: int):
    months = pd.period_range("2023-01", periods=26, freq="M")
    days = [
        month.start_time + pd.Timedelta(days=min(day, month.days_in_month) - 1) for month in months
    ]
    frame = pd.DataFrame({"time": days, "x": np.arange(26.0)})
    series = read(frame[:14]).data
    assert series.period == np.timedelta64(1, "M") and series.steps_a_season == 12
    np.testing.assert_array_equal(series.times_after(0, 12), frame["time"].to_numpy()[14:])
    holed = read(frame.drop(index=[1, 5, 6]), fill="linear").data
    np.testing.assert_array_equal(holed.times[0], frame["time"].to_numpy())
    np.testing.assert_allclose(holed.values[0].ravel()[5:8], [5, 6, 7], atol=0.05)


def test_weekdays_are_regular():
    days = pd.bdate_range("2024-02-26 16:00", periods=40)
    frame = pd.DataFrame({"time": days, "x": np.arange(40.0)})
    series = read(frame[:18]).data
    assert "period=1 weekday)" in repr(series) and series.steps_a_season == 5
    np.testing.assert_array_equal(series.times_after(0, 22), days.to_numpy()[18:])
    assert series.with_calendar().calendar == ("day of week",)
    holiday = frame.drop(index=[7])
    filled = read(holiday)
    assert filled.data.values[0][7, 0] == 7.0 and filled.notes[-1].startswith(
        "1 step of 1 weekday is missing between 2024-03-05"
    )
    with pytest.raises(gatewright.GatewrightError, match="steps of 1 weekday are missing between"):
        read(frame.drop(index=range(7, 19)))
    np.testing.assert_array_equal(read(holiday, fill="previous").data.times[0], days.to_numpy())
    mondays = pd.DataFrame({"time": days[::5], "x": np.arange(8.0)})
    assert read(mondays).data.period == np.timedelta64(7, "D")


@pytest.mark.parametrize("form", ["{0}Q{1}", "{0}-Q{1}", "{0} Q{1}"])
def test_quarters_are_regular(form: str, table):
    cells = [form.format(2022 + quarter // 4, quarter % 4 + 1) for quarter in range(9)]
    series = read(table("when,x\n" + "".join(f"{cell},1.5\n" for cell in cells))).data
    assert series.period == np.timedelta64(3, "M") and series.steps_a_season == 4
    assert str(series.times[0][-1])[:10] == "2024-01-01"


def test_times_without_a_regular_step_are_noted_as_irregular(table):
    reading = read(table("t,x\n0,1\n1,2\n2,3\n2.5,4\n"))
    assert reading.data.period is None
    assert any("irregular: 2.5 follows 2.0 (row 5)" in note for note in reading.notes)
    with pytest.raises(gatewright.GatewrightError, match="irregular"):
        reading.data.times_after(0, 1)


def test_tenths_are_regular(table):
    rows = "".join(f"{step / 10},{step}\n" for step in range(50))
    assert read(table("time,x\n" + rows)).data.period == pytest.approx(0.1)


def test_zones_are_converted_to_utc_and_noted(table):
    """A clock is put back: the hour comes twice on the clock and once in UTC."""
    path = table("time,x\n2024-10-27T02:00:00+02:00,1\n2024-10-27T02:00:00+01:00,2\n")
    reading = read(path)
    assert reading.data.times[0].astype(str).tolist()[0].startswith("2024-10-27T00:00")
    assert np.diff(reading.data.times[0]).tolist() == [3600 * 10**9]
    assert any("+02:00, +01:00" in note for note in reading.notes)
    frame = pd.DataFrame({"time": pd.to_datetime(pd.read_csv(path)["time"], utc=True), "x": [1, 2]})
    frame["time"] = frame["time"].dt.tz_convert("Europe/Berlin")
    np.testing.assert_array_equal(read(frame).data.times[0], reading.data.times[0])


way = st.sampled_from(
    [
        "%B %d, %Y",
        "%d-%b-%Y",
        "%d %b %Y %I:%M %p",
        "%Y-%m-%d %H:%M:%S",
        "%Y/%m/%dT%H:%M",
        "%d.%m.%Y %H:%M:%S.%f",
        "%Y-%m-%d",
        "%Y%m%dT%H:%M",
    ]
)


@hypothesis.settings(max_examples=example_count(200), deadline=None)
@hypothesis.given(
    form=way,
    times=st.lists(st.datetimes(pd.Timestamp(1700, 1, 1), pd.Timestamp(2199, 1, 1)), min_size=1),
)
def test_times_agree_with_pandas(form: str, times: list):
    cells = [time.strftime(form) for time in times]
    column = TimeColumn()
    assert column.add(cells, 0) is None and column.problem() is None
    expected = pd.to_datetime(cells, format=form).to_numpy("datetime64[ns]")
    np.testing.assert_array_equal(column.result(), expected)


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["1/2/2024", "1/13/2024"], "2024-01-02"),  # the second time shows the month
        (["1/2/2024", "13/2/2024"], "2024-02-01"),
        (["1/2/2024 12:30 AM", "1/13/2024 1:00 pm"], "2024-01-02T00:30"),
        (["2024-03"], "2024-03-01"),
        (["20240229"], "2024-02-29"),
        (["Feb 2024", "March 2024"], "2024-02-01"),
    ],
)
def test_the_format_that_fits_all_cells(cells: list[str], first: str):
    column = TimeColumn()
    assert column.add(cells, 0) is None and column.problem() is None
    assert column.result()[0] == np.datetime64(first, "ns")


@hypothesis.given(day=st.dates(pd.Timestamp(1700, 1, 1).date(), pd.Timestamp(2199, 1, 1).date()))
def test_the_fast_path_agrees_with_the_patterns(day):
    column = TimeColumn()
    column.add([str(day)], 0)
    assert parse_time(str(day), "year-month-day") == (int(column.result().view(np.int64)[0]), None)


def test_numbers_of_eight_digits_may_be_dates(table):
    assert read(table("date,x\n20240131,1\n20240201,2\n")).data.period == DAY
    assert read(table("date,x\n10,1\n20,2\n")).data.period == 10.0


def test_a_ts_file_of_the_vowels_equals_the_bundled_ones(tmp_path: Path):
    """The file is written like the published one, with the same number of decimals."""
    vowels = load_vowels().test
    lines = [
        ":".join(",".join(f"{value:.6f}" for value in channel) for channel in sequence.T)
        + f":{vowels.classes[label]}"
        for sequence, label in zip(vowels.sequences, vowels.labels, strict=True)
    ]
    header = (
        "#a comment\n@problemName JapaneseVowels\n@timeStamps false\n@missing false\n"
        "@univariate false\n@dimensions 12\n@equalLength false\n"
        "@classLabel true 1 2 3 4 5 6 7 8 9\n@data\n"
    )
    path = tmp_path / "JapaneseVowels_TEST.ts"
    path.write_text(header + "\n".join(lines) + "\n")
    reading = read(path)
    result = reading.data
    assert reading.task == "classify" and result.name == "JapaneseVowels"
    assert result.classes == vowels.classes
    np.testing.assert_array_equal(result.labels, vowels.labels)
    for sequence, original in zip(result.sequences, vowels.sequences, strict=True):
        np.testing.assert_array_equal(sequence, original)


def pair(folder: Path, test: str) -> Path:
    """Write two files as an archive publishes them; return the path of the training part."""
    (folder / "x_TRAIN.ts").write_text("%a remark\n@classLabel true a b\n@data\n1,2:a\n3:b\n")
    (folder / "x_TEST.ts").write_text(test)
    return folder / "x_TRAIN.ts"


def test_a_published_split_is_kept(tmp_path: Path):
    # The classes of the test part are in another order, as in some archives.
    path = pair(tmp_path, "@classLabel true b a\n@data\n5,6:b\n7:a\n8,9:b\n")
    result = read(path)
    assert len(result.data) == 2 and result.test.classes == result.data.classes == ("a", "b")
    assert result.test.labels.tolist() == [1, 0, 1]
    assert result.test.sequences[0].ravel().tolist() == [5, 6]
    assert "x_TEST.ts in the same folder is the test part" in result.notes[0]
    assert read(tmp_path / "x_TEST.ts").test is None
    assert read(path, labelled=False).test is None  # data to predict from


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            "@classLabel true a b c\n@data\n1:a\n2:c\n",
            "x_TEST.ts, line 4: the class c is not in x_TRAIN.ts",
        ),
        ("@classLabel true a b\n@data\n1:1:a\n2:2:b\n", "x_TEST.ts has .*channels=2.* same ch"),
        (
            "@classLabel false\n@data\n1,2\n",
            "expected labels for the task classify|x_TEST.ts has Series",
        ),
        ("", "x_TEST.ts is empty"),
    ],
)
def test_a_test_part_that_does_not_fit_is_refused(test: str, message: str, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        read(pair(tmp_path, test))


def test_ts_without_labels_is_a_series(table):
    path = table("@problemName p\n@classLabel false\n@data\n1,2,3\n4,5\n", "p.ts")
    series = read(path).data
    assert isinstance(series, Series) and series.lengths.tolist() == [3, 2]


def test_new_data_need_no_labels(table):
    unlabelled = table("id,x\n1,5\n1,6\n2,5\n")
    result = read(unlabelled, task="classify", labelled=False).data
    assert result.classes == () and result.labels.tolist() == [-1, -1]
    half = table("id,x,label\n1,5,a\n1,6,a\n2,5,\n", "half.csv")
    assert read(half, labelled=False).data.labels.tolist() == [-1, -1]
    tagged = read(unlabelled, task="tag", labelled=False).data
    assert isinstance(tagged, Tagged) and tagged.labels[0].tolist() == [-1, -1]
    single_class = table("id,x,label\n1,5,a\n2,6,a\n2,7,a\n", "one.csv")
    assert read(single_class, task="classify", labelled=False).data.classes == ("a",)


def test_classes_are_sorted_as_numbers(table):
    path = table(
        "id,x,class\n" + "".join(f"{at},{at},{10 - at}\n{at},0,{10 - at}\n" for at in range(10))
    )
    assert read(path).data.classes == tuple(map(str, range(1, 11)))


def test_text_has_one_kind_of_line_end_and_every_piece(tmp_path: Path, monkeypatch):
    from gatewright.data.formats import text_file

    monkeypatch.setattr(text_file, "_PIECE", 7)
    content = "\ufeffZeile eins\r\nÄöü €\rthree\n𝄞" * 5
    path = tmp_path / "text.txt"
    path.write_bytes(content.encode())
    reading = read(path)
    expected = content[1:].replace("\r\n", "\n").replace("\r", "\n")
    assert reading.data.decode(reading.data.codes) == expected
    assert reading.data.alphabet == tuple(sorted(set(expected)))
    assert "mixed (CR and CRLF and LF)" in reading.notes[0]
    packed = path.with_suffix(".txt.gz")
    packed.write_bytes(gzip.compress(content.encode()))
    assert read(packed).data.decode(reading.data.codes) == expected
    for source in (path, packed):
        assert read(source, text="bytes").data.codes.tobytes() == content.encode()


def test_a_large_text_is_mapped(tmp_path: Path, monkeypatch):
    from gatewright.data.formats import text_file

    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * 20)
    expected = read(path, text="bytes").data.codes
    monkeypatch.setattr(text_file, "_MIN_MAPPED", 1000)
    mapped = read(path, text="bytes").data.codes
    assert not mapped.flags.owndata and not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, expected)


def test_an_alphabet_of_more_than_a_byte():
    text = Text.from_string("".join(map(chr, range(200, 600))) * 2)
    assert text.codes.dtype == np.uint32 and len(text.alphabet) == 400
    assert text.decode(text.encode("Āā")) == "Āā"
    with pytest.raises(gatewright.GatewrightError, match="symbol 'a' at position 1 is not in"):
        text.encode("Āa")


def test_the_texts_of_a_dataframe_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch):
    from gatewright.data.formats import frame_table

    rows = 40
    columns = {"v": [str(k) for k in range(rows)], "label": ["a", "b", "b", "a"] * 10}
    expected = read(pd.DataFrame(columns)).data
    monkeypatch.setattr(frame_table, "_PIECE_ROWS", 7)
    data = read(pd.DataFrame(columns)).data
    np.testing.assert_array_equal(data.sequences[0], expected.sequences[0])
    np.testing.assert_array_equal(data.labels[0], expected.labels[0])
    columns["v"][30] = "many"
    with pytest.raises(DataError, match="row 30 counted from 0"):
        read(pd.DataFrame(columns))
