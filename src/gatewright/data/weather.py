"""Daily weather in Seattle from 2012 to 2015, to forecast the next days (NOAA, public domain)."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file

from gatewright.data.bundled import checked_file
from gatewright.data.containers.series import Series
from gatewright.data.formats.csv_file import CsvFile
from gatewright.data.source.request import Reading, Request
from gatewright.data.tables.from_table import read_table

# The checksum of `files/weather.csv.gz`, as `data-sources/make_weather.py` prints it.
SHA256 = "c4e42575aba8ab9adb1d72a96ac3fcbe58880b78f6547d9f2727a8688637fd07"


def read_weather(request: Request) -> Reading:
    """Read 1461 days with precipitation (mm), highest and lowest temperature (°C), wind (m/s).

    The file is read like a user's file, so the columns can be given other roles.

    >>> read_weather(Request()).data
    Series('weather', n=1, steps=1461, channels=4, period=1 day)
    """
    file = checked_file("weather.csv.gz", sha256=SHA256, name="weather")
    with as_file(file) as path:
        reading = read_table(CsvFile(path, "the bundled data set weather"), "weather", request)
    data = replace(
        reading.data,
        about=(
            "Seattle, every day from 1 January 2012 to 31 December 2015: precipitation in mm, "
            "the highest and the lowest temperature in degrees Celsius, and the wind in m/s. "
            "The task is to forecast the days that follow."
        ),
        licence=(
            "U.S. National Oceanic and Atmospheric Administration (NOAA), public domain; "
            "the copy of vega_datasets 0.9 (seattle-weather.csv)."
        ),
    )
    if isinstance(data, Series):
        # The season of weather is the year, not the week as of other daily series.
        data = replace(data, steps_a_season=365)
    return replace(reading, data=data)
