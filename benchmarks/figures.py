"""Compare the networks on a bundled data set and store the figures in `benchmarks/results/`.

    python benchmarks/figures.py weather
    python benchmarks/figures.py prose --cells gru

Every choice is made on validation; the test part is used once, after all trainings. The model
directory, with its report, is written to `runs/`.
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
    """Run the comparison, print its table, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", choices=["vowels", "weather", "prose"])
    parser.add_argument("--cells", help="comma-separated (default: the lesson's networks)")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each network (5)")
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
