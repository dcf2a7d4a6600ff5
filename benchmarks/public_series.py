"""The public time series of `public_forecasts.py`, read from the packages that contain them.

Nothing is downloaded or copied into this repository: aeon, statsmodels and vega_datasets have these
files in their wheels. Each entry makes a dataframe as a practitioner would and names its columns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gatewright.data import Reading, read


def packaged(package: str, path: str) -> Path:
    """Return the path of a file inside an installed package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed: pip install {package}")
    return Path(spec.origin).parent / path


@dataclass(frozen=True)
class PublicSeries:
    """One data set: a function that makes its dataframe, and how to read it."""

    frame: Callable[[], Any]
    reading: Mapping[str, Any] = field(default_factory=dict)
    horizon: int | None = None  # steps to forecast, where the default is too many for the data

    def read(self) -> Reading:
        """Read the data for a forecast."""
        return read(self.frame(), task="forecast", **self.reading)


def resource(package: str, path: str) -> Callable[[], Any]:
    """Return a function for the path of a file in an installed package, which is read as it is."""
    return lambda: packaged(package, path)


def _csv(package: str, path: str, **options: Any) -> Callable[[], Any]:
    def frame() -> Any:
        import pandas

        return pandas.read_csv(packaged(package, path), **options)

    return frame


def _dated(
    make: Callable[[], Any], column: str, values: list[str], form: str | None = None
) -> Callable[[], Any]:
    """Parse the dates of a column, and keep it and the columns of values."""

    def frame() -> Any:
        import pandas

        table = make()
        table[column] = pandas.to_datetime(table[column], format=form)
        return table[[column, *values]]

    return frame


def _quarterly(make: Callable[[], Any], values: list[str]) -> Callable[[], Any]:
    """Turn columns of years and quarters into dates."""

    def frame() -> Any:
        import pandas

        table = make()
        year, quarter = table["year"].astype(int), table["quarter"].astype(int)
        table["date"] = pandas.to_datetime({"year": year, "month": 3 * quarter - 2, "day": 1})
        return table[["date", *values]]

    return frame


def _uschange() -> Any:
    import pandas

    table = _csv("aeon", "datasets/data/Uschange/Uschange.csv")()
    quarters = table["Quarter"].str.replace(" ", "")
    table["date"] = pandas.PeriodIndex(quarters, freq="Q").to_timestamp()
    return table[["date", "Consumption"]]


def _elnino() -> Any:
    import pandas

    table = _csv("statsmodels", "datasets/elnino/elnino.csv")()
    values = table.iloc[:, 1:].to_numpy().ravel()
    dates = pandas.date_range(f"{int(table.iloc[0, 0])}-01-01", periods=len(values), freq="MS")
    return pandas.DataFrame({"date": dates, "temperature": values})


def _pbs() -> Any:
    import pandas

    table = _csv("aeon", "datasets/data/PBS_dataset/PBS_dataset.csv")()
    table["Month"] = pandas.to_datetime(table["Month"], format="%Y %b")
    return table


def _elec_equip() -> Any:
    table = _csv("statsmodels", "datasets/elec_equip/elec_equip.csv")()
    table.columns = ["date", "equipment"]
    return table


_MACRO = _csv("statsmodels", "datasets/macrodata/macrodata.csv")
_VEGA = "_data/"

SERIES: Mapping[str, PublicSeries] = {
    "weather": PublicSeries(lambda: "weather"),
    "Airline": PublicSeries(
        _dated(_csv("aeon", "datasets/data/Airline/Airline.csv"), "Date", ["Passengers"], "%Y-%m")
    ),
    "lynx": PublicSeries(
        lambda: _csv("aeon", "datasets/data/Lynx/Lynx.csv")().rename(
            columns={"Unnamed: 0": "year", "0": "trapped"}
        ),
        {"time": "year", "target": "trapped"},
    ),
    "PBS scripts": PublicSeries(_pbs),
    "US consumption": PublicSeries(_uschange),
    "solar": PublicSeries(
        _dated(
            _csv("aeon", "datasets/data/solar/solar.csv"), "datetime_gmt", ["solar_gen"], "ISO8601"
        ),
        horizon=24,
    ),
    "CO2": PublicSeries(
        _dated(_csv("statsmodels", "datasets/co2/co2.csv"), "date", ["co2"], "%Y%m%d"),
        {"fill": "linear"},
    ),
    "sunspots": PublicSeries(
        _csv("statsmodels", "datasets/sunspots/sunspots.csv"),
        {"time": "YEAR", "target": "SUNACTIVITY"},
    ),
    "Nile": PublicSeries(
        _csv("statsmodels", "datasets/nile/nile.csv"), {"time": "year", "target": "volume"}
    ),
    "El Nino": PublicSeries(_elnino),
    "US GDP": PublicSeries(_quarterly(_MACRO, ["realgdp"])),
    "US unemployment": PublicSeries(_quarterly(_MACRO, ["unemp"])),
    "US inflation": PublicSeries(_quarterly(_MACRO, ["infl"])),
    "US interest": PublicSeries(_quarterly(_MACRO, ["tbilrate"])),
    "German interest": PublicSeries(
        _quarterly(_csv("statsmodels", "datasets/interest_inflation/E6.csv"), ["R"])
    ),
    "electrical equipment": PublicSeries(
        lambda: _dated(_elec_equip, "date", ["equipment"], "%b-%d-%Y")()
    ),
    "Seattle warmth": PublicSeries(
        _dated(_csv("vega_datasets", _VEGA + "seattle-weather.csv"), "date", ["temp_max"])
    ),
    "Seattle wind": PublicSeries(
        _dated(_csv("vega_datasets", _VEGA + "seattle-weather.csv"), "date", ["wind"])
    ),
    "Seattle rain": PublicSeries(
        _dated(_csv("vega_datasets", _VEGA + "seattle-weather.csv"), "date", ["precipitation"])
    ),
    "stocks": PublicSeries(
        _dated(
            _csv("vega_datasets", _VEGA + "stocks.csv"), "date", ["symbol", "price"], "%b %d %Y"
        ),
        {"id": "symbol"},
    ),
    "US employment": PublicSeries(
        _dated(_csv("vega_datasets", _VEGA + "us-employment.csv"), "month", ["nonfarm"])
    ),
    "Seattle hourly": PublicSeries(
        _dated(_csv("vega_datasets", _VEGA + "seattle-temps.csv"), "date", ["temp"]),
        {"fill": "linear"},
    ),
    "San Francisco hourly": PublicSeries(
        _dated(_csv("vega_datasets", _VEGA + "sf-temps.csv"), "date", ["temp"]),
        {"fill": "linear"},
    ),
}
