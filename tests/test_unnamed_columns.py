"""Columns whose names say nothing are recognised by their values, in files as people have them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewright.data import Reading, Recordings, Series, Tagged, read
from gatewright.errors import DataError
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.task import Forecast
from gatewright.training.source import open_source, read_arguments

MONTH = np.timedelta64(1, "M")
QUARTER = np.timedelta64(3, "M")
Load = Callable[..., Reading]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, **options: Any) -> Reading:
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return read(path, **options)

    return load


def noted(reading: Reading, pattern: str) -> bool:
    return any(re.search(pattern, note) for note in reading.notes)


def rows(header: str, *cells: tuple[Any, ...]) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in cells)]) + "\n"


def wave(k: int) -> float:
    return round(10.0 + 3.0 * np.sin(k / 3.0) + 0.1 * (k * 7 % 5), 3)


# Times


@pytest.mark.parametrize(
    ("times", "period", "last"),
    [
        ([round(1960 + k / 12, 4) for k in range(30)], MONTH, "1962-06-01"),  # as R writes them
        ([round(1958.2 + k / 12, 3) for k in range(30)], MONTH, "1960-08-01"),  # mid-month
        ([1990 + k / 4 for k in range(14)], QUARTER, "1993-04-01"),
    ],
)
def test_decimal_years_are_months(load: Load, times: list[float], period: Any, last: str):
    reading = load(rows("time,x", *((t, wave(k)) for k, t in enumerate(times))))
    assert isinstance(reading.data, Series) and reading.data.period == period
    assert str(reading.data.times[0][-1])[:10] == last and noted(reading, "decimal years")
    assert reading.data.steps_a_season == 12 // int(period / MONTH)


def test_other_decimal_times_stay_numbers(load: Load):
    seconds = load(rows("time,x", *((1700 + 0.1 * k, wave(k)) for k in range(20))))
    assert isinstance(seconds.data, Series) and seconds.data.period == pytest.approx(0.1)


def test_months_of_six_digits_and_days_of_eight_need_no_name(load: Load):
    months = [199910, 199911, 199912, 200001, 200002]
    reading = load(rows("when,x", *((m, wave(k)) for k, m in enumerate(months))))
    assert reading.data.period == MONTH and noted(reading, "199910 are read as dates")  # type: ignore[union-attr]
    days = load(rows("when,x", *((20240128 + k, wave(k)) for k in range(4))))
    assert days.data.period == np.timedelta64(1, "D")  # type: ignore[union-attr]
    counts = load(rows("n,x", *((190001 + k, wave(k)) for k in range(20))))
    assert counts.data.channels == ("n", "x")  # type: ignore[union-attr]


def test_even_steps_decide_between_day_and_month(load: Load):
    cells = [f"{1 + k % 12}/1/{1957 + k // 12}" for k in range(26)]
    reading = load(rows("Date,x", *((t, wave(k)) for k, t in enumerate(cells))))
    assert reading.data.period == MONTH  # type: ignore[union-attr]
    assert noted(reading, "month/day/year, which makes them evenly spaced")
    with pytest.raises(DataError, match="month/day/year or day/month/year"):
        load(rows("Date,x", *((t, 1.5 * k) for k, t in enumerate(cells[:5]))))


def test_times_that_jitter_are_moved_to_even_ones(load: Load):
    quarters = ["1960-01-01", "1960-04-01", "1960-07-02", "1960-10-01", "1961-01-01", "1961-04-02"]
    reading = load(rows("date,x", *((t, wave(k)) for k, t in enumerate(quarters))))
    assert reading.data.period == QUARTER and noted(reading, "by at most 1 day$")  # type: ignore[union-attr]
    assert str(reading.data.times[0][2])[:10] == "1960-07-01"  # type: ignore[union-attr]
    start = np.datetime64("2015-02-04T17:51:00")
    sensor = [start + np.timedelta64(60 * k + (-1, 0, 1)[k % 3], "s") for k in range(12)]
    minutes = load(rows("date,x", *((t, wave(k)) for k, t in enumerate(sensor))))
    assert minutes.data.period == np.timedelta64(1, "m")  # type: ignore[union-attr]
    random = [start + np.timedelta64(60 * k * k + 7 * k, "s") for k in range(12)]
    irregular = load(rows("date,x", *((t, wave(k)) for k, t in enumerate(random))))
    assert irregular.data.period is None and noted(irregular, "irregular")  # type: ignore[union-attr]


def test_newest_rows_first(load: Load):
    newest = load(rows("date,x", *((f"2024-01-{9 - k:02d}", wave(k)) for k in range(6))))
    assert noted(newest, "newest rows come first")
    assert newest.data.values[0][0, 0] == wave(5)  # type: ignore[union-attr]


def test_dates_in_any_order_are_sorted_if_no_other_column_could_separate_series(load: Load):
    days = [("2024-01-03", 1), ("2024-01-01", 2), ("2024-01-02", 3)]
    unsorted = load(rows("date,x", *days))
    assert noted(unsorted, "not in order of time: they are sorted")
    assert unsorted.data.values[0][:, 0].tolist() == [2.0, 3.0, 1.0]  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"sort the rows.*is it kind\?"):
        load(rows("date,x,kind", *((*day, "ab"[k % 2]) for k, day in enumerate(days))))


def test_a_row_that_comes_twice_is_read_once(load: Load):
    days = [(f"2024-01-{k:02d}", wave(k)) for k in range(1, 9)]
    twice = load(rows("date,x", *days[:5], *days[3:]))
    assert noted(twice, "2 rows repeat the time and the values")
    assert twice.data.values[0][:, 0].tolist() == [x for _, x in days]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="is in row 6 already"):
        load(rows("date,x", *days[:5], ("2024-01-05", 99.0), *days[5:]))


# Ids and labels


def test_times_that_repeat_show_the_id(load: Load):
    dates = [f"20{year:02d}-01-01" for year in range(8)]
    blocks = [(city, 7.5, t, wave(k)) for city in ("Ulm", "Bonn") for k, t in enumerate(dates)]
    reading = load(rows("city,area,year,sold", *blocks))
    assert isinstance(reading.data, Series) and reading.data.ids == ("Ulm", "Bonn")
    assert noted(reading, "city is the id") and not noted(reading, "city is text")
    mixed = [(f"{t}", firm, wave(k + firm)) for k, t in enumerate(dates) for firm in (1, 2, 3)]
    assert load(rows("year,firm,sold", *mixed)).data.ids == ("1", "2", "3")  # type: ignore[union-attr]
    # Counts that happen to differ at each time are no id.
    counts = [(t, (k * 5 + side * 3) % 11) for k, t in enumerate(dates) for side in (0, 1)]
    with pytest.raises(DataError, match="is in row 2 already"):
        load(rows("year,sold", *counts))


def test_recordings_without_telling_names(load: Load):
    cells = [(run, wave(k + run), wave(k * run), run % 2) for run in range(1, 9) for k in range(5)]
    reading = load(rows("run,a,b,kind", *cells))
    assert isinstance(reading.data, Recordings) and len(reading.data) == 8
    assert reading.data.classes == ("0", "1") and reading.data.channel_names == ("a", "b")
    assert noted(reading, "kind is the label: it recurs in several run")
    forecast = load(rows("run,a,b,kind", *cells), task="forecast")
    assert isinstance(forecast.data, Series)
    # A number of the day, in blocks, has no such label.
    assert isinstance(
        load(rows("day,a", *((d, wave(d + k)) for d in range(9) for k in range(4)))).data, Series
    )
    again = read_arguments(reading)
    assert isinstance(
        load(rows("run,a,b", *(c[:3] for c in cells)), labelled=False, **again).data, Recordings
    )


def test_a_lasting_text_labels_steps(load: Load):
    words = ["rest", "walk", "rest", "run", "walk"]
    cells = [(wave(k), wave(2 * k), words[k // 20]) for k in range(100)]
    reading = load(rows("ax,ay,doing", *cells))
    assert isinstance(reading.data, Tagged) and reading.data.classes == ("rest", "run", "walk")
    dated = [(f"2024-{1 + k // 25:02d}-{1 + k % 25:02d}", *row) for k, row in enumerate(cells)]
    assert isinstance(load(rows("date,ax,ay,doing", *dated[:25])).data, Series)


# Columns that are left out


def test_columns_without_information_of_their_own_are_left_out(load: Load):
    days = np.arange("2011-01-01", "2012-03-01", dtype="datetime64[D]")
    header = "instant,date,yr,mnth,weekday,holiday,sold"
    cells = [
        (k + 1, d, int(str(d)[:4]) - 2011, int(str(d)[5:7]), (k + 6) % 7, int(k % 50 == 0), wave(k))
        for k, d in enumerate(days)
    ]
    reading = load(rows(header, *cells))
    assert reading.data.channels == ("holiday", "sold")  # type: ignore[union-attr]
    assert noted(reading, "instant counts the steps") and noted(reading, "yr repeats the year")
    known = load(rows(header, *cells), known="mnth", target="sold")
    assert "mnth" in known.data.known  # type: ignore[union-attr]
    only = load(rows("date,day", *((d, k + 1) for k, d in enumerate(days))))
    assert only.data.channels == ("day",)  # type: ignore[union-attr]


def test_missing_values_are_interpolated_only_where_they_are_few(load: Load):
    def table(share: float) -> str:
        cells = [
            (f"2024-01-{k + 1:02d}", wave(k), "" if k % 10 < 10 * share else wave(k))
            for k in range(30)
        ]
        return rows("date,a,b", *cells)

    few = load(table(0.2))
    assert few.data.channels == ("a", "b") and noted(few, "6 missing values are interpolated")  # type: ignore[union-attr]
    many = load(table(0.4))
    assert many.data.channels == ("a",) and noted(many, "b is missing in 40% of the rows")  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"column b: the value is missing \(12 such cells\)"):
        load(table(0.4), target="b")
    assert load(table(0.4), target="b", fill="linear").data.channels == ("a", "b")  # type: ignore[union-attr]


def test_a_short_series_has_a_short_horizon(load: Load):
    source = open_source(load(rows("year,x", *((1937 + k, wave(k)) for k in range(24)))))
    assert isinstance(source.task, ForecastSpec) and source.task.horizon == 4


def test_a_short_series_with_seasons_has_a_base_that_was_chosen(load: Load) -> None:
    cells = ((f"{1991 + k // 12}-{1 + k % 12:02d}", 5.0 * k + wave(k)) for k in range(36))
    source = open_source(load(rows("month,x", *cells)))
    assert isinstance(source.task, Forecast) and source.task.season == 12
    assert source.task.base is not None and len(source.task.base.members[0]) > 1


def test_a_flag_that_is_not_set_yet_is_no_target(load: Load):
    text = rows("year,x,late", *((1937 + k, wave(k), int(k > 35)) for k in range(40)))
    source = open_source(load(text))
    assert isinstance(source.task, ForecastSpec) and source.task.targets == ("x",)
    assert source.reading["target"] == ["x"] and "late: the same in all" in source.notes[-1]
    with pytest.raises(DataError, match="late of table never changes"):
        open_source(load(text, target="late"))
