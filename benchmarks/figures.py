"""Measure the bundled data sets, five seeds each, into `benchmarks/results/`.

    python benchmarks/figures.py weather
    python benchmarks/figures.py prose --cells gru

Every choice is made on validation; the test part is used once, when everything is trained. The
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
    """Compare, print the table, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", choices=["vowels", "weather", "prose"])
    parser.add_argument("--cells", help="comma-separated; by default the lesson's networks")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    comparison = compare(
        options.data,
        out=Path("runs") / f"{options.data}-{datetime.now():%Y%m%d-%H%M%S}",
        cells=options.cells.split(",") if options.cells else None,
        seeds=options.seeds,
        say=print,
    )
    console = Console()
    console.print(comparison.table(console=console))
    print(comparison.verdict())
    figures = {
        "machine": platform.processor() or platform.machine(),
        **json.loads(comparison.to_json()),
    }
    path = RESULTS / f"{options.data}-{date.today()}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
