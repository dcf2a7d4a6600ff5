"""Files as people have them are read as they are meant, with a note, or the user is asked."""

from __future__ import annotations

import gzip
import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from gatewright.cli import training as cli
from gatewright.cli.options import READING
from gatewright.cli.wording import in_options
from gatewright.data import Reading, Recordings, Series, read
from gatewright.data.columns.number_format import COMMA, NUMBER_FORMATS, POINT, number_of
from gatewright.data.formats import json_file, parquet_file
from gatewright.errors import ArgumentError, DataError, GatewrightError
from gatewright.training.source import open_source

DAY = np.timedelta64(1, "D")
MONTH = np.timedelta64(1, "M")
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@pytest.fixture
def load(tmp_path: Path):
    """Return a function that writes a file and reads it."""

    def write_and_read(content: str | bytes, name: str = "table.csv", **options: Any) -> Reading:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read(path, **options)

    return write_and_read


def dated(times: Any, name: str = "time") -> str:
    return f"{name},x\n" + "".join(f'"{time}",{at}\n' for at, time in enumerate(times))


def values_of(reading: Reading, channel: str) -> list[float]:
    assert isinstance(reading.data, Series)
    position = reading.data.channels.index(channel)
    return reading.data.values[0][:, position].tolist()


def noted(reading: Reading, text: str) -> bool:
    return any(re.search(text, note) for note in reading.notes)


# Numbers


@pytest.mark.parametrize(
    ("cells", "separator", "expected"),
    [
        (["1.234,56", "998"], ";", [1234.56, 998]),
        (["1,5", "1.234"], ";", [1.5, 1234]),  # the comma decides the meaning of the point
        (["1.5", "1.234"], ";", [1.5, 1.234]),
        (["0.113", "1.234"], ";", [0.113, 1.234]),  # no group of thousands begins with 0
        (["1.234.567", "2"], ";", [1234567, 2]),
        (['"1,234"', "998"], ",", [1234, 998]),
        (['"1,234.5"', "998"], ",", [1234.5, 998]),
        (['"12,5"', '"3,25"'], ",", [12.5, 3.25]),
        (["1.113", "2.547"], ",", [1.113, 2.547]),  # three digits, as %.3f writes them
        (["1.113", "2.547"], "\t", [1.113, 2.547]),
        (["$12.50", '"$1,113.20"'], ",", [12.5, 1113.2]),
        (["-$5", "$-6.5"], ",", [-5, -6.5]),
        (["12,5 €", "1.000,00 €"], ";", [12.5, 1000]),
        (["12 %", "13%"], ",", [12, 13]),
        (["1 234,5", "1\u202f000"], ";", [1234.5, 1000]),
        (["1'234.5", "2'000"], ",", [1234.5, 2000]),
        (["−3.5", "4"], ",", [-3.5, 4]),
    ],
)
def test_numbers_are_what_people_mean(cells: list[str], separator: str, expected: list, load):
    text = f"t{separator}x\n" + "".join(f"{at}{separator}{x}\n" for at, x in enumerate(cells))
    assert values_of(load(text), "x") == expected


AMBIGUOUS = "t;x\n1;998\n2;1.113\n3;1.205\n"


def test_an_ambiguous_number_is_refused_with_the_option(load):
    with pytest.raises(DataError) as raised:
        load(AMBIGUOUS)
    assert str(raised.value).startswith("table.csv, row 3, column x: '1.113' may be 1.113")
    assert "decimal='.'" in str(raised.value) and "1113 (decimal=',')" in str(raised.value)
    assert values_of(load(AMBIGUOUS, decimal=","), "x") == [998, 1113, 1205]
    assert values_of(load(AMBIGUOUS, thousands="."), "x") == [998, 1113, 1205]
    assert values_of(load(AMBIGUOUS, decimal="."), "x") == [998, 1.113, 1.205]


def test_other_columns_and_dates_decide_the_format(load):
    other = load("t;x;y\n1;998;3,5\n2;1.113;2,5\n")
    assert values_of(other, "x") == [998, 1113]
    assert noted(other, "column x: '1.113' is read as 1113, as other columns have a decimal comma")
    dates = load("d;x\n01.02.2024;998\n02.02.2024;1.113\n")
    assert values_of(dates, "x") == [998, 1113] and noted(dates, "dates are written with points")
    # Tabs go with a decimal point, dates with points go with a comma.
    with pytest.raises(DataError, match=r"say which with decimal="):
        load("d\tx\n01.02.2024\t-1,000\n02.02.2024\t-2,000\n")
    with pytest.raises(DataError, match=r"say which with decimal="):
        load("t;x;y;z\n1;998;3,5;2.5\n2;1.113;2,5;2.5\n")


def test_the_whole_column_decides_the_format(load):
    rows = [f"{at};1.{at % 900 + 100}\n" for at in range(5000)]
    with pytest.raises(DataError, match=r"row 2, column x: '1.100' may be"):
        load("t;x\n" + "".join(rows))
    assert values_of(load("t;x\n" + "".join([*rows, "5000;7,5\n"])), "x")[0] == 1100
    assert values_of(load("t;x\n" + "".join([*rows, "5000;7.5\n"])), "x")[0] == 1.1


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("t;x\n1;9,5\n2;3.25\n", {}, r"row 3, column x: '3.25' .*decimal marks are mixed"),
        ("t,x\n1,$9\n2,3\n", {}, r"row 3, column x: '3' is among numbers with \$"),
        ("t,x\n1,€9\n2,$3\n", {}, r"'\$3' is among numbers with €"),
        ("t;x\n1;9,5\n", {"decimal": "."}, r"'9,5' is not a number with .*decimal=','"),
        ("t,x\n1,5\n", {"decimal": "x"}, r"decimal is 'x'; expected '\.' or ','"),
        ("t,x\n1,5\n", {"thousands": "xx"}, "thousands is 'xx'; expected one of"),
        ("t,x\n1,5\n", {"thousands": ".", "decimal": "."}, "thousands is '.'; expected one of"),
        ("t,x\n1,5\n", {"encoding": "utf-9"}, "encoding is 'utf-9', which is not known"),
        ("t,x\n1,5\n", {"encoding": "rot13"}, "encoding is 'rot13', which is not known"),
        ("t,x\n1,5\n", {"timezone": "Berlin"}, "timezone is 'Berlin', which is not known"),
        ("s,u\nsoon,later\nnow,then\nnow,then\n", {}, "no column of numbers .* s has 'soon'"),
    ],
)
def test_numbers_and_options_that_are_refused(text: str, options: dict, message: str, load):
    with pytest.raises(GatewrightError, match=message):
        load(text, **options)


def test_true_and_false_are_the_same_everywhere(load):
    table = load("t,holiday,x\n1,True,5\n2,FALSE,6\n3,,7\n", fill="previous")
    assert values_of(table, "holiday") == [1, 0, 0] and noted(table, "true is read as 1")
    frame = read(pd.DataFrame({"t": [1, 2, 3], "holiday": [True, False, False], "x": [5, 6, 7]}))
    np.testing.assert_array_equal(frame.data.values[0], table.data.values[0])
    with pytest.raises(DataError, match=r"column f: 'maybe' is neither true nor false"):
        load("t,f\n" + "1,true\n" * 1001 + "2,maybe\n", time="t")
    assert load("x,label\n1,True\n2,False\n").data.classes == ("False", "True")


def test_number_formats():
    assert number_of("1,234", NUMBER_FORMATS) == 1234 and number_of("1,234", (COMMA,)) == 1.234
    assert (
        number_of("1.234.56", NUMBER_FORMATS) is None and number_of("12,34,567", (POINT,)) is None
    )
    assert number_of("1,5", (POINT,)) is None and number_of("-inf") == -np.inf


# Encodings and the form of the file


def test_encodings_are_detected_and_noted(load):
    text = "Zeit;Temperatur °C\n2024-01-01;1,5\n2024-01-02;2,5\n"
    for encoding, note in (("latin-1", "Windows-1252.*°C"), ("utf-16", "UTF-16")):
        reading = load(text.encode(encoding))
        assert reading.data.channels == ("Temperatur °C",) and noted(reading, note)
        assert "encoding" not in reading.form
    assert load(text.encode("utf-8-sig")).data.channels == ("Temperatur °C",)
    stated = load(text.encode("cp850"), encoding="cp850")
    assert stated.data.channels == ("Temperatur °C",) and stated.form["encoding"] == "cp850"
    assert "é" in load("café crème".encode("latin-1"), "a.txt").data.alphabet
    records = json.dumps([{"t": 1, "Größe": 2}, {"t": 2, "Größe": 3}], ensure_ascii=False)
    assert load(records.encode("cp1252"), "a.json").data.channels == ("Größe",)
    with pytest.raises(DataError, match=r"not written in the encoding ascii"):
        load(text, encoding="ascii")
    with pytest.raises(DataError, match=r"byte 0x81 at position 6 is not text, neither in UTF-8"):
        load(b"t,x\n1,\x81\n")


def test_excel_names_its_separator(load):
    assert values_of(load("sep=;\r\nt;x\r\n1;9,5\r\n2;1,113\r\n"), "x") == [9.5, 1.113]
    with pytest.raises(DataError, match=r"row 4, column x: 'n' is not a number"):
        load("sep=;\nt;x\n1;9\n2;n\n3;4\n")


def test_files_that_are_too_large_are_refused_early(load):
    packed = gzip.compress(b"t,x\n" + b"1,2\n" * 17_000_000, compresslevel=1)
    with pytest.raises(
        DataError, match=r"unpacks to more than 67,108,864 bytes, 50 times its size"
    ):
        load(packed, "a.csv.gz")
    with pytest.raises(DataError, match=r"line 1 has more than 16,777,216 characters"):
        load("1," * 9_000_000)
    with pytest.raises(DataError, match=r"field larger than field limit"):
        load("a" * 131_073 + ",b\n1,2\n")
    with pytest.raises(DataError, match=r"has 131,073 columns; expected at most 20,000"):
        load("," * 131_072 + "\n1,2\n")
    labels = "".join(f"{at},1,c{at}\n{at},2,c{at}\n" for at in range(12_000))
    with pytest.raises(DataError, match=r"12000 different values in 24000 rows, too many"):
        load("id,x,label\n" + labels)


def test_a_parquet_file_of_endless_rows_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(parquet_file, "_MAX_ROWS", 1000)
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"x": np.zeros(2_000_000, np.int8)}), path)
    with pytest.raises(DataError, match=r"claims 2,000,000 rows in [0-9,]+ bytes, which would"):
        read(path)


def test_json_of_too_many_cells_is_refused(load, monkeypatch):
    monkeypatch.setattr(json_file, "_MAX_CELLS", 10)
    sparse = json.dumps([{f"k{at}": at} for at in range(5)])
    with pytest.raises(
        DataError, match=r"more than 10 cells, up to record 4; save a table of this size"
    ):
        load(sparse, "a.json")


# Times


@pytest.mark.parametrize(
    ("cells", "first", "period"),
    [
        (["2024-W05", "2024-W06", "2024-W07"], "2024-01-29", 7 * DAY),
        (["2024W052", "2024W062"], "2024-01-30", 7 * DAY),
        (["Jan-49", "Feb-49", "Mar-49"], "1949-01-01", MONTH),
        (["Nov 99", "Dec 99", "Jan 00"], "1999-11-01", MONTH),
        (["Jan-1-1995", "Feb-1-1995"], "1995-01-01", MONTH),
        (["1991 Jul", "1991 Aug"], "1991-07-01", MONTH),
        (["2024M01", "2024M02"], "2024-01-01", MONTH),
        (["Q1 2024", "Q2 2024"], "2024-01-01", 3 * MONTH),
        (["01/2024", "02/2024"], "2024-01-01", MONTH),
        (["12/31/99", "1/1/00"], "1999-12-31", DAY),
        (["31.12.99", "01.01.00"], "1999-12-31", DAY),
        (["31-Dec-99", "01-Jan-00"], "1999-12-31", DAY),
        (["Mon, 01 Jan 2024", "Tue, 02 Jan 2024"], "2024-01-01", DAY),
        (["2024-01-01/2024-01-07", "2024-01-08/2024-01-14"], "2024-01-01", 7 * DAY),
        (["1700000000", "1700003600"], "2023-11-14T22:13:20", np.timedelta64(1, "h")),
        (["1700000000000", "1700000000500"], "2023-11-14T22:13:20", np.timedelta64(500, "ms")),
        (["1700000000.25", "1700000000.5"], "2023-11-14T22:13:20.25", np.timedelta64(250, "ms")),
    ],
)
def test_forms_of_times(cells: list[str], first: str, period: np.timedelta64, load):
    reading = load(dated(cells, "when"))
    assert reading.data.times[0][0] == np.datetime64(first, "ns")
    assert reading.data.period == period and reading.roles.time == "when"


def test_years_of_two_digits_are_noted(load):
    cells = [f"{MONTHS[at % 12]}-{(95 + at // 12) % 100:02d}" for at in range(130)]
    reading = load(dated(cells))
    assert noted(reading, "years of two digits are read as 1995 to 2005")
    assert reading.data.period == MONTH


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_unix_time_is_not_a_target(unit: str, load):
    count = 1_700_000_000 * (1000 if unit == "ms" else 1)
    step = 60 * (1000 if unit == "ms" else 1)
    rows = "".join(f"{count + at * step},{at % 7}\n" for at in range(20))
    for name in ("ts", "timestamp", "recorded"):
        reading = load(f"{name},x\n{rows}")
        assert reading.data.channels == ("x",) and reading.data.period == np.timedelta64(60, "s")
        assert noted(reading, "Unix (milli)?seconds")
    both = load("day,ts,x\n" + "".join(f"2024-01-0{d},{count + d},{d}\n" for d in range(1, 5)))
    assert both.data.channels == ("x",)
    sizes = "".join(f"2024-01-0{d},{2_000_000_000 - d * 10**8 * (-1) ** d}\n" for d in range(1, 9))
    assert load("day,bytes\n" + sizes).data.channels == ("bytes",)


@pytest.mark.parametrize("frequency", ["BME", "BMS", "ME", "MS", "SME", "SMS", "WOM-3FRI"])
def test_days_of_the_month_are_regular(frequency: str, load):
    days = pd.date_range("2022-01-01", periods=40, freq=frequency)
    series = load(dated(days[:30].date)).data
    assert series.period == ("half month" if frequency.startswith("SM") else MONTH)
    np.testing.assert_array_equal(series.times_after(0, 10), days.to_numpy()[30:])
    holed = load(dated(days[:30].delete([4, 9]).date), fill="linear").data
    np.testing.assert_array_equal(holed.times[0], days.to_numpy()[:30])


def test_the_30th_of_each_month_is_regular(load):
    months = pd.period_range("2023-01", periods=20, freq="M")
    days = [f"{month}-{min(30, month.days_in_month)}" for month in months]
    series = load(dated(days[:15])).data
    assert series.period == MONTH
    assert series.times_after(0, 5).astype("M8[D]").astype(str).tolist() == days[15:]


def test_fortnights_and_four_weeks_are_not_months(load):
    for weeks in (2, 4):
        days = pd.date_range("2024-01-01", periods=30, freq=f"{7 * weeks}D").date
        assert load(dated(days)).data.period == 7 * weeks * DAY


@pytest.mark.parametrize(("frequency", "period"), [("D", DAY), ("MS", MONTH), ("W", 7 * DAY)])
def test_days_with_a_zone_cross_daylight_saving(frequency: str, period: Any, load):
    days = pd.date_range("2024-02-01", periods=60, tz="Europe/Berlin", freq=frequency)
    for reading in (
        load(dated(day.isoformat() for day in days)),
        read(pd.DataFrame({"time": days, "x": np.arange(60.0)})),
    ):
        assert reading.data.period == period
        assert reading.data.times[0][0] == days[0].tz_localize(None).to_numpy()


def clock(
    zone: str, start: str, hours: int, minutes: int = 60
) -> tuple[list[str], pd.DatetimeIndex]:
    """Return the times that the clock of a zone shows, and the moments in UTC."""
    moments = pd.date_range(start, periods=hours * 60 // minutes, freq=f"{minutes}min", tz="UTC")
    wall = moments.tz_convert(zone).tz_localize(None)
    return [f"{time:%Y-%m-%d %H:%M}" for time in wall], moments


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Europe/Berlin", "2024-03-20"),
        ("Europe/Berlin", "2024-10-20"),
        ("Europe/London", "2024-10-20"),
        ("America/New_York", "2024-03-05"),
        ("America/Chicago", "2024-10-28"),
        ("Australia/Sydney", "2024-09-25"),
    ],
)
@pytest.mark.parametrize("minutes", [60, 15])
def test_a_clock_with_summer_time_is_recognised(zone: str, start: str, minutes: int, load):
    cells, moments = clock(zone, start, 24 * 20, minutes)
    reading = load(dated(cells))
    assert reading.data.period == np.timedelta64(minutes, "m") and len(
        reading.data.times[0]
    ) == len(moments)
    assert noted(reading, "a clock with summer time, like that of")
    np.testing.assert_array_equal(
        np.diff(reading.data.times[0]), np.diff(moments.tz_localize(None).to_numpy())
    )
    assert load(dated(cells), timezone=zone).form["timezone"] == zone
    assert reading.form["timezone"]
    stated = load(dated(cells), timezone=zone).data.times[0]
    np.testing.assert_array_equal(stated, reading.data.times[0])


def test_a_whole_year_of_a_clock(load):
    cells, moments = clock("Europe/Berlin", "2023-12-31 23:00", 24 * 366)
    assert len(set(cells)) < len(cells)
    reading = load(dated(cells))
    assert noted(reading, "like that of Europe/Berlin") and len(reading.data.times[0]) == len(
        moments
    )
    assert str(reading.data.times[0][0])[:16] == "2024-01-01T00:00"


def test_gaps_without_summer_time_are_refused(load):
    cells, _ = clock("UTC", "2024-05-01", 48)
    assert noted(load(dated([*cells[:20], *cells[21:]])), "1 step of 1 hour is missing")
    with pytest.raises(DataError, match=r"20 steps of 1 hour are missing"):
        load(dated([*cells[:20], *cells[40:]]))
    with pytest.raises(DataError, match=r"is in row 11 already"):
        load(dated([*cells[:10], *cells[9:]]))
    spring, _ = clock("UTC", "2024-03-30", 48)
    with pytest.raises(DataError, match=r"02:00:00 does not exist on the clock of Europe/Berlin"):
        load(dated(spring), timezone="Europe/Berlin")
    with pytest.raises(ArgumentError, match=r"have a zone already"):
        load(dated(f"{cell}+00:00" for cell in spring), timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "name", "first", "period"),
    [
        (
            "year,quarter,x\n" + "".join(f"{1990 + k // 4},{k % 4 + 1},{k}\n" for k in range(9)),
            "year + quarter",
            "1990-01-01",
            3 * MONTH,
        ),
        (
            "x,Year,Month\n"
            + "".join(f"{k},{2000 + k // 12},{MONTHS[k % 12]}\n" for k in range(30)),
            "Year + Month",
            "2000-01-01",
            MONTH,
        ),
        (
            "year,month,day,hour,x\n"
            + "".join(f"2024,3,{15 + k // 24},{k % 24},{k}\n" for k in range(60)),
            "year + month + day + hour",
            "2024-03-15",
            np.timedelta64(1, "h"),
        ),
        (
            "Date;Time;x\n"
            + "".join(f"{15 + k // 24}/03/2024;{k % 24:02d}.00.00;{k},5\n" for k in range(60)),
            "Date + Time",
            "2024-03-15",
            np.timedelta64(1, "h"),
        ),
        (
            "date,hour,x\n"
            + "".join(f"2024-03-{15 + k // 24},{k % 24 + 1},{k}\n" for k in range(60)),
            "date + hour",
            "2024-03-15T01:00",
            np.timedelta64(1, "h"),
        ),
        (
            "x,date,clock\n"
            + "".join(
                f"{k},2024-03-{15 + k // 2},{'1:30 am' if k % 2 == 0 else '1:30 pm'}\n"
                for k in range(9)
            ),
            "date + clock",
            "2024-03-15T01:30",
            np.timedelta64(12, "h"),
        ),
    ],
)
def test_a_time_in_several_columns(text: str, name: str, first: str, period: Any, load):
    reading = load(text)
    assert reading.roles.time == name and reading.data.channels == ("x",)
    assert reading.data.times[0][0] == np.datetime64(first, "ns") and reading.data.period == period
    assert noted(reading, "are read as one time")
    asked = load(text, time=name.replace(" + ", "+"))
    np.testing.assert_array_equal(asked.data.times[0], reading.data.times[0])


def test_a_quarter_as_the_id_is_noted(load):
    text = "year,quarter,x\n" + "".join(f"{1990 + k // 4},{k % 4 + 1},{k}\n" for k in range(9))
    assert noted(load(text, id="quarter"), "each series has one quarter of every year")
    with pytest.raises(DataError, match=r"column month: .*'13'|'2024-13-1' is not a date"):
        load("year,month,x\n2024,12,1\n2024,13,2\n2024,1,3\n", time="year + month")


def test_rows_without_an_order_are_refused(load):
    places = "name,latitude,longitude\n" + "".join(f"place {k},{k / 7},{k}\n" for k in range(20))
    with pytest.raises(DataError, match=r"column name .*\('place 0', 'place 1'\).*ignore='name'"):
        load(places)
    assert load(places, ignore="name").data.channels == ("latitude", "longitude")
    with pytest.raises(
        DataError, match=r"column when of table.csv has a different text in each row"
    ):
        load("when,x\nKW 1,1\nKW 2,2\nKW 3,2\n")
    panel = "id,when,x\n" + "".join(f"{one},KW {k},{k}\n" for one in "ab" for k in range(20))
    with pytest.raises(
        DataError, match=r"column when of table.csv has a different text in each row"
    ):
        load(panel)


def test_an_option_that_cannot_matter_is_refused(load):
    with pytest.raises(ArgumentError, match=r"decimal=',' was given, but a.tsf has a fixed format"):
        load(TSF, "a.tsf", decimal=",")
    with pytest.raises(ArgumentError, match=r"timezone='UTC' was given, but the bundled data set"):
        read("weather", timezone="UTC")
    with pytest.raises(
        ArgumentError, match=r"thousands='\.' was given, but a.txt has a fixed format"
    ):
        load("prose", "a.txt", thousands=".")
    with pytest.raises(ArgumentError, match=r"timezone='UTC' was given, but the times .* numbers"):
        load("t,x\n1,2\n2,3\n", timezone="UTC")


# Several series, and tables of other shapes


def test_each_person_in_a_file_is_a_series(load):
    rows = "".join(f"{p},{s / 10},{s * p % 7}\n" for p in range(1, 17) for s in range(20))
    reading = load("person,seconds,x\n" + rows)
    assert len(reading.data) == 16 and reading.data.channels == ("x",)
    assert noted(reading, "column seconds is the time.*starts again where column person changes")
    ages = "".join(f"{p},{s},{s * p % 7},{20 + p}\n" for p in range(1, 17) for s in range(20))
    assert load("person,seconds,x,age\n" + ages).data.static_names == ("age",)
    with pytest.raises(DataError, match=r"row 22, column seconds: .*starts again 15 times.*id="):
        load("seconds,x\n" + re.sub(r"(?m)^\d+,", "", rows))
    single = load("seconds,x\n" + "".join(f"{s / 10},{s % 7}\n" for s in range(20)))
    assert single.data.channels == ("x",) and single.data.period == pytest.approx(0.1)


def test_an_index_without_names_is_read():
    index = pd.MultiIndex.from_product([["a", "b"], pd.date_range("2024-01-01", periods=5)])
    reading = read(pd.DataFrame({"y": np.arange(10.0)}, index=index))
    assert reading.data.ids == ("a", "b") and reading.data.period == DAY
    assert noted(reading, "the index has no name: it is read as id and time")
    weeks = pd.period_range("2024-01-01", periods=10, freq="W")
    assert read(pd.DataFrame({"x": np.arange(10.0)}, index=weeks)).data.period == 7 * DAY
    assert read(pd.DataFrame({"x": np.arange(10.0), "time": weeks})).data.period == 7 * DAY
    picked = read(pd.DataFrame({"x": np.arange(10.0)}).iloc[::2])
    assert len(picked.data.times[0]) == 5 and noted(picked, "the index numbers the rows")


def test_a_row_per_series(load):
    years = load("Country,Code,1990,1991,1992,1993\nA,AA,1,2,3,4\nB,BB,,3,4,\n")
    assert years.data.ids == ("A", "B") and years.data.channels == ("value",)
    assert [times.tolist() for times in years.data.times] == [
        [1990, 1991, 1992, 1993],
        [1991, 1992],
    ]
    assert noted(years, "each row is read as a series, named by column Country")
    months = load("shop,2024-01,2024-02,2024-03,2024-04\nA,1,2,3,4\nB,3,4,5,6\n")
    assert months.data.period == MONTH
    # A column whose name may be a year, in addition to the months.
    mixed = load("shop,x2023,2024-01,2024-02,2024-03\nA,9,1,2,3\nB,8,3,4,5\n")
    assert mixed.data.lengths.tolist() == [3, 3] and mixed.data.static_names == ("x2023",)
    with pytest.raises(DataError, match=r"row 2, column 1991, column value: the value is missing"):
        load("Country,1990,1991,1992\nA,1,,3\nB,1,,3\n")
    assert noted(load("Country,1990,1991,1992\nA,1,2,3\nB,1,,3\n"), "1 missing value is")


def test_a_row_per_year(load):
    rows = "".join(
        f"{year},{','.join(str(year + month / 100) for month in range(13))}\n"
        for year in (2000, 2001)
    )
    reading = load("Year," + ",".join(MONTHS) + ",J-D\n" + rows)
    assert reading.data.period == MONTH and reading.data.lengths.tolist() == [24]
    assert reading.data.values[0][12, 0] == 2001 and noted(reading, "J-D: left out")


def recordings(prefix: str) -> str:
    header = "label," + ",".join(f"{prefix}{at}" for at in range(10))
    rows = [f"{'ab'[k % 2]}," + ",".join(str(k + at) for at in range(10)) for k in range(6)]
    return "\n".join([header, *rows]) + "\n"


def test_a_row_per_recording(load):
    reading = load(recordings("t"))
    assert isinstance(reading.data, Recordings) and len(reading.data) == 6
    assert reading.data.sequences[1].ravel().tolist() == list(range(1, 11))
    assert reading.data.labels.tolist() == [0, 1] * 3
    with pytest.raises(DataError, match=r"pass task='classify' for the first or task='tag'"):
        load(recordings("x"))
    assert len(load(recordings("x"), task="classify").data) == 6
    assert len(load(recordings("x"), task="tag").data) == 1


# Other formats

TSF = """# two series
@relation demo
@attribute series_name string
@attribute start_timestamp date
@frequency monthly
@horizon 3
@missing true
@equallength false
@data
T1:1960-01-01 00-00-00:1,2,?,4
T2:1961-03-01 00-00-00:5,6
"""


def test_tsf_files_are_series(load):
    with pytest.raises(DataError, match=r"line 10, value 3 is missing; .*fill='linear'"):
        load(TSF, "a.tsf")
    reading = load(TSF, "a.tsf", fill="linear")
    assert reading.data.ids == ("T1", "T2") and reading.data.period == MONTH
    assert reading.data.values[0].ravel().tolist() == [1, 2, 3, 4]
    assert str(reading.data.times[1][1])[:10] == "1961-04-01"
    assert noted(reading, "pass horizon=3")
    colons = load(TSF.replace("00-00-00", "00:00:00"), "a.tsf", fill="linear")
    np.testing.assert_array_equal(colons.data.times[1], reading.data.times[1])
    minutes = load(TSF.replace("monthly", "10_minutes"), "a.tsf", fill="linear")
    assert minutes.data.period == np.timedelta64(10, "m")
    numbered = load(TSF.replace("@frequency monthly\n", ""), "a.tsf", fill="previous")
    assert numbered.data.times[0].tolist() == [0, 1, 2, 3] and noted(numbered, "names no times")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("monthly", "often"), "has the frequency 'often'; expected one of yearly"),
        (("@horizon 3", "@horizon x"), "line 6: @horizon has 'x'; expected a number"),
        (("@data\n", ""), "is not a known tag|without the line @data"),
        (("T2:1961-03-01 00-00-00:5,6", "T2:5,6"), "line 11 has 1 attributes .* expected 2"),
        (("5,6", "5,x"), "line 11, value 2: 'x' is not a number"),
        (("1961-03-01", "1961-13-01"), "line 11: the start '1961-13-01 00-00-00' is not a time"),
        (("1961", "2261"), "line 11 continues beyond the year"),
        (("name string", "name words"), "line 3: @attribute 'series_name words'"),
        (("@missing", "@mising"), "line 7: '@mising' is not a known tag"),
    ],
)
def test_tsf_files_that_are_wrong(change: tuple[str, str], message: str, load):
    with pytest.raises(DataError, match=message):
        load(TSF.replace(*change), "a.tsf", fill="linear")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([{"t": 1, "x": 2.5, "f": True}, {"t": 2, "x": None, "f": False}])),
        ("b.json", json.dumps({"data": [{"t": 1, "x": 2.5, "f": True}, {"t": 2, "f": False}]})),
        ("c.json", json.dumps({"t": [1, 2], "x": [2.5, None], "f": [True, False]})),
        ("d.json", '{"t":{"0":1,"1":2},"x":{"0":2.5,"1":null},"f":{"0":true,"1":false}}'),
        ("e.jsonl", '{"t":1,"x":2.5,"f":true}\n{"t":2,"x":null,"f":false}\n'),
    ],
)
def test_json_records_are_a_table(name: str, content: str, load):
    reading = load(content, name, fill="previous")
    assert reading.data.channels == ("x", "f")
    assert reading.data.values[0].tolist() == [[2.5, 1], [2.5, 0]]
    packed = load(gzip.compress(content.encode()), f"{name}.gz", fill="previous")
    np.testing.assert_array_equal(packed.data.values[0], reading.data.values[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"a": 1}', "which is not a table; expected a list of records"),
        ("a.json", "[1, 2]", "record 1 has 1, which is not a table"),
        ("a.json", '[{"a": [1]}]', r"record 1, column a: the value is \[1\]"),
        ("a.json", "[{", "is not JSON"),
        ("a.json", "[]", "has no record"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", '[{"t": 1, "x": 2}, {"t": 2, "x": "much"}, {"t": 3, "x": 1}]', "record 2, col"),
        ("a.jsonl", '{"a": 1}\nx\n', "line 2 is not JSON"),
        ("a.arff", "@relation x\n", "is an ARFF file, which is not read: save .* as CSV"),
        ("a.txt", "1 2 3\n4 5 6\n", "rows of numbers, 1, 2, 3 ..., without the names"),
    ],
)
def test_json_that_is_not_a_table_is_refused(name: str, content: str, message: str, load):
    with pytest.raises(DataError, match=message):
        load(content, name)
    if name != "a.txt":
        assert load(content, name, task="next symbol").task == "next symbol"


@pytest.mark.parametrize(("name", "mark"), [("u_TRAIN.tsv", "\t"), ("u_TRAIN.txt", "  ")])
def test_the_form_of_the_ucr_archive(name: str, mark: str, load, tmp_path: Path):
    def rows(count: int) -> str:
        return "".join(
            mark.join([str(k % 2 + 1), *(f"{k + at / 8:.4f}" for at in range(12))]) + "\n"
            for k in range(count)
        )

    (tmp_path / name.replace("TRAIN", "TEST")).write_text(rows(4))
    reading = load(rows(10), name)
    assert isinstance(reading.data, Recordings) and len(reading.data) == 10
    assert reading.data.classes == ("1", "2") and reading.data.sequences[0].shape == (12, 1)
    assert reading.data.sequences[3][4, 0] == 3.5 and len(reading.test) == 4
    shorter = rows(10).replace("1.3750\n", "NaN\n", 1)
    assert load(shorter, name).data.lengths.min() == 11


# From the file to the forecast


def test_a_model_reads_new_files_as_it_read_its_own(tmp_path: Path):
    days = pd.date_range("2024-01-01", periods=60).date
    path, new = tmp_path / "a.csv", tmp_path / "new.csv"
    cells = [f"{1000 + 37 * at:,}".replace(",", ".") for at in range(60)]
    path.write_text("d;x\n" + "".join(f"{d};{x}\n" for d, x in zip(days, cells, strict=True)))
    new.write_text("d;x\n" + "".join(f"{day};1.{500 + at}\n" for at, day in enumerate(days[:8])))
    with pytest.raises(DataError, match=r"say which with decimal="):
        open_source(path)
    reading = open_source(path, decimal=",").reading
    assert reading["decimal"] == ","
    assert values_of(read(new, **reading), "x")[0] == 1500
    # A detected decimal mark is stored, too.
    path.write_text(path.read_text().replace("1.037", "1.037,5"))
    assert open_source(path).reading["decimal"] == ","
    cells, _ = clock("Europe/Berlin", "2024-03-20", 24 * 30)
    path.write_text(dated(cells))
    new.write_text(dated(cells[-200:]))  # only summer: no change of the clock is visible
    reading = open_source(path).reading
    assert reading["timezone"] == "Europe/Berlin"
    assert read(new, **reading).data.times[0][-1] == read(path).data.times[0][-1]
    assert read(new).data.times[0][-1] != read(path).data.times[0][-1]


def test_the_options_of_a_file_can_be_changed_on_the_command_line():
    options = inspect.signature(cli.predict).parameters
    for name in ("decimal", "thousands", "encoding", "timezone"):
        assert name in options and name in READING
        assert name in inspect.signature(read).parameters
    assert in_options("say which with decimal=") == "say which with --decimal"
    assert in_options("1.113 (decimal='.') or 1113") == "1.113 (--decimal .) or 1113"


def test_data_that_predict_would_refuse_are_refused_before_training(tmp_path: Path):
    path = tmp_path / "a.csv"
    later = pd.date_range("2024-02-01", periods=60).date
    path.write_text(dated(["2024-01-01", "2024-01-02", "2024-01-05 07:00", *later]))
    with pytest.raises(DataError, match=r"irregular, so a trained model could not.*ignore="):
        open_source(path)
    path.write_text(dated(later).replace(",9\n", ",\n"))
    with pytest.raises(DataError, match=r"irregular, so a trained model could not"):
        open_source(path, fill="drop")
    assert open_source(path, fill="linear").task.period == "1 day"


def test_a_short_series_does_not_stop_the_others(tmp_path: Path):
    path = tmp_path / "a.csv"
    rows = [f"{name},{t},{t % 5}\n" for name in "ab" for t in range(60)]
    path.write_text("id,t,x\n" + "".join([*rows, *(f"c,{t},1\n" for t in range(5))]))
    source = open_source(path, window=8, horizon=2)
    series, remarks = source.task.adapt(read(path, **source.reading).data)
    assert series.ids == ("a", "b")
    assert (
        "left out: series with fewer than the 8 steps that the model reads: c (5 steps)" in remarks
    )
    with pytest.raises(DataError, match=r"series c of .* has 5 steps; the model reads the last 8"):
        source.task.adapt(read(path, **source.reading).data.take([2]))
