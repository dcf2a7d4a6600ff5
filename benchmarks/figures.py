"""The figures of the bundled data sets, five seeds each, into `benchmarks/results/`.

    python benchmarks/figures.py weather
    python benchmarks/figures.py prose --cells gru

Every choice is made on validation; the test part is opened once, when all is trained. The
model directory, with its report, goes to `runs/`.
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import date, datetime
from pathlib import Path

from rich.console import Console

from gatewright.training.train import compare

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Compare, print the table, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", choices=["vowels", "weather", "prose"])
    parser.add_argument("--cells", help="parted by commas; the lesson's networks unless given")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    found = compare(
        given.data,
        out=Path("runs") / f"{given.data}-{datetime.now():%Y%m%d-%H%M%S}",
        cells=given.cells.split(",") if given.cells else None,
        seeds=given.seeds,
        say=print,
    )
    console = Console()
    console.print(found.table(console=console))
    print(found.verdict())
    kept = {"machine": platform.processor() or platform.machine(), **json.loads(found.to_json())}
    path = RESULTS / f"{given.data}-{date.today()}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
