"""Make `src/gatewright/data/files/weather.csv.gz` from the published CSV file.

Run once by whoever maintains the project; the result is committed. Nobody who uses
Gatewright needs it. The source is the copy that the vega_datasets 0.9.0 wheel carries,
drawn from NOAA, which is in the public domain::

    pip download --no-deps vega_datasets==0.9.0 -d somewhere
    unzip somewhere/vega_datasets-0.9.0-*.whl vega_datasets/_data/seattle-weather.csv -d somewhere
    python data-sources/make_weather.py somewhere/vega_datasets/_data/seattle-weather.csv

The file is packed byte for byte, after it was seen to hold every day of four years once, and
what can be weather.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import sys
from datetime import date, timedelta
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/gatewright/data/files/weather.csv.gz"

COLUMNS = ["date", "precipitation", "temp_max", "temp_min", "wind", "weather"]
FIRST, DAYS = date(2012, 1, 1), 1461
KINDS = {"drizzle", "fog", "rain", "snow", "sun"}


def main(source: Path) -> None:
    """Check the file and pack it."""
    content = source.read_bytes()
    header, *rows = csv.reader(content.decode("ascii").splitlines(), strict=True)
    assert header == COLUMNS, header
    assert len(rows) == DAYS, len(rows)
    for at, (day, precipitation, highest, lowest, wind, kind) in enumerate(rows):
        assert date(*map(int, day.split("/"))) == FIRST + timedelta(days=at), day
        assert 0 <= float(precipitation) < 200 and 0 <= float(wind) < 30, day
        assert -30 < float(lowest) <= float(highest) < 50, day
        assert kind in KINDS, (day, kind)
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    TARGET.write_bytes(packed)
    print(TARGET.name, len(packed), "bytes, sha256", hashlib.sha256(packed).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
